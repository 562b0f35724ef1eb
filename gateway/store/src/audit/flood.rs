//! The flood gate: of many alike events in ten seconds the first few pass, the rest becomes one row that
//! counts them. Bounded whatever comes: sources beyond a number share one row for each reason.

use std::collections::HashMap;
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::ids::EventId;
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Subject};
use uuid::Uuid;

use super::chain::ChainKey;

/// How long events are counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// How many of a kind pass on their own in each window.
const PASS: u32 = 5;
/// How many sources are told apart in each window.
const SOURCES: usize = 64;

/// What makes events alike. Without a source: everything beyond [`SOURCES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    action: ActionType,
    reason: Option<Reason>,
    source: Option<String>,
}

struct Held {
    passed: u32,
    count: u32,
    last: Option<Event>,
}

/// See the head of this file.
pub(super) struct FloodGate {
    key: ChainKey,
    opened: Option<Timestamp>,
    held: HashMap<Key, Held>,
}

impl FloodGate {
    pub(super) fn new(key: ChainKey) -> FloodGate {
        FloodGate { key, opened: None, held: HashMap::new() }
    }

    /// Gives back what is to be recorded now: the event itself, and the sums of a window that is over.
    pub(super) fn admit(&mut self, source: &str, event: Event) -> Vec<Event> {
        let mut out = self.due(event.at);
        self.opened.get_or_insert(event.at);
        let mut key =
            Key { action: event.action, reason: event.reason, source: Some(source.to_owned()) };
        if !self.held.contains_key(&key) && self.held.len() >= SOURCES {
            key.source = None;
        }
        let held = self.held.entry(key).or_insert(Held { passed: 0, count: 0, last: None });
        if held.passed < PASS {
            held.passed += 1;
            out.push(event);
        } else {
            held.count = held.count.saturating_add(event.count);
            held.last = Some(event);
        }
        out
    }

    /// The sums, if the window is over at `now`.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Event> {
        match self.opened {
            Some(opened) if now - opened >= WINDOW => self.drain(),
            _ => Vec::new(),
        }
    }

    /// The sums now; a new window begins with the next event.
    pub(super) fn drain(&mut self) -> Vec<Event> {
        self.opened = None;
        let held = std::mem::take(&mut self.held);
        held.into_iter()
            .filter_map(|(key, held)| Some(self.sum(&key, held.count, held.last?)))
            .collect()
    }

    /// Stands for `count` events: the last of them with a new id, without what only it carried.
    fn sum(&self, key: &Key, count: u32, last: Event) -> Event {
        let id = derived_id(&self.key, "flood", last.at, last.id.0);
        let mut subject = last.subject;
        let detail = match &key.source {
            Some(_) => {
                format!("{count} alike, aggregated; the last: {}", last.detail.unwrap_or_default())
            }
            None => {
                // Nobody's in particular.
                let last = std::mem::take(std::sync::Arc::make_mut(&mut subject));
                subject =
                    Subject { method: last.method, era: last.era, ..Subject::default() }.into();
                format!("{count} alike from many sources, aggregated")
            }
        };
        Event {
            id: EventId(id),
            count,
            detail: Some(detail),
            arguments: None,
            result: None,
            subject,
            ..last
        }
    }
}

/// A UUIDv7 made from another id: the same for the same input, so that it is not written twice.
pub(super) fn derived_id(key: &ChainKey, purpose: &str, at: Timestamp, from: Uuid) -> Uuid {
    let millis = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let tag = key.tag(&[purpose.as_bytes(), b"/", from.as_bytes()]);
    let mut random = [0; 10];
    random.copy_from_slice(&tag[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::ids::CallId;
    use gateway_core::record::Outcome;
    use std::sync::Arc;

    fn refused(second: i64, n: u64) -> Event {
        let at = time::OffsetDateTime::from_unix_timestamp(1_700_000_000 + second).unwrap();
        let random = (u128::from(n) + 1).to_be_bytes()[6..].try_into().unwrap();
        let id = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000, &random).into_uuid();
        Event {
            id: EventId(id),
            at,
            call: CallId(id),
            concludes_intent: false,
            subject: Arc::new(Subject {
                actor_email: Some("alice@example.com".into()),
                client_ip: Some("10.0.0.1".into()),
                ..Subject::default()
            }),
            action: ActionType::AuthFailed,
            outcome: Outcome::Denied,
            reason: Some(Reason::CredentialInvalid),
            detail: None,
            latency_us: None,
            upstream_us: None,
            request_bytes: None,
            response_bytes: None,
            arguments: None,
            result: None,
            count: 1,
        }
    }

    fn gate() -> FloodGate {
        FloodGate::new(ChainKey::new(&[7; 32]))
    }

    #[test]
    fn a_flood_becomes_a_few_rows_that_count_all_of_it() {
        let mut gate = gate();
        let mut rows = Vec::new();
        for n in 0..100_000 {
            rows.extend(gate.admit("10.0.0.1", refused((n / 5000) as i64, n)));
        }
        rows.extend(gate.drain());
        // 20 seconds are two windows.
        assert_eq!(rows.len(), 2 * (PASS as usize + 1));
        assert_eq!(rows.iter().map(|row| row.count).sum::<u32>(), 100_000);
        let ids: std::collections::HashSet<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids.len(), rows.len());
    }

    #[test]
    fn many_sources_share_one_row() {
        let mut gate = gate();
        let mut rows = Vec::new();
        for n in 0..10_000 {
            rows.extend(gate.admit(&n.to_string(), refused(0, n)));
        }
        rows.extend(gate.drain());
        assert!(rows.len() <= SOURCES + PASS as usize + 1, "{}", rows.len());
        assert_eq!(rows.iter().map(|row| row.count).sum::<u32>(), 10_000);
        let sum = rows.iter().max_by_key(|row| row.count).unwrap();
        assert_eq!((&sum.subject.client_ip, &sum.subject.actor_email), (&None, &None));
    }

    #[test]
    fn few_events_pass_as_they_are() {
        let mut gate = gate();
        for n in 0..u64::from(PASS) {
            assert_eq!(gate.admit("a", refused(0, n)).len(), 1);
        }
        assert!(gate.due(refused(60, 0).at).is_empty());
    }
}
