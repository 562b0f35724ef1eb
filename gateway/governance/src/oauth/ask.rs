//! An authorization request: read and checked before anybody is asked, carried sealed through the pages that
//! ask, and answered once the person has decided.
//!
//! Until client and redirect URI are known to belong together, nothing goes to the redirect URI, not even an
//! error. What the pages carry is bound to the browser that began, so that nobody decides in another's place.

use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, User};
use gateway_core::ids::SessionId;
use gateway_core::record::ActionType;
use gateway_store::oauth_session::{NewCode, StoredSession};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::audience::Place;
use super::client::Client;
use super::error::{ErrorCode, OauthError};
use super::form::Form;
use super::record::Note;
use super::{AuthorizationServer, redirect, scope};
use crate::perform::Origin;
use crate::snapshot::Snapshot;

/// How long a person may take to sign in and decide.
const PATIENCE: time::Duration = time::Duration::minutes(10);
/// The longest `state`.
const LONGEST_STATE: usize = 4096;
/// What a request that is carried through pages is sealed for.
const CONTEXT: &[u8] = b"oauth/asked/1/";

/// A request that a person is to decide about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The client.
    pub client_id: String,
    /// Its name, as it says; nobody vouches for it.
    pub client_name: String,
    /// The host that its id is a URL of: proven. `None`: it registered itself, and nothing is proven.
    pub client_host: Option<String>,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// Its host, or its scheme where it has none: to be shown.
    pub redirect_host: String,
    /// What it asks for.
    pub scope: String,
    /// What the token will be for: the gateway's public URL or a server's proxy URL.
    pub resource: String,
    /// The server's slug, or what the client wrote in its place where there is no such server: show nothing
    /// about it that the person may not see. `None`: the whole gateway.
    pub server_slug: Option<String>,
    /// The request, sealed: what a page carries to the next one, for [`AuthorizationServer::ask_again`].
    #[serde(skip)]
    pub sealed: String,
    state: Option<String>,
    challenge: String,
    until: i64,
}

/// A request that nobody is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unasked {
    /// Show this to the person; nothing may go to the client.
    Page(OauthError),
    /// Send the browser there: the client learns the error.
    Redirect(String),
}

impl AuthorizationServer {
    /// Checks an authorization request: the query of `GET /api/v1/oauth/authorize`, or the form of a `POST`.
    /// `browser` is a secret of the browser's cookie.
    pub async fn ask(&self, query: &str, browser: &[u8; 32]) -> Result<Asked, Unasked> {
        self.ready().map_err(Unasked::Page)?;
        let form = Form::parse(query.as_bytes()).map_err(Unasked::Page)?;
        let client = form.required("client_id").map_err(Unasked::Page)?;
        let client = self.client(client).await.map_err(Unasked::Page)?;
        let uri = client.redirect(form.get("redirect_uri")).map_err(Unasked::Page)?.to_owned();
        let state = form.get("state").map(str::to_owned);
        let checked = self.check(&form, client, uri.clone());
        let asked = checked.map_err(|error| {
            let state = state.filter(|state| state.len() <= LONGEST_STATE);
            Unasked::Redirect(self.error_at(&uri, state.as_deref(), &error))
        })?;
        Ok(self.sealed(asked, browser))
    }

