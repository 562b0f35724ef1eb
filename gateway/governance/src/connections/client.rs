//! As whom the gateway comes to an issuer: the configured client; else by its metadata document, where the issuer
//! takes such and can read ours; else as it registered there, now or before (RFC 7591).

use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::server::OauthClient;
use gateway_store::connection::StoredUpstreamClient;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::Connections;
use super::discover::AuthorizationServer;
use super::kept::KeptClient;
use super::tokens::{Client, Proof};
use super::trouble::Trouble;
use crate::vault::Bound;

/// Where our metadata document is.
pub const CLIENT_METADATA_PATH: &str = "/api/v1/oauth/client-metadata.json";
/// Where issuers send people back to.
pub const CALLBACK_PATH: &str = "/connect/callback";

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    #[serde(default)]
    client_secret_expires_at: i64,
    token_endpoint_auth_method: Option<String>,
}

/// Our metadata, as a document and as a registration. `public_url` ends without a slash.
pub fn client_metadata(public_url: &str) -> Value {
    json!({
        "client_id": format!("{public_url}{CLIENT_METADATA_PATH}"),
        "client_name": "Runlayer gateway",
        "client_uri": public_url,
        "redirect_uris": [format!("{public_url}{CALLBACK_PATH}")],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    })
}

impl Connections {
    /// The client for `issuer`, registering one where that is the way.
    pub(super) async fn client(
        &self,
        server: ServerId,
        configured: &OauthClient,
        issuer: &AuthorizationServer,
    ) -> Result<Client, Trouble> {
        if let Some(client) = self::configured(configured, issuer)? {
            return Ok(client);
        }
        if issuer.client_id_metadata_document_supported && self.document_is_readable() {
            let id = format!("{}{CLIENT_METADATA_PATH}", self.public_url);
            return Ok(Client::new(id, None, Proof::None));
        }
        if let Some(known) = self.registered(server, issuer).await? {
            return Ok(known);
        }
        self.register(server, issuer).await
    }

    /// A client id that is a URL is an https one.
    fn document_is_readable(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    async fn registered(
        &self,
        server: ServerId,
        issuer: &AuthorizationServer,
    ) -> Result<Option<Client>, Trouble> {
        let found = self.store.upstream_client(server, &issuer.issuer).await?;
        let now = self.clock.now();
        let lives = |c: &StoredUpstreamClient| c.expires_at.is_none_or(|expiry| expiry > now);
        let Some(found) = found.filter(lives) else { return Ok(None) };
        let Some(sealed) = &found.secret else {
            return Ok(Some(Client::new(found.client_id, None, Proof::None)));
        };
        let plain = self.vault.open_sealed(Bound::Client(server, &issuer.issuer), sealed).await?;
        let kept: KeptClient = serde_json::from_slice(plain.expose_secret())
            .map_err(|_| Trouble::metadata("a stored registration is not readable".into()))?;
        Ok(Some(kept.client(&OauthClient::default())))
    }

    async fn register(
        &self,
        server: ServerId,
        issuer: &AuthorizationServer,
    ) -> Result<Client, Trouble> {
        let Some(endpoint) = &issuer.registration_endpoint else {
            let detail = "the issuer takes only clients that it knows: register the gateway there and set auth.client_id";
            return Err(Trouble::metadata(detail.into()));
        };
        let url = Url::parse(endpoint)
            .map_err(|e| Trouble::metadata(format!("registration_endpoint: {e}")))?;
        let registered = self.ask_to_register(&url, issuer).await?;
        let Registered { client_id: id, client_secret, client_secret_expires_at, .. } = registered;
        let secret = client_secret.filter(|secret| !secret.is_empty()).map(SecretString::from);
        // What an issuer does not say it has taken as it was asked.
        let proof = match registered.token_endpoint_auth_method.as_deref() {
            Some(told) => told,
            None => wanted(issuer)?,
        };
        let proof = match (proof, &secret) {
            ("client_secret_post", Some(_)) => Proof::ClientSecretPost,
            ("client_secret_basic", Some(_)) => Proof::ClientSecretBasic,
            ("none", _) | (_, None) => Proof::None,
            (_, Some(_)) => proof_of(true, issuer)?,
        };
        let secret = secret.filter(|_| proof != Proof::None);
        let client = Client::new(id, secret, proof);
        let sealed = match &client.secret {
            Some(_) => {
                let kept = serde_json::to_vec(&KeptClient::of(&client, false)).unwrap_or_default();
                Some(self.vault.seal(Bound::Client(server, &issuer.issuer), &kept).await?)
            }
            None => None,
        };
        // 0 means never.
        let expires_at = Some(client_secret_expires_at).filter(|at| *at > 0 && sealed.is_some());
        let expires_at = expires_at.and_then(|at| Timestamp::from_unix_timestamp(at).ok());
        let stored =
            StoredUpstreamClient { client_id: client.id.clone(), secret: sealed, expires_at };
        let now = self.clock.now();
        self.store.put_upstream_client(server, &issuer.issuer, &stored, now).await?;
        Ok(client)
    }

    async fn ask_to_register(
        &self,
        url: &Url,
        issuer: &AuthorizationServer,
    ) -> Result<Registered, Trouble> {
        let mut body = client_metadata(&self.public_url);
        if let Some(members) = body.as_object_mut() {
            members.remove("client_id");
            members.insert("token_endpoint_auth_method".into(), wanted(issuer)?.into());
        }
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json.clone());
        request.headers_mut().insert(ACCEPT, json);
        let answer = self.fetcher.send(url, request).await?;
        let wrong = |what: &str| Trouble::metadata(format!("{}: {what}", super::fetch::place(url)));
        if !answer.status().is_success() {
            return Err(wrong(&format!("registering: status {}", answer.status().as_u16())));
        }
        let registered: Registered = serde_json::from_slice(answer.body())
            .map_err(|_| wrong("registering: not the expected JSON"))?;
        let legal = |id: &str| !id.is_empty() && id.bytes().all(|b| matches!(b, 0x20..=0x7E));
        legal(&registered.client_id).then_some(registered).ok_or_else(|| wrong("client_id"))
    }
}

