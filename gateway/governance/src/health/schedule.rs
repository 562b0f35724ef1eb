//! When each server is due, and what a look at it means. Knows neither clock nor network: both are arguments.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, Health, HealthStatus, Server};

/// The longest pause between two looks at a server that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// What did not change is written again after this time, so that readers see that somebody still looks.
const WRITE_AGAIN: time::Duration = time::Duration::seconds(60);

/// How often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    probe: Duration,
    read: Duration,
}

impl Pace {
    /// `probe`: between two looks, zero for none; `read`: between two listings.
    pub(super) fn new(probe: Duration, read: Duration) -> Pace {
        Pace { probe, read }
    }

    /// The pause after that many failures in a row: twice as long each time, up to a cap, and of that a random
    /// part, so that servers that broke together are not asked together. `share` lies between 0 and 1.
    fn pause(&self, failures: u32, share: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let cap = LONGEST_PAUSE.max(self.probe);
        let whole = self.probe.checked_mul(doubled).map_or(cap, |pause| pause.min(cap));
        let fixed = if failures == 0 { 0.9 } else { 0.5 };
        whole.mul_f64(fixed + (1.0 - fixed) * share.clamp(0.0, 1.0))
    }
}

/// A server that is due, and for what.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) server: Arc<Server>,
    pub(super) probe: bool,
    pub(super) read: bool,
}

/// What a look at a server showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Ok { latency_us: i64 },
    Failing { reason: Reason, detail: String },
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Concluded {
    pub(super) health: Health,
    /// It answers now and did not before, or the other way round. A first answer is nothing new.
    pub(super) changed: bool,
    /// Worth a row.
    pub(super) write: bool,
}

struct Entry {
    endpoint: Endpoint,
    /// How it is signed in to, secrets hidden.
    auth: String,
    health: Option<Health>,
    written_at: Option<Timestamp>,
    next_probe: Timestamp,
    next_read: Timestamp,
}

/// Every server that is looked after.
#[derive(Default)]
pub(super) struct Schedule {
    entries: HashMap<ServerId, Entry>,
    /// What was measured before this replica took over.
    known: HashMap<ServerId, Health>,
}

impl Schedule {
    /// Goes on from what was measured.
    pub(super) fn resume(known: Vec<(ServerId, Health)>) -> Schedule {
        Schedule { entries: HashMap::new(), known: known.into_iter().collect() }
    }

    /// Who of `active` is due, and moves their next time on: a look that is never concluded is made again.
    pub(super) fn due(
        &mut self,
        now: Timestamp,
        active: &[Arc<Server>],
        pace: &Pace,
        mut share: impl FnMut() -> f64,
    ) -> Vec<Due> {
        self.entries.retain(|id, _| active.iter().any(|server| server.id == *id));
        let mut due = Vec::new();
        for server in active {
            let entry = match self.entries.remove(&server.id) {
                Some(entry) => entry.of(server, now),
                None => Entry::new(server, self.known.remove(&server.id), now, pace, share()),
            };
            let entry = self.entries.entry(server.id).or_insert(entry);
            // The server in this process answers as long as anybody could ask.
            let outside = server.endpoint != Endpoint::InProcess;
            let probe = outside && !pace.probe.is_zero() && entry.next_probe <= now;
            let read = entry.next_read <= now;
            if probe {
                entry.next_probe = now + pace.pause(entry.failures(), share());
            }
            if read {
                entry.next_read = now + pace.read;
            }
            if probe || read {
                due.push(Due { server: Arc::clone(server), probe, read });
            }
        }
        due
    }

    /// False for a server that is known to fail: it would only be waited for.
    pub(super) fn answers(&self, server: ServerId) -> bool {
        let health = self.entries.get(&server).and_then(|entry| entry.health.as_ref());
        health.is_none_or(|health| health.status == HealthStatus::Ok)
    }

    /// What a look at `now` means; `None` for a server that nobody looks after any more.
    pub(super) fn concluded(
        &mut self,
        (server, now): (ServerId, Timestamp),
        seen: Seen,
        pace: &Pace,
        share: f64,
    ) -> Option<Concluded> {
        let entry = self.entries.get_mut(&server)?;
        let before = entry.health.take();
        let health = judged(before.as_ref(), seen, now);
        entry.next_probe = now + pace.pause(health.failures, share);
        let status = before.as_ref().map(|before| before.status);
        let changed = match status {
            Some(status) => status != health.status,
            None => health.status == HealthStatus::Failing,
        };
        let same = before.is_some_and(|before| {
            (before.status, &before.reason) == (health.status, &health.reason)
        });
        let write = !same || entry.written_at.is_none_or(|at| now >= at + WRITE_AGAIN);
        entry.health = Some(health.clone());
        Some(Concluded { health, changed, write })
    }

    /// It has its row.
    pub(super) fn written(&mut self, server: ServerId, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&server) {
            entry.written_at = Some(now);
        }
    }
}

