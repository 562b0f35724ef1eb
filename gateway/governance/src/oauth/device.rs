//! Devices without a browser (RFC 8628): they show a short code, a person enters it in a browser and decides.

use gateway_core::caller::{AuthMethod, User};
use gateway_core::ids::SessionId;
use gateway_core::record::ActionType;
use gateway_store::oauth_device::StoredDevice;
use gateway_store::oauth_session::StoredSession;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use time::Duration;

use super::client::Client;
use super::error::{ErrorCode, OauthError};
use super::record::Note;
use super::token::TokenRequest;
use super::{AuthorizationServer, scope};
use crate::perform::Origin;

/// How long a person has for entering the code.
const LIVES: Duration = Duration::minutes(10);
/// How often a device may ask.
pub(crate) const INTERVAL: Duration = Duration::seconds(5);
/// Letters that are neither vowels, which make words, nor easily taken for others.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a user code.
const LENGTH: usize = 8;
/// How often a code is drawn that is taken already.
const ATTEMPTS: usize = 5;

/// What a device is told.
pub struct DeviceStarted {
    device_code: SecretString,
    user_code: String,
    page: String,
}

impl DeviceStarted {
    /// The body of the answer (RFC 8628, section 3.2). Holds the secret: for the device alone.
    pub fn json(&self) -> String {
        json!({
            "device_code": self.device_code.expose_secret(),
            "user_code": self.user_code,
            "verification_uri": self.page,
            "verification_uri_complete": format!("{}?user_code={}", self.page, self.user_code),
            "expires_in": LIVES.whole_seconds(),
            "interval": INTERVAL.whole_seconds(),
        })
        .to_string()
    }
}

/// A device that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAsked {
    /// The code in the form in which it is shown, `ABCD-EFGH`.
    pub user_code: String,
    /// The client.
    pub client_id: String,
    /// Its name, as it says.
    pub client_name: String,
    /// The host that its id is a URL of, if it is one.
    pub client_host: Option<String>,
    /// What it asks for.
    pub scope: String,
    /// What the token will be for.
    pub resource: String,
    /// The server's slug, or what the client wrote in its place; `None`: the whole gateway.
    pub server_slug: Option<String>,
}

impl AuthorizationServer {
    /// Answers the device authorization endpoint.
    pub async fn start_device(
        &self,
        request: TokenRequest<'_>,
    ) -> Result<DeviceStarted, OauthError> {
        let note = Note::new("POST /api/v1/oauth/device", request.origin);
        match self.try_start_device(request).await {
            Ok(started) => Ok(started),
            Err(error) => Err(self.failed(note, error)),
        }
    }

    async fn try_start_device(
        &self,
        request: TokenRequest<'_>,
    ) -> Result<DeviceStarted, OauthError> {
        self.ready()?;
        let form = request.form;
        let client = self.proven_client(form, request.authorization).await?;
        let client = self.client(&client.id).await?;
        let scope = scope::requested(form.get("scope"))?;
        let (resource, _) = self.wanted(form)?;
        if !self.devices.admit(request.origin.client_ip, self.clock.now()) {
            let description = "too many devices from this address; try again later";
            return Err(OauthError::new(ErrorCode::TooMuch, description));
        }
        for _ in 0..ATTEMPTS {
            let device_code = self.secret();
            let device = self.device(&device_code, &client, &scope, &resource);
            if self.store.start_device(&device).await.map_err(OauthError::store)? {
                let page = format!("{}/device", self.addresses.issuer());
                let user_code = shown(&device.user_code);
                return Ok(DeviceStarted { device_code, user_code, page });
            }
        }
        Err(OauthError::new(ErrorCode::TemporarilyUnavailable, "try again later"))
    }

    fn device(
        &self,
        code: &SecretString,
        client: &Client,
        scope: &str,
        resource: &str,
    ) -> StoredDevice {
        let now = self.clock.now();
        StoredDevice {
            hash: self.hash("device", code.expose_secret()),
            user_code: self.user_code(),
            client_id: client.id.clone(),
            client_name: client.name.clone(),
            resource: resource.to_owned(),
            scope: scope.to_owned(),
            created_at: now,
            expires_at: now + LIVES,
        }
    }