    fn check(&self, form: &Form, client: Client, uri: String) -> Result<Asked, OauthError> {
        for (name, code) in [
            ("request", ErrorCode::RequestNotSupported),
            ("request_uri", ErrorCode::RequestUriNotSupported),
        ] {
            if form.get(name).is_some() {
                return Err(OauthError::new(code, format!("{name}: not supported")));
            }
        }
        if form.required("response_type")? != "code" {
            let expected = "response_type: expected code";
            return Err(OauthError::new(ErrorCode::UnsupportedResponseType, expected));
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(OauthError::request("response_mode: expected query"));
        }
        if form.get("state").is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(OauthError::request("state: too long"));
        }
        let challenge = challenge(form)?;
        let scope = scope::requested(form.get("scope"))?;
        let (resource, server_slug) = self.wanted(form)?;
        Ok(Asked {
            client_id: client.id,
            client_name: client.name,
            client_host: client.host,
            redirect_host: redirect::shown(&uri),
            redirect_uri: uri,
            scope,
            resource,
            server_slug,
            sealed: String::new(),
            state: form.get("state").map(str::to_owned),
            challenge,
            until: (self.clock.now() + PATIENCE).unix_timestamp(),
        })
    }

    /// The resource that is asked for, and what to call its server. That there is none is not told before
    /// somebody has signed in.
    pub(crate) fn wanted(&self, form: &Form) -> Result<(String, Option<String>), OauthError> {
        let Some(resource) = form.resource()? else {
            return Ok((self.addresses.issuer().to_owned(), None));
        };
        let place = self.addresses.place(resource).ok_or_else(|| {
            let expected = "resource: expected the gateway's public URL or a server's proxy URL";
            OauthError::new(ErrorCode::InvalidTarget, expected)
        })?;
        let snapshot = self.current.snapshot();
        let name = match place.audience(&snapshot) {
            Some(audience) => self.addresses.name(audience),
            None => resource.to_owned(),
        };
        let slug = match &place {
            Place::Gateway => None,
            Place::Server(named) => {
                Some(snapshot.server(named).map_or(named.clone(), |s| s.slug.to_string()))
            }
        };
        Ok((name, slug))
    }

    fn sealed(&self, mut asked: Asked, browser: &[u8; 32]) -> Asked {
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce);
        let plain = serde_json::to_vec(&asked).unwrap_or_default();
        asked.sealed = self.pages.seal(nonce, &context(browser), &plain);
        asked
    }

    /// A request that a page carried on, in the same browser and within ten minutes.
    pub fn ask_again(&self, sealed: &str, browser: &[u8; 32]) -> Result<Asked, OauthError> {
        self.ready()?;
        let gone =
            || OauthError::request("this page is too old or from another browser; start again");
        let plain = self.pages.open(&context(browser), sealed).map_err(|_| gone())?;
        let asked: Asked = serde_json::from_slice(&plain).map_err(|_| gone())?;
        if asked.until <= self.clock.now().unix_timestamp() {
            return Err(gone());
        }
        Ok(Asked { sealed: sealed.to_owned(), ..asked })
    }

    /// The person agreed: the URL to send the browser to, with code, state and iss.
    pub async fn grant(
        &self,
        asked: &Asked,
        user: &User,
        origin: &Origin,
    ) -> Result<String, OauthError> {
        self.ready()?;
        let session = match self.new_session(asked, user) {
            Ok(session) => session,
            // The client is told as well, or it would wait for ever.
            Err(error) => {
                let note = decision(asked, user, origin);
                let error = self.failed(note, error);
                return Ok(self.error_at(&asked.redirect_uri, asked.state.as_deref(), &error));
            }
        };
        let note = decision(asked, user, origin).session(session.id, AuthMethod::Browser);
        self.intend(&note).await?;
        let code = self.secret();
        let stored = NewCode {
            hash: self.hash("code", code.expose_secret()),
            redirect_uri: asked.redirect_uri.clone(),
            challenge: asked.challenge.clone(),
            expires_at: self.clock.now() + self.settings.oauth.code,
        };
        let granted = self.store.grant_code(&session, &stored).await.map_err(OauthError::store);
        self.concluded(note, ActionType::OauthConsentGranted, granted.as_ref().err());
        granted?;
        let mut parameters = vec![("code", code.expose_secret())];
        parameters.extend(asked.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", self.addresses.issuer()));
        Ok(redirect::answer(&asked.redirect_uri, &parameters))
    }

    /// The person did not agree: the URL to send the browser to.
    pub async fn refuse(&self, asked: &Asked, user: &User, origin: &Origin) -> String {
        let note = decision(asked, user, origin);
        if self.intend(&note).await.is_ok() {
            self.concluded(note, ActionType::OauthConsentRefused, None);
        }
        let error = OauthError::new(ErrorCode::AccessDenied, "the person did not agree");
        self.error_at(&asked.redirect_uri, asked.state.as_deref(), &error)
    }

    fn new_session(&self, asked: &Asked, user: &User) -> Result<StoredSession, OauthError> {
        let snapshot = self.current.snapshot();
        let resource = self.enterable(&snapshot, user, &asked.resource)?;
        let now = self.clock.now();
        Ok(StoredSession {
            id: SessionId(self.next_id()),
            user: user.id,
            client_id: asked.client_id.clone(),
            client_name: asked.client_name.clone(),
            resource,
            scope: asked.scope.clone(),
            created_at: now,
            // Until the code is redeemed.
            expires_at: now + self.settings.oauth.code,
        })
    }

    /// The name of the audience behind `resource`, for somebody who may use it. No server, and one on which
    /// they may do nothing, are the same.
    pub(crate) fn enterable(
        &self,
        snapshot: &Snapshot,
        user: &User,
        resource: &str,
    ) -> Result<String, OauthError> {
        let known = snapshot.user(user.id).filter(|known| known.active);
        let Some(known) = known else {
            return Err(OauthError::new(
                ErrorCode::AccessDenied,
                "the person may not sign in here",
            ));
        };
        let place = self.addresses.place(resource);
        let audience = place.as_ref().and_then(|place| place.audience(snapshot));
        let may = match place.as_ref() {
            Some(Place::Gateway) => true,
            Some(Place::Server(named)) => snapshot
                .server(named)
                .is_some_and(|server| snapshot.policies.may_enter(known, server)),
            None => false,
        };
        match audience.filter(|_| may) {
            Some(audience) => Ok(self.addresses.name(audience)),
            None => {
                let description = "there is no such server, or none that the person may use";
                Err(OauthError::new(ErrorCode::InvalidTarget, description))
            }
        }
    }

    fn error_at(&self, uri: &str, state: Option<&str>, error: &OauthError) -> String {
        let told = error.told();
        let mut parameters = vec![("error", error.code.as_str()), ("error_description", &*told)];
        parameters.extend(state.map(|state| ("state", state)));
        parameters.push(("iss", self.addresses.issuer()));
        redirect::answer(uri, &parameters)
    }

    /// True only while the catalogue may be decided with.
    pub(crate) fn ready(&self) -> Result<(), OauthError> {
        if !self.settings.oauth.enabled {
            let description = "the authorization server is switched off";
            return Err(OauthError::new(ErrorCode::TemporarilyUnavailable, description));
        }
        if self.current.is_fresh() { Ok(()) } else { Err(OauthError::stale()) }
    }

    /// When the last access token of a session that ends now has expired.
    pub(crate) fn tokens_gone(&self, now: Timestamp) -> Timestamp {
        now + super::LONGEST_TOKEN + time::Duration::minutes(5)
    }
}

/// PKCE with S256 and nothing else: a missing method would mean `plain` (RFC 7636, section 4.3).
fn challenge(form: &Form) -> Result<String, OauthError> {
    let challenge = form.get("code_challenge");
    let challenge = challenge.ok_or_else(|| OauthError::request("code_challenge: missing"))?;
    if form.get("code_challenge_method") != Some("S256") {
        return Err(OauthError::request("code_challenge_method: expected S256"));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(legal) {
        return Err(OauthError::request("code_challenge: expected 43 characters of base64url"));
    }
    Ok(challenge.to_owned())
}

fn context(browser: &[u8; 32]) -> Vec<u8> {
    [CONTEXT, browser].concat()
}

fn decision(asked: &Asked, user: &User, origin: &Origin) -> Note {
    Note::new("authorize", origin).client(&asked.client_id, &asked.client_name).by(user, None)
}
