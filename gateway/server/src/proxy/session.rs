//! The `Mcp-Session-Id` that we hand out: a sealed token that holds the upstream's own session id and what
//! the client said of itself. It is sealed for one server and one principal, so any replica can open it,
//! nobody else's works, and nothing is stored.

use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::Caller;
use gateway_core::ids::ServerId;
use gateway_core::mcp::Client;
use gateway_core::seal::{NotSealed, Sealer};
use gateway_governance::Governance;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Proxy;

/// What a session handle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The upstream's session id; `None` for an upstream without sessions.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<String>,
    /// End of validity, seconds since 1970.
    #[serde(rename = "x")]
    expires: i64,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    client_version: Option<String>,
    #[serde(rename = "e", default)]
    elicitation: bool,
    #[serde(rename = "p", default)]
    elicitation_url: bool,
    /// SHA-256 of the handle; of one that was opened.
    #[serde(skip)]
    pub(super) hash: [u8; 32],
}

impl Session {
    /// A session that begins now.
    pub(super) fn new(upstream: Option<String>, client: &Client, expires: Timestamp) -> Session {
        Session {
            upstream,
            expires: expires.unix_timestamp(),
            client_name: client.name.clone(),
            client_version: client.version.clone(),
            elicitation: client.elicitation,
            elicitation_url: client.elicitation_url,
            hash: [0; 32],
        }
    }

    /// What it takes to end it before its time.
    pub(super) fn ender(&self, proxy: &Proxy) -> Ender {
        let until = Timestamp::from_unix_timestamp(self.expires);
        Ender {
            governance: proxy.governance.clone(),
            hash: self.hash,
            until: until.unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// A short name of it for audit rows, which does not let anybody use it.
    pub(super) fn short_name(&self) -> String {
        self.hash.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// The client as `initialize` described it.
    pub(super) fn client(&self) -> Client {
        Client {
            name: self.client_name.clone(),
            version: self.client_version.clone(),
            elicitation: self.elicitation,
            elicitation_url: self.elicitation_url,
        }
    }

    /// The handle for the client.
    pub(super) fn seal(
        &self,
        sealer: &Sealer,
        nonce: [u8; 12],
        server: ServerId,
        caller: &Caller,
    ) -> String {
        let plain = serde_json::to_vec(self).unwrap_or_default();
        sealer.seal(nonce, &context(server, caller), &plain)
    }

    /// Opens a handle: ours, for this server, of this principal, not expired.
    pub(super) fn open(
        sealer: &Sealer,
        handle: &str,
        server: ServerId,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Session, NotSealed> {
        let plain = sealer.open(&context(server, caller), handle)?;
        let mut session: Session = serde_json::from_slice(&plain).map_err(|_| NotSealed)?;
        session.hash.copy_from_slice(digest(&SHA256, handle.as_bytes()).as_ref());
        if session.expires <= now.unix_timestamp() { Err(NotSealed) } else { Ok(session) }
    }
}

/// Ends a session on every replica.
#[derive(Clone)]
pub(super) struct Ender {
    governance: Arc<Governance>,
    pub(super) hash: [u8; 32],
    until: Timestamp,
}

impl Ender {
    /// Ends it. What it was ended for is over anyway, should this fail.
    pub(super) async fn end(&self) {
        if let Err(error) = self.governance.end_session(&self.hash, self.until).await {
            tracing::error!(%error, "a session could not be ended after a block");
        }
    }
}

fn context(server: ServerId, caller: &Caller) -> Vec<u8> {
    [&server.0.as_bytes()[..], &caller.binding()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::caller::{AuthMethod, PrincipalKind, User};
    use gateway_core::ids::UserId;
    use uuid::Uuid;

    fn person(n: u128) -> Caller {
        let user = User {
            kind: PrincipalKind::Person,
            id: UserId(Uuid::from_u128(n)),
            email: format!("{n}@example.com"),
            name: String::new(),
            roles: vec![],
            groups: vec![],
            attributes: Default::default(),
            active: true,
        };
        Caller::new(Arc::new(user), AuthMethod::ApiKey, "k")
    }

    /// n people x m servers: a handle works for exactly the pair that it was made for (F5).
    #[test]
    fn a_handle_works_for_its_principal_and_server_only() {
        let sealer = Sealer::new(&[3; 32]);
        let now = Timestamp::UNIX_EPOCH + time::Duration::days(20_000);
        let client = Client {
            name: Some("c".into()),
            version: None,
            elicitation: true,
            elicitation_url: true,
        };
        let session = Session::new(Some("up".into()), &client, now + time::Duration::hours(1));
        let servers: Vec<_> = (0..4).map(|n| ServerId(Uuid::from_u128(n))).collect();
        let people: Vec<_> = (10..15).map(person).collect();
        for owner in &people {
            for home in &servers {
                let handle = session.seal(&sealer, [1; 12], *home, owner);
                for caller in &people {
                    for server in &servers {
                        let mine = caller.user.id == owner.user.id && server == home;
                        let opened = Session::open(&sealer, &handle, *server, caller, now);
                        assert_eq!(opened.is_ok(), mine);
                    }
                }
                let later = now + time::Duration::hours(2);
                assert!(Session::open(&sealer, &handle, *home, owner, later).is_err());
            }
        }
    }
}
