//! A person connects their account: out to the issuer's consent page, and back with a code.
//!
//! `state` is 32 random bytes, known to Postgres by a keyed hash, good for one return of the same person in the same
//! browser within ten minutes. What ends the attempt (verifier, endpoints, client) is sealed, bound to person, server
//! and issuer: whatever the browser brings, the code goes to the issuer that the person was sent to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::caller::{Caller, PrincipalKind};
use gateway_core::ids::ConnectionId;
use gateway_core::keys::Purpose;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{OauthClient, Server, ServerStatus, UpstreamAuth};
use gateway_store::connection::{StoredAttempt, StoredConnection};
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Connections;
use super::client::CALLBACK_PATH;
use super::discover::{Discovered, discover};
use super::kept::{KeptAttempt, KeptClient, KeptTokens};
use super::own::address;
use super::renew::lacks_scope;
use super::tokens::{Client, Issued, NotIssued};
use super::trouble::Trouble;
use crate::perform::Origin;
use crate::ports::uuid7;
use crate::vault::Bound;

/// How long a person may take at the issuer's.
const LIFETIME: time::Duration = time::Duration::minutes(10);

/// Where the person goes now.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The issuer's consent page.
    pub url: Url,
}

/// What the issuer's redirect brought back.
#[derive(Debug, Clone, Default)]
pub struct Returned {
    /// `state`
    pub state: Option<String>,
    /// `code`
    pub code: Option<String>,
    /// `iss` (RFC 9207)
    pub iss: Option<String>,
    /// `error`
    pub error: Option<String>,
}

/// A connected account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The server's slug.
    pub slug: String,
    /// The server's title.
    pub title: String,
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{trouble}")]
pub struct Unfinished {
    /// Why.
    pub trouble: Trouble,
    /// What was to be connected, once that is known.
    pub server: Option<Connected>,
    /// The issuer's own code for it, such as `access_denied`.
    pub error: Option<String>,
}

impl From<Trouble> for Unfinished {
    fn from(trouble: Trouble) -> Unfinished {
        Unfinished { trouble, server: None, error: None }
    }
}

impl Connections {
    /// Sends the person who sits at a signed-in browser on their way. `caller.credential` names the browser.
    pub async fn begin(&self, caller: &Caller, server: &Server) -> Result<Asked, Trouble> {
        let configured = connectable(caller, server)?;
        let url = address(server)?;
        let found = discover(&self.fetcher, url, configured).await?;
        let Some(authorize) = found.server.authorization_endpoint.clone() else {
            return Err(Trouble::metadata("authorization_endpoint: the issuer has none".into()));
        };
        let s256 = found.server.code_challenge_methods_supported.iter().any(|m| m == "S256");
        if !s256 {
            let detail = "code_challenge_methods_supported: expected S256";
            return Err(Trouble::metadata(detail.into()));
        }
        let token_endpoint = found.server.token_endpoint.clone();
        let token_endpoint = token_endpoint
            .ok_or_else(|| Trouble::metadata("token_endpoint: the issuer has none".into()))?;
        let client = self.client(server.id, configured, &found.server).await?;
        let scopes = self.scopes(caller, server, configured, &found).await?;
        let state = self.random_text();
        let (challenge, verifier) = self.pkce();
        let asked = self.consent_page(&authorize, &client, (&state, challenge), &scopes, &found)?;
        let kept = KeptAttempt {
            browser: caller.credential.to_string(),
            verifier,
            url: url.to_owned(),
            resource: found.resource,
            token_endpoint,
            revocation_endpoint: found.server.revocation_endpoint,
            client: KeptClient::of(&client, configured.client_id.is_some()),
            scope: scopes.join(" "),
            names_itself: found.server.authorization_response_iss_parameter_supported,
        };
        self.keep(caller, server, (&found.server.issuer, &state), &kept).await?;
        Ok(asked)
    }

    async fn keep(
        &self,
        caller: &Caller,
        server: &Server,
        (issuer, state): (&str, &str),
        kept: &KeptAttempt,
    ) -> Result<(), Trouble> {
        let plain = serde_json::to_vec(kept)
            .map_err(|_| Trouble::metadata("an attempt is not writable".into()))?;
        let bound = Bound::Attempt(caller.user.id, server.id, issuer);
        let now = self.clock.now();
        let attempt = StoredAttempt {
            hash: self.root.hash(Purpose::Connect, state.as_bytes()),
            user: caller.user.id,
            server: server.id,
            issuer: issuer.to_owned(),
            sealed: self.vault.seal(bound, &plain).await?,
            expires_at: now + LIFETIME,
        };
        Ok(self.store.begin_attempt(&attempt, now).await?)
    }

