//! Credentials: the few that are good, and many that are not. Deny tests outnumber allow tests.

mod api_keys;
mod issuer;
mod key_sets;
mod own;
mod tokens;

use std::sync::Arc;

use gateway_core::caller::Caller;

use super::{Identity, Presented, Unidentified};
use crate::settings::{GovernanceSettings, Issuer};
use crate::snapshot::Snapshot;
use crate::testing::{FakeNet, SetClock, settings, snapshot, user};

/// The issuer in these tests.
const ISSUER: &str = "https://idp.example.com";
/// The audience that the gateway expects.
const AUDIENCE: &str = "https://mcp.example.com";
/// Where discovery leads.
const JWKS: &str = "https://idp.example.com/keys";

/// An identity check with its world.
struct World {
    identity: Identity,
    net: Arc<FakeNet>,
    clock: Arc<SetClock>,
    snapshot: Snapshot,
}

impl World {
    fn new() -> World {
        World::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut GovernanceSettings)) -> World {
        let mut settings = settings();
        settings.issuers = vec![Issuer::new(ISSUER, AUDIENCE)];
        change(&mut settings);
        let net = Arc::new(FakeNet::default());
        issuer::publish(&net);
        let clock = SetClock::new();
        let identity = Identity::new(&settings, net.clone(), clock.clone());
        let mut gone = user(3, "gone@example.com");
        gone.active = false;
        let users = vec![user(1, "bob@example.com"), user(2, "eve@example.com"), gone];
        World { identity, net, clock, snapshot: snapshot(users, vec![]) }
    }

    async fn bearer(&self, token: &str) -> Result<Caller, Unidentified> {
        self.authorization(&format!("Bearer {token}")).await
    }

    async fn authorization(&self, value: &str) -> Result<Caller, Unidentified> {
        let presented = Presented { authorization: Some(value), ..Presented::default() };
        self.identity.identify(&self.snapshot, presented).await
    }
}
