//! What tests of this crate share: a clock that is set, a fake network, a catalogue without a database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::caller::{PrincipalKind, Role, User};
use gateway_core::ids::{KeyId, ServerId, UserId};
use gateway_core::keys::RootKey;
use gateway_core::server::Server;
use gateway_core::{Clock, Timestamp};
use gateway_store::api_key::StoredKey;
use gateway_store::catalogue::Catalogue;
use uuid::Uuid;

use crate::ports::Fetch;
use crate::settings::{GovernanceSettings, Provider};
use crate::snapshot::Snapshot;

/// When tests begin.
pub(crate) const START: i64 = 1_800_000_000;

/// A clock that only moves when told to.
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn new() -> Arc<SetClock> {
        Arc::new(SetClock(AtomicI64::new(START)))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_timestamp(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// Answers from a table and counts; what is not in it is not there.
#[derive(Default)]
pub(crate) struct FakeNet {
    pages: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
}

impl FakeNet {
    pub(crate) fn put(&self, url: &str, body: impl Into<String>) {
        self.pages.lock().unwrap().insert(url.into(), body.into());
    }

    pub(crate) fn remove(&self, url: &str) {
        self.pages.lock().unwrap().remove(url);
    }

    pub(crate) fn times(&self, url: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == url).count()
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl Fetch for FakeNet {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: usize,
    ) -> Result<http::Response<Bytes>, String> {
        let url = request.uri().to_string();
        self.asked.lock().unwrap().push(url.clone());
        // Others get a chance to ask at the same time.
        tokio::task::yield_now().await;
        match self.pages.lock().unwrap().get(&url) {
            Some(body) if body.len() <= limit => {
                let answer = http::Response::builder().header("content-type", "application/json");
                Ok(answer.body(Bytes::from(body.clone())).unwrap())
            }
            Some(_) => Err("too large".into()),
            None => Err("status 404".into()),
        }
    }
}

pub(crate) fn root_key() -> RootKey {
    let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0xA5).collect();
    RootKey::new(&bytes).unwrap()
}

pub(crate) fn settings() -> GovernanceSettings {
    let mut settings =
        GovernanceSettings::new(root_key(), "https://gw.example.com".parse().unwrap());
    settings.oauth.registrations_per_hour = 60;
    // What looks after servers is looked at by tests of its own.
    settings.servers.probe = std::time::Duration::ZERO;
    settings
}

pub(crate) fn user(number: u128, email: &str) -> User {
    User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::from_u128(number)),
        email: email.into(),
        name: email.split('@').next().unwrap_or_default().into(),
        roles: vec![Role::User],
        groups: vec![],
        attributes: Default::default(),
        active: true,
    }
}

pub(crate) fn key(number: u128, owner: &User, hash: [u8; 32]) -> StoredKey {
    StoredKey {
        id: KeyId(Uuid::from_u128(number)),
        user: owner.id,
        hash,
        name: "test".into(),
        last_four: "abcd".into(),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
    }
}

/// A snapshot of these people and keys, no servers, no policies but the defaults.
pub(crate) fn snapshot(users: Vec<User>, keys: Vec<StoredKey>) -> Snapshot {
    let catalogue = Catalogue { version: 1, users, keys, ..Catalogue::default() };
    Snapshot::build(catalogue, None, Timestamp::UNIX_EPOCH).unwrap()
}

/// An identity provider, as configured.
pub(crate) fn provider() -> Provider {
    Provider {
        name: "Example".into(),
        issuer: "https://idp.example.com".into(),
        client_id: "gateway".into(),
        client_secret: Some("s3cret".into()),
        scopes: vec!["email".into(), "profile".into()],
        allowed_domains: vec![],
        groups_claim: "groups".into(),
        email_claim: "email".into(),
        attributes: vec![],
        create_users: false,
    }
}

/// A server of which nothing is known.
pub(crate) fn server(id: ServerId, slug: &str) -> Server {
    Server::named(id, slug.parse().unwrap())
}
