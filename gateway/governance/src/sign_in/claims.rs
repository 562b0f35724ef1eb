//! What a provider says of a person, in our words. The id token, which is signed, counts before userinfo; an address
//! counts where the provider vouches for it.

use serde_json::{Map, Value};

use super::openid::Trouble;
use crate::settings::Provider;

/// Groups and attributes that are looked at, and how long their texts may be.
const MOST: usize = 500;
const LONGEST: usize = 200;

/// A person, as their provider describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) subject: String,
    /// Lower-case; only if it is vouched for.
    pub(super) email: Option<String>,
    pub(super) name: String,
    /// `None`: nothing was said of groups.
    pub(super) groups: Option<Vec<String>>,
    /// A JSON object of texts and lists of texts.
    pub(super) attributes: String,
}

/// Reads verified claims, and those of userinfo, which are of the same subject.
pub(super) fn read(
    provider: &Provider,
    token: Map<String, Value>,
    userinfo: Map<String, Value>,
) -> Result<Claimed, Trouble> {
    let claims = [&token, &userinfo];
    let subject = text(&token, "sub").filter(|subject| subject.len() <= 255);
    let subject = subject.ok_or("sub: expected a text of at most 255 bytes")?;
    let one = |name: &str| claims.iter().find_map(|claims| text(claims, name));
    let attributes: Map<String, Value> = provider
        .attributes
        .iter()
        .filter_map(|name| Some((name.clone(), texts(&claims, name)?)))
        .collect();
    Ok(Claimed {
        subject,
        email: claims.iter().find_map(|claims| email(provider, claims)),
        name: one("name").map(|name| name.chars().take(LONGEST).collect()).unwrap_or_default(),
        groups: claims.iter().find_map(|claims| groups(provider, claims)),
        attributes: Value::Object(attributes).to_string(),
    })
}

/// Whether addresses of that domain are let in.
pub(super) fn domain_allowed(provider: &Provider, email: &str) -> bool {
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
    let allowed = &provider.allowed_domains;
    allowed.is_empty() || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
}

/// Address and voucher must stand in the same document.
fn email(provider: &Provider, claims: &Map<String, Value>) -> Option<String> {
    let email = text(claims, &provider.email_claim)?.to_lowercase();
    let vouched = provider.email_claim != "email"
        || claims.get("email_verified").and_then(Value::as_bool) == Some(true);
    let plausible = email.len() <= 254
        && email.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
        && !email.chars().any(|c| c.is_control() || c.is_whitespace());
    (vouched && plausible).then_some(email)
}

fn groups(provider: &Provider, claims: &Map<String, Value>) -> Option<Vec<String>> {
    let list = match claims.get(&provider.groups_claim)? {
        Value::Array(list) => list.as_slice(),
        single @ Value::String(_) => std::slice::from_ref(single),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    let usable = |name: &&str| {
        !name.is_empty() && name.len() <= LONGEST && !name.chars().any(char::is_control)
    };
    let names = list.iter().filter_map(Value::as_str).filter(usable).take(MOST);
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = claims.get(name)?.as_str()?;
    // Postgres keeps no zero bytes, and nobody's claim has any.
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

/// One text, or of a list those of its values that are texts.
fn texts(claims: &[&Map<String, Value>; 2], name: &str) -> Option<Value> {
    let value = claims.iter().find_map(|claims| claims.get(name))?;
    match value.as_array() {
        Some(list) => {
            let texts = list.iter().filter_map(scalar).take(MOST).map(Value::String);
            Some(texts.collect()).filter(|texts| *texts != Value::Array(Vec::new()))
        }
        None => scalar(value).map(Value::String),
    }
}

fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (text.len() <= LONGEST && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::provider;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_address_counts_only_with_its_voucher() {
        let email = |token: Value, userinfo: Value| {
            let mut token = object(token);
            token.insert("sub".into(), json!("s"));
            read(&provider(), token, object(userinfo)).unwrap().email
        };
        let yes = json!({"email": "Bob@Example.com", "email_verified": true});
        let bob = Some("bob@example.com".to_owned());
        assert_eq!(email(yes.clone(), json!({})), bob);
        assert_eq!(email(json!({}), yes.clone()), bob);
        assert_eq!(email(json!({"email": "bob@example.com"}), yes), bob);
        let cases = [
            (json!({"email": "bob@example.com"}), json!({})),
            (json!({"email": "bob@example.com", "email_verified": false}), json!({})),
            (json!({"email": "bob@example.com", "email_verified": "true"}), json!({})),
            (json!({"email": "bob@example.com", "email_verified": 1}), json!({})),
            (json!({"email": "bob@example.com"}), json!({"email_verified": true})),
            (json!({"email_verified": true}), json!({"email": "bob@example.com"})),
            (json!({"email": ["bob@example.com"], "email_verified": true}), json!({})),
            (json!({"email": "bob", "email_verified": true}), json!({})),
            (json!({"email": "a@b@example.com", "email_verified": true}), json!({})),
            (json!({"email": "bob @example.com", "email_verified": true}), json!({})),
            (json!({"email": "@example.com", "email_verified": true}), json!({})),
        ];
        for (token, userinfo) in cases {
            assert_eq!(email(token.clone(), userinfo.clone()), None, "{token} {userinfo}");
        }
        let chosen = Provider { email_claim: "upn".into(), ..provider() };
        let token = object(json!({"sub": "s", "upn": "Bob@example.com"}));
        assert_eq!(read(&chosen, token, Map::new()).unwrap().email, bob);
    }

    #[test]
    fn only_allowed_domains_are_let_in() {
        let some = Provider { allowed_domains: vec!["Example.com".into()], ..provider() };
        assert!(domain_allowed(&some, "bob@example.com"));
        for email in
            ["bob@evil.example", "bob@sub.example.com", "bob@example.com.evil.example", "bob"]
        {
            assert!(!domain_allowed(&some, email), "{email}");
        }
        assert!(domain_allowed(&provider(), "bob@anything.example"));
    }

    #[test]
    fn groups_and_attributes_are_texts_of_a_sensible_size() {
        let provider = Provider {
            attributes: ["dept", "level", "x", "teams", "none"].map(String::from).to_vec(),
            ..provider()
        };
        let token = object(json!({
            "sub": "s", "groups": ["b", "a", "a", 7, "", "x\ny", "l".repeat(201)],
            "dept": "sales", "level": 3, "x": {"not": "kept"},
            "teams": ["red", 7, null, {"not": "kept"}, "l".repeat(201)], "none": [[]],
        }));
        let claimed = read(&provider, token, Map::new()).unwrap();
        assert_eq!(claimed.groups, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(claimed.attributes, r#"{"dept":"sales","level":"3","teams":["red","7"]}"#);
        let silent = read(&provider, object(json!({"sub": "s"})), Map::new()).unwrap();
        assert_eq!(silent.groups, None, "nothing said of groups changes nothing");
        assert!(read(&provider, object(json!({"name": "no subject"})), Map::new()).is_err());
    }
}
