//! Parameters as `application/x-www-form-urlencoded`, read strictly: what could be understood in two ways is
//! refused. A parameter without a value counts as absent (RFC 6749, section 3.1).

use super::error::OauthError;

/// Most parameters of one request.
const MOST: usize = 64;
/// Parameters that may be repeated (RFC 8707, RFC 8693).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// The parameters of one request. Never shown: secrets are among them.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads them; a doubled parameter is an error, save those that may be repeated.
    pub fn parse(text: &[u8]) -> Result<Form, OauthError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
            let split = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let (name, value) = part.split_at(split);
            let name = decode(name)?;
            let value = decode(value.strip_prefix(b"=").unwrap_or(value))?;
            if pairs.len() == MOST {
                return Err(OauthError::request("too many parameters"));
            }
            let seen = pairs.iter().any(|(other, _)| *other == name);
            if seen && !REPEATABLE.contains(&name.as_str()) {
                return Err(OauthError::request("a parameter was sent twice"));
            }
            pairs.push((name, value));
        }
        Ok(Form(pairs))
    }

    /// The value of a parameter, unless it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().find(|(other, value)| other == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(other, value)| other == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str, OauthError> {
        self.get(name).ok_or_else(|| OauthError::request(format!("{name}: missing")))
    }

    /// The one `resource` that was sent, if any.
    pub(crate) fn resource(&self) -> Result<Option<&str>, OauthError> {
        let mut all = self.all("resource");
        let first = all.next();
        match all.find(|other| Some(*other) != first) {
            None => Ok(first),
            Some(_) => Err(OauthError::new(
                super::error::ErrorCode::InvalidTarget,
                "resource: a token is for exactly one",
            )),
        }
    }
}

/// Percent-decodes; a stray `%`, bad UTF-8 and control characters are errors.
pub(crate) fn decode(text: &[u8]) -> Result<String, OauthError> {
    let malformed = || OauthError::request("the parameters are not form-encoded");
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or_else(malformed)?;
                let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
                let (high, low) = digit(digits[0]).zip(digit(digits[1])).ok_or_else(malformed)?;
                out.push(high << 4 | low);
                rest = after;
            }
            byte => out.push(*byte),
        }
    }
    let text = String::from_utf8(out).map_err(|_| malformed())?;
    if text.chars().any(char::is_control) { Err(malformed()) } else { Ok(text) }
}
