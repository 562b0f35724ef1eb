//! Rows read back whole, as they were chained.

use gateway_core::Timestamp;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::chain::Place;
use super::row::{EventRow, IntentRow, SubjectRow};

/// Where the rows of some consecutive batches of a replica lie.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) replica: Uuid,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// The intents of a span, and the places that they claim.
pub(super) async fn intents(
    transaction: &mut Transaction<'static, Postgres>,
    span: Span,
) -> Result<Vec<(Place, IntentRow)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select ts, id, batch, place, request_bytes, subject, arguments_digest from audit_intent
         where ts between $1 and $2 and replica = $3 and batch between $4 and $5",
        span.from,
        span.to,
        span.replica,
        span.first,
        span.last,
    )
    .fetch_all(&mut **transaction)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let place = Place { replica: span.replica, batch: row.batch, place: row.place };
        let intent = IntentRow {
            id: row.id,
            ts: row.ts,
            request_bytes: row.request_bytes,
            subject: row.subject,
            arguments_digest: row.arguments_digest,
        };
        found.push((place, intent));
    }
    Ok(found)
}

/// The events of a span, and the places that they claim.
pub(super) async fn events(
    transaction: &mut Transaction<'static, Postgres>,
    span: Span,
) -> Result<Vec<(Place, EventRow)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select * from audit_event
         where ts between $1 and $2 and replica = $3 and batch between $4 and $5",
        span.from,
        span.to,
        span.replica,
        span.first,
        span.last,
    )
    .fetch_all(&mut **transaction)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let place = Place { replica: span.replica, batch: row.batch, place: row.place };
        let subject = SubjectRow {
            actor_id: row.actor_id,
            actor_email: row.actor_email,
            actor_kind: row.actor_kind,
            agent_id: row.agent_id,
            agent_name: row.agent_name,
            auth_method: row.auth_method,
            credential: row.credential,
            client_name: row.client_name,
            client_version: row.client_version,
            client_ip: row.client_ip,
            session: row.session,
            request_id: row.request_id,
            server_id: row.server_id,
            server_slug: row.server_slug,
            method: row.method,
            era: row.era,
            resource_type: row.resource_type,
            resource_name: row.resource_name,
            policy_ids: row.policy_ids,
            findings: row.findings,
            confirmation_id: row.confirmation_id,
            trace_id: row.trace_id,
        };
        let event = EventRow {
            id: row.id,
            ts: row.ts,
            at: row.at,
            call_id: row.call_id,
            concludes: row.concludes,
            action: row.action,
            outcome: row.outcome,
            reason: row.reason,
            detail: row.detail,
            count: row.count,
            latency_us: row.latency_us,
            upstream_us: row.upstream_us,
            request_bytes: row.request_bytes,
            response_bytes: row.response_bytes,
            arguments_digest: row.arguments_digest,
            result_digest: row.result_digest,
            subject,
        };
        found.push((place, event));
    }
    Ok(found)
}
