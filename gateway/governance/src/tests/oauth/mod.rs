//! The authorization server with two replicas on one Postgres: what clients can do, and what thieves cannot.

mod audiences;
mod codes;
mod devices;
mod documents;
mod keys;
mod redirects;
mod refresh;
mod registration;
mod signed_clients;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::caller::Caller;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::house::{House, Replica};
use crate::oauth::{Asked, ErrorCode, Form, OauthError, TokenRequest, Unasked};
use crate::{Face, Presented, Unidentified};

/// The browser in these tests.
pub(super) const BROWSER: [u8; 32] = [7; 32];
/// The gateway, also as an issuer.
pub(super) const GATEWAY: &str = "https://gw.example.com";
/// Where the client listens.
pub(super) const REDIRECT: &str = "http://127.0.0.1/callback";
pub(super) const VERIFIER: &str = "a-verifier-of-43-characters-is-long-enough-";
pub(super) static CHALLENGE: LazyLock<String> = LazyLock::new(|| challenge(VERIFIER));

pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Form-encodes.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        out.append_pair(name, value);
    }
    out.finish()
}

/// A house with a client that registered itself.
pub(super) struct Flow {
    pub(super) house: House,
    pub(super) client: String,
}

impl Flow {
    pub(super) async fn open() -> Flow {
        let house = House::open().await;
        let metadata = json!({"redirect_uris": [REDIRECT], "client_name": "Test client",
            "token_endpoint_auth_method": "none"});
        let client = register(&house.a, &house, &metadata).await.unwrap()["client_id"].clone();
        Flow { house, client: client.as_str().unwrap().to_owned() }
    }

    /// A good request with these parameters instead of or besides its own; an empty value takes one away.
    pub(super) fn query(&self, change: &[(&str, &str)]) -> String {
        let good = [
            ("response_type", "code"),
            ("client_id", &self.client),
            ("redirect_uri", "http://127.0.0.1:49152/callback"),
            ("code_challenge", &CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "s t&=ü"),
        ];
        changed(&good, change)
    }

    pub(super) async fn ask(&self, change: &[(&str, &str)]) -> Result<Asked, Unasked> {
        self.house.a.governance.oauth().ask(&self.query(change), &BROWSER).await
    }

    /// The parameters of the URL that Bob's agreement leads to.
    pub(super) async fn agreed(&self, change: &[(&str, &str)]) -> Vec<(String, String)> {
        let asked = self.ask(change).await.unwrap();
        let bob = self.house.caller("bob").user;
        let origin = self.house.origin(Face::Rest);
        let url = self.house.a.governance.oauth().grant(&asked, &bob, &origin).await.unwrap();
        parameters(&url)
    }

    pub(super) async fn code(&self, change: &[(&str, &str)]) -> String {
        value(&self.agreed(change).await, "code").expect("a code")
    }

    /// Redeems a code; the same ways to change the request.
    pub(super) async fn redeem(
        &self,
        replica: &Replica,
        code: &str,
        change: &[(&str, &str)],
    ) -> Result<Value, OauthError> {
        let good = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.client),
            ("code", code),
            ("redirect_uri", "http://127.0.0.1:49152/callback"),
            ("code_verifier", VERIFIER),
        ];
        self.token(replica, &changed(&good, change)).await
    }

    pub(super) async fn refresh(
        &self,
        replica: &Replica,
        token: &str,
        change: &[(&str, &str)],
    ) -> Result<Value, OauthError> {
        let good = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client),
            ("refresh_token", token),
        ];
        self.token(replica, &changed(&good, change)).await
    }

    pub(super) async fn token(&self, replica: &Replica, body: &str) -> Result<Value, OauthError> {
        let origin = self.house.origin(Face::Rest);
        let form = Form::parse(body.as_bytes())?;
        let request = TokenRequest { form: &form, authorization: None, origin: &origin };
        let given = replica.governance.oauth().token(request).await?;
        Ok(serde_json::from_str(&given.json()).unwrap())
    }

    /// The tokens of a whole flow.
    pub(super) async fn tokens(&self, change: &[(&str, &str)]) -> Value {
        let code = self.code(change).await;
        self.redeem(&self.house.a, &code, &[]).await.unwrap()
    }

    pub(super) async fn at(
        &self,
        replica: &Replica,
        token: &str,
        resource: &str,
    ) -> Result<Caller, Unidentified> {
        let authorization = format!("Bearer {token}");
        let presented =
            Presented { authorization: Some(&authorization), resource, ..Presented::default() };
        replica.governance.identify(presented).await
    }
}

pub(super) async fn register(
    replica: &Replica,
    house: &House,
    metadata: &Value,
) -> Result<Value, OauthError> {
    let body = metadata.to_string();
    let registered =
        replica.governance.oauth().register(body.as_bytes(), &house.origin(Face::Rest)).await?;
    Ok(serde_json::from_str(&registered.json()).unwrap())
}

/// `good` with these instead of or besides its own.
pub(super) fn changed(good: &[(&str, &str)], change: &[(&str, &str)]) -> String {
    let kept = good.iter().filter(|(name, _)| !change.iter().any(|(other, _)| other == name));
    let pairs: Vec<_> =
        kept.chain(change.iter().filter(|(_, value)| !value.is_empty())).copied().collect();
    form(&pairs)
}

pub(super) fn parameters(url: &str) -> Vec<(String, String)> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

pub(super) fn value(parameters: &[(String, String)], name: &str) -> Option<String> {
    let mut found = parameters.iter().filter(|(other, _)| other == name);
    let value = found.next().map(|(_, value)| value.clone());
    assert!(found.next().is_none(), "{name} twice");
    value
}

/// The code of the error that a token request ends in.
pub(super) fn refused(result: Result<Value, OauthError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("tokens were given"),
        Err(error) => error.code,
    }
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}
