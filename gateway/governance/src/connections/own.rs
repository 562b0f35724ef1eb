//! Tokens of the gateway's own account, and those that an issuer gives in exchange for a caller's identity. They are
//! kept in memory only: another replica, or the same one tomorrow, gets its own.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::caller::Caller;
use gateway_core::credential::Credential;
use gateway_core::ids::{ServerId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{Endpoint, OauthClient, Server, TokenExchange};
use http::StatusCode;
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::client::configured;
use super::discover::{authorization_server, discover};
use super::renew::Refusing;
use super::tokens::{Client, Issued, NotIssued};
use super::trouble::Trouble;
use super::{Connections, Unconnected};

/// A token that ends sooner is not used.
const EARLY: time::Duration = time::Duration::seconds(60);
/// How long a token is used whose issuer does not say when it ends.
const USUAL: time::Duration = time::Duration::seconds(300);
/// How long a failure stands before the issuer is asked again.
const PAUSE: time::Duration = time::Duration::seconds(5);

/// For whom, as what: another client or secret is another token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whose {
    server: ServerId,
    principals: Vec<UserId>,
    how: [u8; 32],
}

struct Held {
    token: SecretString,
    until: Timestamp,
}

/// A place for one token; whoever asks for it waits for the one who fetches it.
#[derive(Default)]
struct Place {
    held: Option<Held>,
    failed: Option<(Timestamp, Trouble)>,
}

/// The tokens.
pub(super) struct OwnTokens(Cache<Whose, Arc<Mutex<Place>>>);

impl Default for OwnTokens {
    fn default() -> OwnTokens {
        let idle = Duration::from_secs(3600);
        OwnTokens(Cache::builder().max_capacity(100_000).time_to_idle(idle).build())
    }
}

impl Connections {
    /// A token of the gateway's own account at the server.
    pub(super) async fn shared(
        &self,
        server: &Server,
        client: &OauthClient,
    ) -> Result<Credential, Trouble> {
        let whose = Whose { server: server.id, principals: vec![], how: how(server, client, &[]) };
        self.held(whose, server, None, async {
            let url = address(server)?;
            let found = discover(&self.fetcher, url, client).await?;
            let known = known(configured(client, &found.server)?)?;
            let url = token_endpoint(found.server.token_endpoint.as_deref())?;
            let place = (found.server.issuer.as_str(), url);
            let endpoint = self.token_endpoint(place, &known, &found.resource)?;
            let scopes = if client.scopes.is_empty() { &found.scopes } else { &client.scopes };
            endpoint.client_credentials(scopes).await
        })
        .await
    }

    /// A token that the configured issuer gives for the caller.
    pub(super) async fn exchanged(
        &self,
        caller: &Caller,
        server: &Server,
        exchange: &TokenExchange,
    ) -> Result<Credential, Trouble> {
        let client = &exchange.client;
        let more = [exchange.token_url.as_deref(), exchange.audience.as_deref()];
        let principals = caller.principals().map(|principal| principal.id).collect();
        let whose = Whose { server: server.id, principals, how: how(server, client, &more) };
        self.held(whose, server, Some(caller), async {
            let resource = address(server)?;
            let metadata = match (&exchange.token_url, &client.issuer) {
                (None, Some(issuer)) => authorization_server(&self.fetcher, issuer).await?,
                (Some(_), _) | (None, None) => super::discover::AuthorizationServer::default(),
            };
            let url = exchange.token_url.as_deref().or(metadata.token_endpoint.as_deref());
            let url = token_endpoint(url)?;
            let known = known(configured(client, &metadata)?)?;
            let audience = client.issuer.as_deref().unwrap_or(url);
            let subject = self.identity_token(caller, audience).await?;
            let endpoint = self.token_endpoint((audience, url), &known, resource)?;
            endpoint.exchange(&subject, exchange.audience.as_deref(), &client.scopes).await
        })
        .await
    }

