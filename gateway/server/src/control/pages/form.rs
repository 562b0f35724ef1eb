//! What a form sends: each field once, no more of it than any of our forms has.

use http::header::CONTENT_TYPE;
use url::form_urlencoded;

use crate::exchange::Exchange;

/// The longest form: it may carry a sealed authorization request.
const LONGEST: usize = 64 * 1024;
/// More fields than any of our forms has.
const MOST_FIELDS: usize = 20;

/// The fields of a form, or of a query.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// A form that was posted. The error says what is wrong with it.
    pub(super) fn posted(exchange: &Exchange) -> Result<Form, String> {
        let kind = exchange.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err("content-type: expected application/x-www-form-urlencoded".into());
        }
        if exchange.body.len() > LONGEST {
            return Err("the form is too long".into());
        }
        Form::read(&exchange.body)
    }

    /// The query of an address.
    pub(super) fn query(exchange: &Exchange) -> Result<Form, String> {
        Form::read(exchange.query.as_deref().unwrap_or_default().as_bytes())
    }

    fn read(bytes: &[u8]) -> Result<Form, String> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if fields.len() == MOST_FIELDS || fields.iter().any(|(known, _)| *known == name) {
                return Err("the form has a field twice, or too many of them".into());
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Ok(Form(fields))
    }

    /// A field; empty if it was not sent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_counts_once() {
        let form = Form::read(b"a=1&b=x%20y+z&c").unwrap();
        assert_eq!(
            [form.get("a"), form.get("b"), form.get("c"), form.get("d")],
            ["1", "x y z", "", ""]
        );
        assert!(Form::read(b"decision=refuse&decision=approve").is_err());
        let many: String = (0..30).map(|n| format!("f{n}=1&")).collect();
        assert!(Form::read(many.as_bytes()).is_err());
    }
}
