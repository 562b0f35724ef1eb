//! What a call needs before anything of it may go to a server: the server has answered lately, and there is a place
//! left, for this caller, at this server, and in this replica. A server that hangs and a caller who calls without end
//! fill their own shares and nobody else's.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, Server};
use moka::sync::Cache;

use super::breaker::{self, Breaker, BreakerSettings, Trial};
use super::failure::LegError;
use crate::fair::{Full, Place, Places};
use crate::telemetry::{self, BreakerState, Shed};

/// How many calls there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntrySettings {
    /// That wait for any server.
    pub(super) all: usize,
    /// That wait for one server.
    pub(super) per_server: usize,
    /// When a server is not worth asking.
    pub(super) breaker: BreakerSettings,
}

/// Who goes: a caller has a number, the gateway itself has none.
const GATEWAY: u128 = 0;

/// What every call passes. One per process.
pub(super) struct Entrance {
    settings: EntrySettings,
    /// All calls, by caller.
    by_caller: Arc<Places>,
    /// All calls, by server.
    by_server: Arc<Places>,
    servers: Cache<ServerId, Arc<Known>>,
}

/// What is known of one server at one address.
struct Known {
    slug: String,
    url: String,
    places: Arc<Places>,
    breaker: Arc<Breaker>,
}

/// A call's leave to go to its server, and its place there until this is dropped.
pub struct Entry {
    known: Arc<Known>,
    _trial: Option<Trial>,
    _places: (Place, Option<(Place, Place)>),
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// Why.
    pub reason: Reason,
    /// The same for operators.
    pub detail: String,
    /// After how many seconds it makes sense to come again.
    pub retry_after: u32,
}

impl Entrance {
    pub(super) fn new(settings: EntrySettings) -> Entrance {
        Entrance {
            settings,
            by_caller: Places::new(settings.all),
            by_server: Places::new(settings.all),
            servers: Cache::builder().time_to_idle(Duration::from_secs(600)).build(),
        }
    }

    /// Lets a caller's call in.
    pub(super) fn caller(&self, server: &Server, caller: u128) -> Result<Entry, TurnedAway> {
        let known = self.known(server);
        let trial = known.breaker.pass().map_err(|left| known.away(left))?;
        let ours = self
            .by_caller
            .take(caller)
            .map_err(|full| crowded(Shed::Caller, "this replica", full))?;
        let theirs = self.by_server.take(server.id.0.as_u128());
        let theirs =
            theirs.map_err(|full| crowded(Shed::Server, "this replica, for one server", full))?;
        let place =
            known.places.take(caller).map_err(|full| crowded(Shed::Server, &known.slug, full))?;
        Ok(Entry { known, _trial: trial, _places: (place, Some((ours, theirs))) })
    }

    /// Lets in what the gateway itself wants to know, whatever the server was like lately.
    pub(super) fn gateway(&self, server: &Server) -> Result<Entry, LegError> {
        let known = self.known(server);
        let place = known.places.take(GATEWAY).map_err(|full| {
            let TurnedAway { reason, detail, .. } = crowded(Shed::Server, &known.slug, full);
            LegError::unsent(reason, detail)
        })?;
        Ok(Entry { known, _trial: None, _places: (place, None) })
    }

    /// How many calls wait for servers, and how many may.
    pub(super) fn used(&self) -> (usize, usize) {
        (self.by_server.used(), self.by_server.all())
    }

    /// The breakers of the servers that were called lately.
    pub(super) fn breakers(&self) -> Vec<(String, BreakerState)> {
        let state = |known: Arc<Known>| (known.slug.clone(), known.breaker.state_now());
        self.servers.iter().map(|(_, known)| state(known)).collect()
    }

    fn known(&self, server: &Server) -> Arc<Known> {
        let url = match &server.endpoint {
            Endpoint::Http(url) => url.as_str(),
            Endpoint::InProcess => "",
        };
        if let Some(known) = self.servers.get(&server.id).filter(|known| known.url == url) {
            return known;
        }
        let known = Arc::new(Known {
            slug: server.slug.to_string(),
            url: url.to_owned(),
            places: Places::new(self.settings.per_server),
            breaker: Breaker::new(self.settings.breaker),
        });
        self.servers.insert(server.id, Arc::clone(&known));
        known
    }
}

impl Known {
    fn away(&self, left: Duration) -> TurnedAway {
        telemetry::shed(Shed::Breaker);
        let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        TurnedAway {
            reason: Reason::UpstreamUnavailable,
            detail: format!(
                "{} has failed too often in a row; it is tried again in {seconds} s",
                self.slug
            ),
            retry_after: seconds,
        }
    }
}

impl Entry {
    /// Says how it went.
    pub(super) fn tell(&self, error: Option<&LegError>) {
        let Known { slug, breaker, .. } = &*self.known;
        match error {
            None => {
                if breaker.answered() {
                    tracing::info!(server = slug, "the server answers again");
                }
            }
            Some(error) if breaker::is_absence(error) => {
                if breaker.failed() {
                    telemetry::breaker_opened();
                    tracing::warn!(server = slug, %error, "the server does not answer: calls are refused for a while");
                }
            }
            Some(_) => {}
        }
    }
}

fn crowded(shed: Shed, place: &str, full: Full) -> TurnedAway {
    telemetry::shed(shed);
    let detail = format!("{place}: {full}");
    TurnedAway { reason: Reason::Overloaded, detail, retry_after: 1 }
}