    /// The token that is held for `whose`, or a new one; one at a time asks for it, and it is recorded first.
    async fn held(
        &self,
        whose: Whose,
        server: &Server,
        caller: Option<&Caller>,
        ask: impl Future<Output = Result<Issued, NotIssued>> + Send,
    ) -> Result<Credential, Trouble> {
        let place = self.own.0.get_with(whose, Arc::default);
        let mut place = place.lock().await;
        let now = self.clock.now();
        if let Some(held) = place.held.as_ref().filter(|held| held.until > now) {
            return Ok(Credential::bearer(&held.token));
        }
        if let Some((_, trouble)) = place.failed.as_ref().filter(|(at, _)| now < *at + PAUSE) {
            return Err(trouble.clone());
        }
        let what = "get_token";
        let subject = match caller {
            Some(caller) => self.subject(caller, server, what),
            None => self.own_subject(server, what),
        };
        let begun = self.intend(subject).await?;
        let issued = ask.await.map_err(NotIssued::into_trouble);
        let action = match &issued {
            Ok(_) => ActionType::UpstreamTokenRefreshSuccess,
            Err(_) => ActionType::UpstreamTokenRefreshFailure,
        };
        self.conclude(begun, action, issued.as_ref().err());
        match issued {
            Ok(issued) => {
                let now = self.clock.now();
                let until = issued.expires_at(now).map_or(now + USUAL, |expiry| expiry - EARLY);
                let credential = Credential::bearer(&issued.access);
                *place = Place { held: Some(Held { token: issued.access, until }), failed: None };
                Ok(credential)
            }
            Err(trouble) => {
                *place = Place { held: None, failed: Some((now, trouble.clone())) };
                Err(trouble)
            }
        }
    }

    /// The server did not take such a token: the next call gets a new one.
    pub(super) fn own_refused(
        &self,
        caller: &Caller,
        server: &Server,
        status: StatusCode,
    ) -> Refusing {
        if status != StatusCode::UNAUTHORIZED {
            return Refusing::Nothing;
        }
        let principals: Vec<UserId> = caller.principals().map(|p| p.id).collect();
        let theirs = |whose: &Whose| {
            whose.server == server.id
                && (whose.principals.is_empty() || whose.principals == principals)
        };
        for (whose, _) in self.own.0.iter().filter(|(whose, _)| theirs(whose)) {
            self.own.0.invalidate(&*whose);
        }
        Refusing::Again(Unconnected {
            reason: Reason::ConnectionStale,
            detail: "the server does not take the token any more; another is asked for".into(),
            link: None,
        })
    }
}

/// Everything that the token depends on besides the person.
fn how(server: &Server, client: &OauthClient, more: &[Option<&str>]) -> [u8; 32] {
    let secret = client.secret().and_then(|secret| secret.value.as_ref());
    let texts = [
        address(server).ok(),
        client.issuer.as_deref(),
        client.client_id.as_deref(),
        client.private_key.as_ref().map(|key| key.key_id.as_deref().unwrap_or("signs")),
        secret.map(ExposeSecret::expose_secret),
    ];
    let scopes = client.scopes.iter().map(|scope| Some(scope.as_str()));
    let mut all = Vec::new();
    for text in texts.into_iter().chain(more.iter().copied()).chain(scopes) {
        let text = text.unwrap_or_default();
        all.extend_from_slice(&text.len().to_be_bytes());
        all.extend_from_slice(text.as_bytes());
    }
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &all).as_ref());
    out
}

pub(super) fn address(server: &Server) -> Result<&str, Trouble> {
    match &server.endpoint {
        Endpoint::Http(url) => Ok(url),
        Endpoint::InProcess => Err(Trouble::metadata("the server is in this process".into())),
    }
}

fn token_endpoint(url: Option<&str>) -> Result<&str, Trouble> {
    url.ok_or_else(|| Trouble::metadata("token_endpoint: the issuer has none".into()))
}

fn known(client: Option<Client>) -> Result<Client, Trouble> {
    client.ok_or_else(|| Trouble::metadata("auth.client_id: missing".into()))
}
