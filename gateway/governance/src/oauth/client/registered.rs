//! Dynamic registration (RFC 7591), for clients that have no page of their own: anybody may, so it is limited
//! for each address, proves nothing, and is forgotten when it is not used.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::json::{Json, Kind};
use gateway_store::oauth_client::StoredClient;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, Proof, tidy_name};
use crate::oauth::error::{ErrorCode, OauthError};
use crate::oauth::record::Note;
use crate::oauth::{AuthorizationServer, grants, redirect};
use crate::perform::Origin;
use gateway_core::record::ActionType;

/// The longest request, in bytes.
const LONGEST: usize = 16 * 1024;
/// Most redirect URIs of one client.
const MOST_URIS: usize = 20;

/// What is kept of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Metadata {
    client_name: String,
    redirect_uris: Vec<String>,
    grant_types: Vec<String>,
    token_endpoint_auth_method: String,
}

/// A stored registration as a client.
pub(crate) fn read(stored: StoredClient) -> Result<Client, OauthError> {
    let metadata: Metadata = serde_json::from_str(&stored.metadata).map_err(|error| {
        tracing::error!(%error, "a registered client's metadata is not readable");
        OauthError::new(ErrorCode::ServerError, "the client's registration is not readable")
    })?;
    Ok(Client {
        id: stored.client_id,
        name: metadata.client_name,
        host: None,
        refreshes: metadata.grant_types.iter().any(|name| name == grants::refresh_token::NAME),
        redirect_uris: metadata.redirect_uris,
        proof: stored.secret_hash.map_or(Proof::None, Proof::Secret),
    })
}

/// What a client is told of its registration.
pub struct Registered {
    value: Value,
    secret: Option<SecretString>,
}

impl Registered {
    /// The body of the answer (RFC 7591, section 3.2.1). Holds the secret: for the client alone.
    pub fn json(&self) -> String {
        let mut value = self.value.clone();
        if let Some(secret) = &self.secret {
            value["client_secret"] = json!(secret.expose_secret());
            value["client_secret_expires_at"] = json!(0);
        }
        value.to_string()
    }
}

impl AuthorizationServer {
    /// Registers the client that `body` describes, JSON.
    pub async fn register(&self, body: &[u8], origin: &Origin) -> Result<Registered, OauthError> {
        let note = Note::new("POST /api/v1/oauth/register", origin);
        match self.try_register(body, origin).await {
            Ok((registered, client)) => {
                let note = note.client(&client.client_id, "");
                self.succeeded(note, ActionType::OauthClientRegistered);
                Ok(registered)
            }
            Err(error) => Err(self.failed(note, error)),
        }
    }

    async fn try_register(
        &self,
        body: &[u8],
        origin: &Origin,
    ) -> Result<(Registered, StoredClient), OauthError> {
        if !self.settings.oauth.registration {
            let error = OauthError::new(ErrorCode::AccessDenied, "registration is switched off");
            return Err(error);
        }
        let metadata = metadata(body)?;
        let now = self.clock.now();
        if !self.registrations.admit(origin.client_ip, now) {
            let description = "too many registrations from this address; try again later";
            return Err(OauthError::new(ErrorCode::TooMuch, description));
        }
        let secret = (metadata.token_endpoint_auth_method != "none").then(|| self.secret());
        let mut id = [0; 16];
        self.random.fill(&mut id);
        let stored = StoredClient {
            client_id: URL_SAFE_NO_PAD.encode(id),
            metadata: serde_json::to_string(&metadata).unwrap_or_default(),
            secret_hash: secret.as_ref().map(|s| self.hash("secret", s.expose_secret())),
            created_at: now,
            expires_at: now + self.settings.oauth.unused_client,
        };
        self.store.register_client(&stored).await.map_err(OauthError::store)?;
        let mut value = json!(metadata);
        value["client_id"] = json!(stored.client_id);
        value["client_id_issued_at"] = json!(now.unix_timestamp());
        value["response_types"] = json!(["code"]);
        Ok((Registered { value, secret }, stored))
    }
}

fn metadata(body: &[u8]) -> Result<Metadata, OauthError> {
    let wrong = |why: String| OauthError::new(ErrorCode::InvalidClientMetadata, why);
    if body.len() > LONGEST {
        return Err(wrong("the metadata is too long".into()));
    }
    let given = Json::parse(body).map_err(|error| wrong(format!("expected JSON: {error}")))?;
    if given.kind() != Kind::Object {
        return Err(wrong("expected a JSON object".into()));
    }
    let method = match given.get("token_endpoint_auth_method") {
        None => "client_secret_basic".to_owned(),
        Some(method) => {
            let known = ["none", "client_secret_basic", "client_secret_post"];
            let method = method.as_str().filter(|method| known.contains(&&**method));
            let expected = || format!("token_endpoint_auth_method: expected {}", known.join(", "));
            method.ok_or_else(|| wrong(expected()))?.into_owned()
        }
    };
    let grant_types = match texts(given, "grant_types").map_err(wrong)? {
        None => vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
        // Others are left out of the answer, which tells the client (RFC 7591, section 2).
        Some(names) => {
            names.into_iter().filter(|name| grants::FOR_CLIENTS.contains(&&**name)).collect()
        }
    };
    if grant_types.is_empty() {
        return Err(wrong("grant_types: none that registered clients have here".into()));
    }
    let response_types = texts(given, "response_types").map_err(wrong)?.unwrap_or_default();
    if !response_types.is_empty() && !response_types.iter().any(|name| name == "code") {
        return Err(wrong("response_types: expected code".into()));
    }
    let redirect_uris = texts(given, "redirect_uris").map_err(wrong)?.unwrap_or_default();
    check_uris(&redirect_uris, &grant_types)?;
    let name = given.get("client_name").and_then(|name| name.as_str()).unwrap_or_default();
    let name = tidy_name(&name);
    Ok(Metadata {
        client_name: if name.is_empty() { "unnamed client".to_owned() } else { name },
        redirect_uris,
        grant_types,
        token_endpoint_auth_method: method,
    })
}

fn check_uris(uris: &[String], grant_types: &[String]) -> Result<(), OauthError> {
    let wrong = |why: &str| OauthError::new(ErrorCode::InvalidRedirectUri, why);
    if uris.len() > MOST_URIS {
        return Err(wrong("redirect_uris: too many"));
    }
    if uris.is_empty() && grant_types.iter().any(|name| name == "authorization_code") {
        return Err(wrong("redirect_uris: missing"));
    }
    for uri in uris {
        redirect::check(uri).map_err(|why| wrong(&format!("redirect_uris: {why}")))?;
    }
    Ok(())
}

/// An array of strings.
fn texts(object: Json<'_>, name: &str) -> Result<Option<Vec<String>>, String> {
    let wrong = || format!("{name}: expected an array of strings");
    let Some(value) = object.get(name) else { return Ok(None) };
    if value.kind() != Kind::Array {
        return Err(wrong());
    }
    let text = |item: Json<'_>| item.as_str().map(|text| text.into_owned()).ok_or_else(wrong);
    value.elements().map(text).collect::<Result<Vec<_>, _>>().map(Some)
}