/// The client that the operator registered.
pub(super) fn configured(
    configured: &OauthClient,
    issuer: &AuthorizationServer,
) -> Result<Option<Client>, Trouble> {
    let Some(id) = configured.client_id.clone() else { return Ok(None) };
    if let Some(key) = &configured.private_key {
        let methods = issuer.token_endpoint_auth_methods_supported.as_ref();
        if methods.is_some_and(|known| !known.iter().any(|method| method == "private_key_jwt")) {
            let detail = "token_endpoint_auth_methods_supported: no private_key_jwt";
            return Err(Trouble::metadata(detail.into()));
        }
        return Ok(Some(Client::signing(id, key)));
    }
    let secret = match &configured.client_secret {
        Some(secret) => Some(secret.value.clone().ok_or_else(missing)?),
        None => None,
    };
    let proof = proof_of(secret.is_some(), issuer)?;
    Ok(Some(Client::new(id, secret, proof)))
}

fn missing() -> Trouble {
    let detail = "auth.client_secret: its source is missing on this replica";
    Trouble::new(gateway_core::reason::Reason::UpstreamCredentialMissing, detail)
}

/// How a client proves itself to that issuer; RFC 8414 says `client_secret_basic` where it says nothing.
fn proof_of(has_secret: bool, issuer: &AuthorizationServer) -> Result<Proof, Trouble> {
    let Some(methods) = &issuer.token_endpoint_auth_methods_supported else {
        return Ok(if has_secret { Proof::ClientSecretBasic } else { Proof::None });
    };
    let takes = |method: &str| methods.iter().any(|known| known == method);
    match has_secret {
        true if takes("client_secret_basic") => Ok(Proof::ClientSecretBasic),
        true if takes("client_secret_post") => Ok(Proof::ClientSecretPost),
        true => Err(Trouble::metadata(
            "token_endpoint_auth_methods_supported: neither client_secret_basic nor client_secret_post".into(),
        )),
        false => Ok(Proof::None),
    }
}

/// What to register with: a secret where the issuer takes one, for the gateway can keep it.
fn wanted(issuer: &AuthorizationServer) -> Result<&'static str, Trouble> {
    let Some(methods) = &issuer.token_endpoint_auth_methods_supported else {
        return Ok("client_secret_basic");
    };
    let known = ["client_secret_basic", "client_secret_post", "none"];
    let taken = known.into_iter().find(|known| methods.iter().any(|method| method == known));
    taken.ok_or_else(|| {
        let detail = "token_endpoint_auth_methods_supported: none that the gateway knows";
        Trouble::metadata(detail.into())
    })
}