fn judged(before: Option<&Health>, seen: Seen, now: Timestamp) -> Health {
    let since = |status| match before {
        Some(before) if before.status == status => before.since,
        Some(_) | None => now,
    };
    match seen {
        Seen::Ok { latency_us } => Health {
            status: HealthStatus::Ok,
            since: since(HealthStatus::Ok),
            checked_at: now,
            last_ok: Some(now),
            reason: None,
            detail: None,
            latency_us: Some(latency_us),
            failures: 0,
        },
        Seen::Failing { reason, detail } => Health {
            status: HealthStatus::Failing,
            since: since(HealthStatus::Failing),
            checked_at: now,
            last_ok: before.and_then(|before| before.last_ok),
            reason: Some(reason.as_str().to_owned()),
            detail: Some(detail),
            latency_us: before.and_then(|before| before.latency_us),
            failures: before.map_or(0, |before| before.failures).saturating_add(1),
        },
    }
}

impl Entry {
    /// Of a server that is new here. What was measured elsewhere is spread over one pause, so that a restart
    /// asks nobody together; what was never measured is asked at once.
    fn new(
        server: &Server,
        health: Option<Health>,
        now: Timestamp,
        pace: &Pace,
        share: f64,
    ) -> Entry {
        let first = if health.is_some() {
            pace.probe.mul_f64(share.clamp(0.0, 1.0))
        } else {
            Duration::ZERO
        };
        Entry {
            endpoint: server.endpoint.clone(),
            auth: format!("{:?}", server.auth),
            written_at: health.as_ref().map(|health| health.checked_at),
            health,
            next_probe: now + first,
            next_read: now + pace.read,
        }
    }

    /// The same server as it is now: at another address nothing is known of it, with another credential it is
    /// asked at once.
    fn of(mut self, server: &Server, now: Timestamp) -> Entry {
        let auth = format!("{:?}", server.auth);
        if self.endpoint != server.endpoint {
            (self.health, self.written_at) = (None, None);
            (self.next_probe, self.next_read) = (now, now);
        } else if self.auth != auth {
            self.next_probe = now;
        }
        self.endpoint = server.endpoint.clone();
        self.auth = auth;
        self
    }