    fn user_code(&self) -> String {
        let mut code = String::with_capacity(LENGTH);
        while code.len() < LENGTH {
            let mut byte = [0];
            self.random.fill(&mut byte);
            // 240 is the largest multiple of 20 in a byte: every letter is as likely.
            if byte[0] < 240 {
                code.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
            }
        }
        code
    }

    /// The device that waits under the code that a person entered, in any spelling.
    pub async fn device_asked(&self, user_code: &str) -> Option<DeviceAsked> {
        let code = normal(user_code)?;
        let device = self.store.waiting_device(&code, self.clock.now()).await;
        let device = device.map_err(OauthError::store).ok()??;
        let place = self.addresses.place(&device.resource)?;
        let snapshot = self.current.snapshot();
        let server_slug = match &place {
            super::audience::Place::Gateway => None,
            super::audience::Place::Server(named) => {
                Some(snapshot.server(named).map_or(named.clone(), |s| s.slug.to_string()))
            }
        };
        let is_url = super::client::document::is_url(&device.client_id);
        let host = || url::Url::parse(&device.client_id).ok()?.host_str().map(str::to_owned);
        Some(DeviceAsked {
            user_code: shown(&device.user_code),
            client_host: if is_url { host() } else { None },
            client_id: device.client_id,
            client_name: device.client_name,
            scope: device.scope,
            resource: device.resource,
            server_slug,
        })
    }

    /// The person decided.
    pub async fn decide_device(
        &self,
        user_code: &str,
        user: &User,
        approve: bool,
        origin: &Origin,
    ) -> Result<(), OauthError> {
        self.ready()?;
        let gone = || OauthError::new(ErrorCode::ExpiredToken, "nothing waits under this code");
        let code = normal(user_code).ok_or_else(gone)?;
        let now = self.clock.now();
        let device = self.store.waiting_device(&code, now).await.map_err(OauthError::store)?;
        let device = device.ok_or_else(gone)?;
        let note = Note::new("device", origin).client(&device.client_id, &device.client_name);
        let note = note.by(user, None);
        let session = match approve {
            true => {
                let session = self.device_session(&device, user);
                Some(session.map_err(|error| self.failed(note.clone(), error))?)
            }
            false => None,
        };
        let note = match &session {
            Some(session) => note.session(session.id, AuthMethod::Browser),
            None => note,
        };
        self.intend(&note).await?;
        let decided = self.store.decide_device(&code, session.as_ref(), now).await;
        let decided = match decided {
            Ok(true) => Ok(()),
            Ok(false) => Err(gone()),
            Err(error) => Err(OauthError::store(error)),
        };
        let action = match approve {
            true => ActionType::OauthConsentGranted,
            false => ActionType::OauthConsentRefused,
        };
        self.concluded(note, action, decided.as_ref().err());
        decided
    }

    fn device_session(
        &self,
        device: &StoredDevice,
        user: &User,
    ) -> Result<StoredSession, OauthError> {
        let snapshot = self.current.snapshot();
        Ok(StoredSession {
            id: SessionId(self.next_id()),
            user: user.id,
            client_id: device.client_id.clone(),
            client_name: device.client_name.clone(),
            resource: self.enterable(&snapshot, user, &device.resource)?,
            scope: device.scope.clone(),
            created_at: self.clock.now(),
            // Until the device comes for its tokens.
            expires_at: device.expires_at,
        })
    }
}

/// As people enter it: any case, with or without the dash.
fn normal(user_code: &str) -> Option<String> {
    let letters = user_code.chars().filter(|c| !c.is_whitespace() && *c != '-');
    let code: String = letters.map(|c| c.to_ascii_uppercase()).take(LENGTH + 1).collect();
    let ours = |c: char| u8::try_from(c).is_ok_and(|c| LETTERS.contains(&c));
    (code.chars().count() == LENGTH && code.chars().all(ours)).then_some(code)
}

fn shown(code: &str) -> String {
    let (first, second) = code.split_at_checked(LENGTH / 2).unwrap_or((code, ""));
    format!("{first}-{second}")
}