    /// The operator's scopes, else what the server asks for; with what it asked for lately, and with
    /// `offline_access` where the issuer gives refresh tokens for that only.
    async fn scopes(
        &self,
        caller: &Caller,
        server: &Server,
        configured: &OauthClient,
        found: &Discovered,
    ) -> Result<Vec<String>, Trouble> {
        let mut scopes = match configured.scopes.is_empty() {
            true => found.scopes.clone(),
            false => configured.scopes.clone(),
        };
        let before = self.store.connection(server.id, caller.user.id).await?;
        let lacking = before.as_ref().and_then(|before| {
            let asked = lacks_scope(before)?;
            Some(format!("{} {asked}", before.scope))
        });
        let more = lacking.iter().flat_map(|text| text.split_ascii_whitespace());
        scopes.extend(more.map(str::to_owned));
        if found.server.scopes_supported.iter().any(|scope| scope == OFFLINE) {
            scopes.push(OFFLINE.to_owned());
        }
        let mut seen = std::collections::HashSet::new();
        scopes.retain(|scope| seen.insert(scope.clone()));
        Ok(scopes)
    }

    fn consent_page(
        &self,
        authorize: &str,
        client: &Client,
        (state, challenge): (&str, PkceCodeChallenge),
        scopes: &[String],
        found: &Discovered,
    ) -> Result<Asked, Trouble> {
        let wrong =
            |error: url::ParseError| Trouble::metadata(format!("authorization_endpoint: {error}"));
        let authorize = AuthUrl::new(authorize.to_owned()).map_err(wrong)?;
        let redirect = RedirectUrl::new(self.callback()).map_err(wrong)?;
        let asking = BasicClient::new(ClientId::new(client.id.clone()))
            .set_auth_uri(authorize)
            .set_redirect_uri(redirect);
        let state = state.to_owned();
        let (url, _) = asking
            .authorize_url(move || CsrfToken::new(state))
            .add_scopes(scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .add_extra_param("resource", found.resource.clone())
            .url();
        Ok(Asked { url })
    }

    /// Takes the person back: checks that it is the same person in the same browser and that the right issuer
    /// answers, redeems the code, keeps the tokens.
    pub async fn finish(
        &self,
        caller: &Caller,
        origin: &Origin,
        returned: Returned,
    ) -> Result<Connected, Unfinished> {
        let state = returned.state.as_deref().unwrap_or_default();
        let hash = self.root.hash(Purpose::Connect, state.as_bytes());
        let now = self.clock.now();
        let taken = self.store.take_attempt(&hash, caller.user.id, now).await;
        let taken = taken.map_err(Trouble::from)?;
        let attempt =
            taken.ok_or_else(|| over("it was not begun here by you, was used, or is over"))?;
        let bound = Bound::Attempt(attempt.user, attempt.server, &attempt.issuer);
        let plain = self.vault.open_sealed(bound, &attempt.sealed).await.map_err(Trouble::from)?;
        let kept: KeptAttempt = serde_json::from_slice(plain.expose_secret())
            .map_err(|_| over("it is not readable"))?;
        if kept.browser != *caller.credential {
            return Err(over("it was begun in another browser").into());
        }
        let snapshot = self.current.snapshot();
        let server =
            snapshot.server_by_id(attempt.server).ok_or_else(|| over("the server is gone"))?;
        let configured = connectable(caller, server)?;
        answered_by(&returned, &attempt.issuer, kept.names_itself)?;
        if address(server)? != kept.url {
            return Err(over("the server has another address now").into());
        }
        let error = returned.error.as_deref().map(code);
        let begun = self.intend(self.browser_subject(caller, origin, server, "connect")).await?;
        let done = self.redeem(caller, configured, (&attempt, kept), returned).await;
        self.conclude(begun, ActionType::OauthConnected, done.as_ref().err());
        let server = Connected { slug: server.slug.to_string(), title: server.title.clone() };
        match done {
            Ok(()) => Ok(server),
            Err(trouble) => Err(Unfinished { trouble, server: Some(server), error }),
        }
    }

    async fn redeem(
        &self,
        caller: &Caller,
        configured: &OauthClient,
        (attempt, kept): (&StoredAttempt, KeptAttempt),
        returned: Returned,
    ) -> Result<(), Trouble> {
        if let Some(error) = returned.error {
            return Err(over(&format!("the issuer answered {}", code(&error))));
        }
        let given = returned.code.filter(|code| !code.is_empty());
        let given = given.ok_or_else(|| over("the issuer sent no code"))?;
        let client = kept.client.client(configured);
        let place = (attempt.issuer.as_str(), kept.token_endpoint.as_str());
        let endpoint = self.token_endpoint(place, &client, &kept.resource)?;
        let verifier = SecretString::from(kept.verifier.clone());
        let issued = endpoint.code(&given, &verifier, &self.callback()).await;
        if let Err(NotIssued::ClientUnknown(_)) = &issued {
            let id = &kept.client.id;
            self.store.drop_upstream_client(attempt.server, &attempt.issuer, id).await?;
        }
        let issued = issued.map_err(NotIssued::into_trouble)?;
        self.connect(caller, attempt, kept, &issued).await
    }

    async fn connect(
        &self,
        caller: &Caller,
        attempt: &StoredAttempt,
        kept: KeptAttempt,
        issued: &Issued,
    ) -> Result<(), Trouble> {
        let now = self.clock.now();
        let tokens = KeptTokens {
            access: String::new(),
            refresh: None,
            url: kept.url,
            resource: kept.resource,
            token_endpoint: kept.token_endpoint,
            revocation_endpoint: kept.revocation_endpoint,
            client: kept.client,
        };
        let tokens = tokens.with(issued);
        let owner = (caller.user.id, attempt.server, attempt.issuer.as_str());
        let connection = StoredConnection {
            id: ConnectionId(uuid7(now, &*self.random)),
            server: attempt.server,
            user: caller.user.id,
            issuer: attempt.issuer.clone(),
            scope: issued.scope.clone().unwrap_or(kept.scope),
            sealed: self.seal(owner, &tokens).await?,
            expires_at: issued.expires_at(now),
            connected_at: now,
            refreshed_at: now,
            broken: None,
        };
        Ok(self.store.connect(&connection).await?)
    }

    fn callback(&self) -> String {
        format!("{}{CALLBACK_PATH}", self.public_url)
    }

    fn random_text(&self) -> String {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn pkce(&self) -> (PkceCodeChallenge, String) {
        let verifier = oauth2::PkceCodeVerifier::new(self.random_text());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        (challenge, verifier.into_secret())
    }
}

/// Asks for a refresh token, where that needs asking.
const OFFLINE: &str = "offline_access";

/// Who may connect, and to what.
fn connectable<'a>(caller: &Caller, server: &'a Server) -> Result<&'a OauthClient, Trouble> {
    if caller.user.kind == PrincipalKind::Agent || caller.actor.is_some() {
        return Err(over("only people connect accounts"));
    }
    match &server.auth {
        UpstreamAuth::OauthUser(client) if server.status == ServerStatus::Active => Ok(client),
        UpstreamAuth::OauthUser(_) => Err(Trouble::new(Reason::ServerDisabled, "not active")),
        UpstreamAuth::None
        | UpstreamAuth::Header { .. }
        | UpstreamAuth::OauthShared(_)
        | UpstreamAuth::IdentityForward
        | UpstreamAuth::TokenExchange(_) => Err(over("this server needs no account of yours")),
    }
}

/// RFC 9207: compared bytewise, and demanded of an issuer that says it sends it. Also of an error.
fn answered_by(returned: &Returned, issuer: &str, names_itself: bool) -> Result<(), Trouble> {
    match &returned.iss {
        Some(iss) if iss == issuer => Ok(()),
        Some(_) => Err(over("another issuer answered (iss)")),
        None if names_itself => Err(over("the issuer did not name itself (iss)")),
        None => Ok(()),
    }
}

/// An error code as far as it is one.
fn code(error: &str) -> String {
    error.chars().filter(char::is_ascii_graphic).take(40).collect()
}

fn over(detail: &str) -> Trouble {
    Trouble::new(Reason::ConnectionNotMade, detail)
}
