//! Signed headers that say who calls, for servers that believe the gateway.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::Timestamp;
use gateway_core::caller::{Caller, PrincipalKind};
use gateway_core::credential::Credential;
use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use http::HeaderName;
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::own::address;
use super::trouble::Trouble;
use super::{Connections, Sign};
use crate::oauth::AuthorizationServer;

/// Tells it from an access token, which it must never be taken for.
const TYPE: &str = "identity+jwt";
/// How long an identity token counts, seconds.
const LIFETIME: i64 = 300;
/// A token that ends sooner is made anew.
const EARLY: i64 = 60;

const SUBJECT_TYPE: HeaderName = HeaderName::from_static("x-runlayer-subject-type");
const USER_ID: HeaderName = HeaderName::from_static("x-runlayer-user-id");
const USER_EMAIL: HeaderName = HeaderName::from_static("x-runlayer-user-email");
const AGENT_ID: HeaderName = HeaderName::from_static("x-runlayer-agent-id");
const AGENT_NAME: HeaderName = HeaderName::from_static("x-runlayer-agent-name");
const IDENTITY_TOKEN: HeaderName = HeaderName::from_static("x-runlayer-identity-token");

/// Who, towards whom, as they are now: a new name or address is another token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whose {
    principals: Vec<(UserId, String, String)>,
    audience: String,
}

/// Tokens that still count: signing is not free, and callers come often.
pub(super) struct Identities(Cache<Whose, (Arc<SecretString>, Timestamp)>);

impl Default for Identities {
    fn default() -> Identities {
        let live = Duration::from_secs(LIFETIME.unsigned_abs());
        Identities(Cache::builder().max_capacity(100_000).time_to_live(live).build())
    }
}

impl Connections {
    /// The headers for one caller on one server.
    pub(super) async fn identity(
        &self,
        caller: &Caller,
        server: &Server,
    ) -> Result<Credential, Trouble> {
        let token = self.identity_token(caller, address(server)?).await?;
        let person = (caller.user.kind == PrincipalKind::Person).then_some(&caller.user);
        let agent = caller.agent();
        let mut headers = vec![(SUBJECT_TYPE, subject_type(caller).to_owned())];
        headers.extend(person.iter().flat_map(|person| {
            [(USER_ID, person.id.to_string()), (USER_EMAIL, person.email.clone())]
        }));
        headers.extend(agent.iter().flat_map(|agent| {
            [(AGENT_ID, agent.id.to_string()), (AGENT_NAME, in_a_header(&agent.name))]
        }));
        headers.push((IDENTITY_TOKEN, token.expose_secret().to_owned()));
        let owner: Vec<u8> = caller.principals().flat_map(|p| *p.id.0.as_bytes()).collect();
        let headers = headers.into_iter().map(|(name, value)| (name, SecretString::from(value)));
        Ok(Credential::of_owner(headers.collect(), &owner))
    }

    /// A JWT that says who calls, for that audience.
    pub(super) async fn identity_token(
        &self,
        caller: &Caller,
        audience: &str,
    ) -> Result<SecretString, Trouble> {
        let now = self.clock.now();
        let principals = caller.principals().map(|p| (p.id, p.email.clone(), p.name.clone()));
        let whose = Whose { principals: principals.collect(), audience: audience.to_owned() };
        let lasts = |until: &Timestamp| *until > now + time::Duration::seconds(EARLY);
        if let Some((token, _)) = self.identities.0.get(&whose).filter(|(_, until)| lasts(until)) {
            return Ok((*token).clone());
        }
        let claims = self.claims(caller, audience, now);
        let signed = self.signer.sign(TYPE, &claims).await;
        let token = signed.map(SecretString::from).map_err(|what| {
            Trouble::new(Reason::UpstreamCredentialMissing, format!("identity token: {what}"))
        })?;
        let until = now + time::Duration::seconds(LIFETIME);
        self.identities.0.insert(whose, (Arc::new(token.clone()), until));
        Ok(token)
    }

    fn claims(&self, caller: &Caller, audience: &str, now: Timestamp) -> Value {
        let mut jti = [0; 16];
        self.random.fill(&mut jti);
        let issued = now.unix_timestamp();
        let mut claims = json!({
            "iss": self.public_url,
            "aud": audience,
            "sub": caller.user.id,
            "iat": issued,
            "exp": issued + LIFETIME,
            "jti": uuid::Builder::from_random_bytes(jti).into_uuid(),
            "subject_type": subject_type(caller),
        });
        if caller.user.kind == PrincipalKind::Person {
            claims["email"] = json!(caller.user.email);
            claims["name"] = json!(caller.user.name);
        }
        if let Some(agent) = caller.actor.as_ref() {
            claims["act"] = json!({"sub": agent.id, "client_id": agent.email, "name": agent.name});
        } else if caller.user.kind == PrincipalKind::Agent {
            claims["client_id"] = json!(caller.user.email);
            claims["name"] = json!(caller.user.name);
        }
        claims
    }
}

fn subject_type(caller: &Caller) -> &'static str {
    match (caller.user.kind, &caller.actor) {
        (PrincipalKind::Agent, _) => "agent",
        (PrincipalKind::Person, None) => "user",
        (PrincipalKind::Person, Some(_)) => "delegated_agent",
    }
}

/// Names may hold what a header may not: those characters are percent-encoded.
fn in_a_header(name: &str) -> String {
    let plain = |b: u8| (0x20..0x7F).contains(&b) && b != b'%';
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    name.bytes().map(encode).collect()
}

#[async_trait]
impl Sign for AuthorizationServer {
    async fn sign(&self, typ: &str, claims: &Value) -> Result<String, String> {
        AuthorizationServer::sign(self, typ, claims).await.map_err(|error| error.to_string())
    }
}