    fn failures(&self) -> u32 {
        self.health.as_ref().map_or(0, |health| health.failures)
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::server::UpstreamAuth;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const START: Timestamp = datetime!(2026-08-01 0:00 UTC);
    const PROBE: Duration = Duration::from_secs(30);

    fn server(number: u128) -> Arc<Server> {
        Arc::new(Server {
            endpoint: Endpoint::Http("http://127.0.0.1:9/mcp".into()),
            ..Server::named(
                ServerId(Uuid::from_u128(number)),
                format!("s{number}").parse().unwrap(),
            )
        })
    }

    fn ok() -> Seen {
        Seen::Ok { latency_us: 1 }
    }

    fn failing(reason: Reason) -> Seen {
        Seen::Failing { reason, detail: "no".into() }
    }

    /// A schedule, its servers, and a clock that is set.
    struct Desk {
        schedule: Schedule,
        servers: Vec<Arc<Server>>,
        pace: Pace,
        now: Timestamp,
        share: f64,
    }

    impl Desk {
        fn new(share: f64) -> Desk {
            let pace = Pace::new(PROBE, Duration::from_secs(3_600));
            let servers = vec![server(1), server(2)];
            Desk { schedule: Schedule::default(), servers, pace, now: START, share }
        }

        /// Ids of the servers that are to be probed.
        fn due(&mut self) -> Vec<u128> {
            let share = self.share;
            let due = self.schedule.due(self.now, &self.servers, &self.pace, || share);
            due.iter().filter(|due| due.probe).map(|due| due.server.id.0.as_u128()).collect()
        }

        fn conclude(&mut self, number: u128, seen: Seen) -> Concluded {
            let at = (ServerId(Uuid::from_u128(number)), self.now);
            let concluded = self.schedule.concluded(at, seen, &self.pace, self.share).unwrap();
            if concluded.write {
                self.schedule.written(at.0, at.1);
            }
            concluded
        }

        /// Lets server 1 fail every time that it is asked, a second after the other; the pauses between.
        fn pauses(&mut self, number: usize) -> Vec<i64> {
            let mut last = self.now;
            let mut pauses = Vec::new();
            while pauses.len() < number {
                self.now += time::Duration::SECOND;
                if self.due().contains(&1) {
                    pauses.push((self.now - last).whole_seconds());
                    last = self.now;
                    self.conclude(1, failing(Reason::UpstreamTimeout));
                }
            }
            pauses
        }
    }

    #[test]
    fn who_fails_is_asked_less_and_less_often_up_to_a_cap() {
        for (share, expected) in [
            (1.0, [30, 60, 120, 240, 480, 600, 600, 600]),
            (0.0, [15, 30, 60, 120, 240, 300, 300, 300]),
        ] {
            let mut desk = Desk::new(share);
            assert_eq!(desk.due(), [1, 2], "new ones are asked at once");
            desk.conclude(1, failing(Reason::UpstreamUnreachable));
            desk.conclude(2, ok());
            assert_eq!(desk.pauses(8), expected);
        }
    }

    #[test]
    fn recovery_sets_the_pace_back_and_others_keep_theirs() {
        let mut desk = Desk::new(1.0);
        desk.due();
        desk.conclude(2, ok());
        desk.conclude(1, failing(Reason::UpstreamUnreachable));
        desk.pauses(6);
        desk.now += time::Duration::seconds(600);
        assert_eq!(desk.due(), [1, 2]);
        let back = desk.conclude(1, ok());
        assert!(back.changed && back.write);
        assert_eq!((back.health.failures, back.health.since), (0, desk.now));
        desk.conclude(2, ok());
        desk.now += time::Duration::seconds(29);
        assert_eq!(desk.due(), [0; 0]);
        desk.now += time::Duration::seconds(1);
        assert_eq!(desk.due(), [1, 2]);
        // A look that is never concluded is made again.
        assert_eq!(desk.due(), [0; 0]);
        desk.now += time::Duration::seconds(30);
        assert_eq!(desk.due(), [1, 2]);
    }

    #[test]
    fn changes_are_told_once_and_rows_are_written_seldom() {
        let mut desk = Desk::new(1.0);
        desk.due();
        let second = time::Duration::SECOND;
        let (timeout, unreachable) = (Reason::UpstreamTimeout, Reason::UpstreamUnreachable);
        // Seconds after the last look, what is seen, whether it is told, whether it is written.
        let cases = [
            (0, ok(), false, true),
            (30, ok(), false, false),
            (30, ok(), false, true),
            (30, failing(timeout), true, true),
            (1, failing(timeout), false, false),
            (1, failing(unreachable), false, true),
            (59, failing(unreachable), false, false),
            (1, failing(unreachable), false, true),
            (1, ok(), true, true),
        ];
        for (after, seen, changed, write) in cases {
            desk.now += second * after;
            let concluded = desk.conclude(1, seen.clone());
            assert_eq!((concluded.changed, concluded.write), (changed, write), "{after} {seen:?}");
        }
        let first = desk.conclude(2, failing(timeout));
        assert!(first.changed, "who never answered is told of");
        assert_eq!(first.health.last_ok, None);
    }

    #[test]
    fn what_was_measured_before_goes_on() {
        let mut desk = Desk::new(0.5);
        desk.due();
        desk.conclude(1, failing(Reason::UpstreamTimeout));
        let before = desk.conclude(1, failing(Reason::UpstreamTimeout)).health;
        desk.schedule = Schedule::resume(vec![(before_id(), before.clone())]);
        desk.now += time::Duration::seconds(1);
        assert_eq!(desk.due(), [2], "the known one is spread over one pause");
        desk.now += time::Duration::seconds(15);
        assert_eq!(desk.due(), [1]);
        let after = desk.conclude(1, failing(Reason::UpstreamTimeout));
        assert!(!after.changed);
        assert_eq!((after.health.failures, after.health.since), (3, before.since));
    }

    fn before_id() -> ServerId {
        ServerId(Uuid::from_u128(1))
    }

    #[test]
    fn another_address_is_another_server_and_who_is_gone_is_forgotten() {
        let mut desk = Desk::new(1.0);
        desk.due();
        desk.conclude(1, failing(Reason::UpstreamTimeout));
        desk.conclude(2, failing(Reason::UpstreamTimeout));
        desk.now += time::Duration::SECOND;
        let moved = Endpoint::Http("http://127.0.0.1:10/mcp".into());
        desk.servers[0] = Arc::new(Server { endpoint: moved, ..Server::clone(&desk.servers[0]) });
        let auth = UpstreamAuth::IdentityForward;
        desk.servers[1] = Arc::new(Server { auth, ..Server::clone(&desk.servers[1]) });
        assert_eq!(desk.due(), [1, 2], "both are asked at once");
        assert!(desk.schedule.answers(before_id()), "nothing is known of it");
        let (one, two) = (desk.conclude(1, ok()), desk.conclude(2, ok()));
        assert!(!one.changed && two.changed);
        desk.servers.clear();
        desk.due();
        let gone = (before_id(), desk.now);
        assert_eq!(desk.schedule.concluded(gone, ok(), &desk.pace, 1.0), None);
    }

    #[test]
    fn without_a_pace_nobody_is_probed_and_listings_are_still_read() {
        let mut desk = Desk::new(1.0);
        desk.pace = Pace::new(Duration::ZERO, Duration::from_secs(60));
        assert_eq!(desk.due(), [0; 0]);
        desk.now += time::Duration::seconds(60);
        let due = desk.schedule.due(desk.now, &desk.servers, &desk.pace, || 1.0);
        assert!(due.iter().all(|due| due.read && !due.probe) && due.len() == 2, "{due:?}");
        // The one in this process is read as well, and never probed.
        let mut desk = Desk::new(1.0);
        let inside = Endpoint::InProcess;
        desk.servers[0] = Arc::new(Server { endpoint: inside, ..Server::clone(&desk.servers[0]) });
        assert_eq!(desk.due(), [2]);
        desk.now += time::Duration::seconds(3_600);
        let due = desk.schedule.due(desk.now, &desk.servers, &desk.pace, || 1.0);
        assert!(due.iter().all(|due| due.read) && due.len() == 2, "{due:?}");
    }
}
