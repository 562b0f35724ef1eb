//! Rows as they are written, chained, spooled and read back: plain, owned, cleaned of what Postgres text
//! cannot hold. The JSON text of a row is what the hash chain covers; absent members are left out, so
//! that a column added later leaves older rows' hashes as they are.

use gateway_core::Timestamp;
use gateway_core::record::{Event, Intent, Subject};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::{Uuid, Version};

use super::payload::Packed;

/// Longest text in one column; more of a name or URI than this serves nobody.
const TEXT_LIMIT: usize = 4096;

/// The shared part of intents and events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SubjectRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor_kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_slug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) era: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_name: Option<String>,
    /// JSON array of text.
    pub(super) policy_ids: String,
    /// JSON array of findings.
    pub(super) findings: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirmation_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
}

impl SubjectRow {
    pub(super) fn of(subject: &Subject) -> SubjectRow {
        SubjectRow {
            actor_id: subject.actor_id.map(|id| id.0),
            actor_email: clean(subject.actor_email.as_deref()),
            actor_kind: clean(subject.actor_kind),
            agent_id: subject.agent_id.map(|id| id.0),
            agent_name: clean(subject.agent_name.as_deref()),
            auth_method: clean(subject.auth_method),
            credential: clean(subject.credential.as_deref()),
            client_name: clean(subject.client_name.as_deref()),
            client_version: clean(subject.client_version.as_deref()),
            client_ip: clean(subject.client_ip.as_deref()),
            session: clean(subject.session.as_deref()),
            request_id: clean(subject.request_id.as_deref()),
            server_id: subject.server_id.map(|id| id.0),
            server_slug: clean(subject.server_slug.as_deref()),
            method: clean(subject.method.as_deref()),
            era: clean(subject.era),
            resource_type: clean(subject.resource_type),
            resource_name: clean(subject.resource_name.as_deref()),
            policy_ids: array(&subject.policy_ids),
            findings: array(&subject.findings),
            confirmation_id: subject.confirmation_id.map(|id| id.0),
            trace_id: clean(subject.trace_id.as_deref()),
        }
    }
}

/// A row of `audit_intent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IntentRow {
    pub(super) id: Uuid,
    #[serde(with = "micros")]
    pub(super) ts: Timestamp,
    pub(super) request_bytes: i64,
    /// [`SubjectRow`] as JSON text.
    pub(super) subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments_digest: Option<Vec<u8>>,
}

/// A row of `audit_event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventRow {
    pub(super) id: Uuid,
    #[serde(with = "micros")]
    pub(super) ts: Timestamp,
    #[serde(with = "micros")]
    pub(super) at: Timestamp,
    pub(super) call_id: Uuid,
    pub(super) concludes: bool,
    pub(super) action: String,
    pub(super) outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    pub(super) count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_us: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream_us: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments_digest: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result_digest: Option<Vec<u8>>,
    pub(super) subject: SubjectRow,
}

/// An intent or an event with what belongs to it: the unit that is queued, spooled and written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    Intent { row: IntentRow, arguments: Option<Packed> },
    Event { row: Box<EventRow>, arguments: Option<Packed>, result: Option<Packed> },
}

impl IntentRow {
    /// `None` when the call's id is not a UUIDv7: its day and its uniqueness hang on that.
    pub(super) fn of(intent: &Intent) -> Option<IntentRow> {
        let subject = SubjectRow::of(&intent.subject);
        Some(IntentRow {
            id: intent.id.0,
            ts: instant_of(intent.id.0)?,
            request_bytes: signed(intent.request_bytes),
            subject: serde_json::to_string(&subject).unwrap_or_default(),
            arguments_digest: None,
        })
    }
}

impl EventRow {
    pub(super) fn of(event: &Event) -> EventRow {
        let id = if event.concludes_intent { event.call.0 } else { event.id.0 };
        EventRow {
            id: event.id.0,
            ts: instant_of(id).unwrap_or_else(|| to_micros(event.at)),
            at: to_micros(event.at),
            call_id: event.call.0,
            concludes: event.concludes_intent,
            action: event.action.as_str().to_owned(),
            outcome: event.outcome.as_str().to_owned(),
            reason: event.reason.map(|reason| reason.as_str().to_owned()),
            detail: clean(event.detail.as_deref()),
            count: i64::from(event.count),
            latency_us: event.latency_us.map(signed),
            upstream_us: event.upstream_us.map(signed),
            request_bytes: event.request_bytes.map(signed),
            response_bytes: event.response_bytes.map(signed),
            arguments_digest: None,
            result_digest: None,
            subject: SubjectRow::of(&event.subject),
        }
    }

    /// What certainly can be written, for a row that Postgres refused: ids, outcome and figures.
    pub(super) fn bare(&self) -> EventRow {
        let subject = SubjectRow {
            actor_id: self.subject.actor_id,
            agent_id: self.subject.agent_id,
            server_id: self.subject.server_id,
            policy_ids: "[]".into(),
            findings: "[]".into(),
            confirmation_id: self.subject.confirmation_id,
            ..SubjectRow::default()
        };
        let detail = Some("the full row is in audit_quarantine".to_owned());
        EventRow { detail, arguments_digest: None, result_digest: None, subject, ..self.clone() }
    }
}

impl Entry {
    pub(super) fn id(&self) -> Uuid {
        match self {
            Entry::Intent { row, .. } => row.id,
            Entry::Event { row, .. } => row.id,
        }
    }

    pub(super) fn ts(&self) -> Timestamp {
        match self {
            Entry::Intent { row, .. } => row.ts,
            Entry::Event { row, .. } => row.ts,
        }
    }

    /// The call whose end it is.
    pub(super) fn concluded(&self) -> Option<Uuid> {
        match self {
            Entry::Event { row, .. } => row.concludes.then_some(row.call_id),
            Entry::Intent { .. } => None,
        }
    }

    /// The record matters more than what was said.
    pub(super) fn leave_out_bodies(&mut self) {
        match self {
            Entry::Intent { row, arguments } => {
                (row.arguments_digest, *arguments) = (None, None);
            }
            Entry::Event { row, arguments, result } => {
                if arguments.is_some() || result.is_some() {
                    let detail = row.detail.get_or_insert_default();
                    detail.push_str(" [bodies left out: too much was waiting to be written]");
                }
                (row.arguments_digest, *arguments) = (None, None);
                (row.result_digest, *result) = (None, None);
            }
        }
    }

    /// Roughly the bytes that it takes in memory and on the wire.
    pub(super) fn weight(&self) -> usize {
        let packed = |payload: &Option<Packed>| payload.as_ref().map_or(0, |p| p.body.len());
        512 + match self {
            Entry::Intent { row, arguments } => row.subject.len() + packed(arguments),
            Entry::Event { arguments, result, .. } => packed(arguments) + packed(result),
        }
    }
}

/// The instant inside a UUIDv7.
pub(super) fn instant_of(id: Uuid) -> Option<Timestamp> {
    if id.get_version() != Some(Version::SortRand) {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().map(to_micros)
}

/// What timestamptz holds.
pub(super) fn to_micros(at: Timestamp) -> Timestamp {
    let nanos = at.unix_timestamp_nanos();
    OffsetDateTime::from_unix_timestamp_nanos(nanos - nanos.rem_euclid(1000)).unwrap_or(at)
}

fn signed(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn array<T: Serialize>(items: &[T]) -> String {
    serde_json::to_string(items).unwrap_or_else(|_| "[]".into())
}

/// Without NUL, which Postgres text refuses, and cut at [`TEXT_LIMIT`].
fn clean(text: Option<&str>) -> Option<String> {
    let text = text?;
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = &text[..end];
    let mut cleaned = if kept.contains('\0') { kept.replace('\0', "") } else { kept.to_owned() };
    if end < text.len() {
        cleaned.push('…');
    }
    Some(cleaned)
}

/// Timestamps as microseconds since 1970.
mod micros {
    use gateway_core::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let micros = i64::deserialize(from)?;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_loses_nul_and_its_tail_but_never_half_a_character() {
        assert_eq!(clean(Some("a\0b")).as_deref(), Some("ab"));
        assert_eq!(clean(None), None);
        let long = "é".repeat(TEXT_LIMIT);
        let cut = clean(Some(&long)).unwrap();
        assert!(cut.ends_with('…') && cut.len() <= TEXT_LIMIT + 3);
        let odd = format!("x{long}");
        assert!(clean(Some(&odd)).unwrap().starts_with("xé"));
    }

    /// What was chained before there were agents reads as it did.
    #[test]
    fn a_row_without_an_agent_is_chained_as_ever() {
        let subject = Subject { actor_email: Some("bob@example.com".into()), ..Subject::default() };
        let text = serde_json::to_string(&SubjectRow::of(&subject)).unwrap();
        assert_eq!(text, r#"{"actor_email":"bob@example.com","policy_ids":"[]","findings":"[]"}"#);
        assert_eq!(serde_json::from_str::<SubjectRow>(&text).unwrap(), SubjectRow::of(&subject));
    }

    #[test]
    fn the_instant_comes_from_the_id() {
        let id = Uuid::parse_str("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").unwrap();
        assert_eq!(instant_of(id).unwrap().unix_timestamp_nanos(), 1_645_557_742_000_000_000);
        assert_eq!(instant_of(Uuid::nil()), None);
        assert_eq!(instant_of(Uuid::from_u128(0x1234_5678_9012_4345_8abc_0000_0000_0000)), None);
    }
}
