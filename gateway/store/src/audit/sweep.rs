//! The sweeper: closes intents whose event never came, because the gateway that made them died or gave
//! them up. Each replica closes its own; those of a dead one are closed by whoever comes first, and only
//! once, because the table takes one event for an intent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Outcome};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::chain::ChainKey;
use super::flood::derived_id;
use super::row::{Entry, EventRow, IntentRow, SubjectRow, to_micros};
use super::shared::{Item, Queued, Shared};
use crate::StoreError;

/// Rows that land late (a commit that hung) are still found: each sweep looks this far back again.
const OVERLAP: Duration = Duration::from_secs(60);
/// The first sweep looks further back than any call runs.
const MARGIN: Duration = Duration::from_secs(3600);
/// Intents that are looked at together.
const CHUNK: usize = 1000;

/// See the head of this file.
pub(super) struct Sweeper {
    shared: Arc<Shared>,
    until: Option<Timestamp>,
    /// Intents without an event when last looked at.
    open: HashMap<Uuid, Timestamp>,
}

struct Open {
    row: IntentRow,
    replica: Uuid,
    alive: bool,
}

impl Sweeper {
    pub(super) fn new(shared: Arc<Shared>) -> Sweeper {
        Sweeper { shared, until: None, open: HashMap::new() }
    }

    /// One round. `others`: may close what dead replicas left, too.
    pub(super) async fn sweep(&mut self, others: bool) -> Result<(), StoreError> {
        let now = self.shared.settings.clock.now();
        let until = now - self.shared.settings.sweep_after;
        let from = match self.until {
            Some(before) => before - OVERLAP,
            None => now - self.shared.settings.longest_call - MARGIN,
        };
        let found = sqlx::query!(
            "select id, ts from audit_intent i where ts > $1 and ts <= $2 and not exists (
                select from audit_event e where e.call_id = i.id and e.ts = i.ts and e.concludes)",
            from,
            until,
        )
        .fetch_all(&self.shared.pool)
        .await?;
        self.open.extend(found.into_iter().map(|row| (row.id, row.ts)));
        self.until = Some(until);
        let open: Vec<(Uuid, Timestamp)> = self.open.drain().collect();
        for chunk in open.chunks(CHUNK) {
            let still = self.still_open(chunk).await;
            if still.is_err() {
                // Nothing is forgotten: all of it is looked at again.
                self.open.extend(open.iter().copied());
            }
            self.close(still?, others, now).await;
        }
        Ok(())
    }

    async fn still_open(&self, chunk: &[(Uuid, Timestamp)]) -> Result<Vec<Open>, StoreError> {
        let (ids, times): (Vec<Uuid>, Vec<Timestamp>) = chunk.iter().copied().unzip();
        let rows = sqlx::query!(
            r#"select i.id, i.ts, i.replica, i.request_bytes, i.subject, exists (
                select from audit_replica r where r.replica = i.replica
                    and r.seen_at > now() - make_interval(secs => $3)) as "alive!"
             from unnest($1::uuid[], $2::timestamptz[]) as o (id, ts)
             join audit_intent i on i.id = o.id and i.ts = o.ts
             where not exists (
                select from audit_event e where e.call_id = i.id and e.ts = i.ts and e.concludes)
             order by i.ts, i.id"#,
            &ids,
            &times,
            self.shared.settings.dead_after.as_secs_f64(),
        )
        .fetch_all(&self.shared.pool)
        .await?;
        let open = |row: IntentRow, replica, alive| Open { row, replica, alive };
        Ok(rows
            .into_iter()
            .map(|row| {
                let intent = IntentRow {
                    id: row.id,
                    ts: row.ts,
                    request_bytes: row.request_bytes,
                    subject: row.subject,
                    arguments_digest: None,
                };
                open(intent, row.replica, row.alive)
            })
            .collect())
    }

    async fn close(&mut self, still: Vec<Open>, others: bool, now: Timestamp) {
        let mut answers = Vec::new();
        for Open { row, replica, alive } in still {
            self.open.insert(row.id, row.ts);
            let ours = replica == self.shared.settings.replica;
            let lost = if ours { !self.runs(row.id, now) } else { others && !alive };
            if !lost {
                continue;
            }
            let (waiter, answer) = oneshot::channel();
            let entry = closing(&self.shared.key, &row, now, None);
            let item = Item::Entry(Queued::new(entry, Some(waiter)));
            if !self.shared.events.send(item).await {
                return;
            }
            answers.push((row.id, answer));
        }
        for (id, answer) in answers {
            // Unwritten: the next round finds it again.
            if let Ok(Ok(Ok(()))) =
                tokio::time::timeout(self.shared.settings.deadline, answer).await
            {
                self.open.remove(&id);
            }
        }
    }

    fn runs(&self, call: Uuid, now: Timestamp) -> bool {
        let since = self.shared.running().get(&call).copied();
        since.is_some_and(|since| now - since < self.shared.settings.longest_call)
    }
}

/// The event that closes an intent whose own never came. `not_made`: why the call certainly was not made.
pub(super) fn closing(
    key: &ChainKey,
    intent: &IntentRow,
    now: Timestamp,
    not_made: Option<&str>,
) -> Entry {
    let subject: SubjectRow = serde_json::from_str(&intent.subject).unwrap_or_else(|_| {
        SubjectRow { policy_ids: "[]".into(), findings: "[]".into(), ..SubjectRow::default() }
    });
    let (outcome, reason, detail) = match not_made {
        Some(why) => (Outcome::Denied, Some(Reason::AuditUnavailable), why),
        None => (Outcome::Unknown, None, "the gateway did not learn how it ended"),
    };
    let action = match (outcome, subject.resource_type.as_deref()) {
        (Outcome::Denied, _) => ActionType::RequestRefused,
        (_, Some("tool")) => ActionType::ToolCallFailure,
        (_, Some("resource")) => ActionType::ResourceReadFailure,
        (_, Some("prompt")) => ActionType::PromptGetFailure,
        (_, _) => ActionType::MessageRelayed,
    };
    let row = EventRow {
        id: derived_id(key, "close", now, intent.id),
        ts: intent.ts,
        at: to_micros(now),
        call_id: intent.id,
        concludes: true,
        action: action.as_str().to_owned(),
        outcome: outcome.as_str().to_owned(),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        detail: Some(detail.to_owned()),
        count: 1,
        latency_us: None,
        upstream_us: None,
        request_bytes: Some(intent.request_bytes),
        response_bytes: None,
        arguments_digest: None,
        result_digest: None,
        subject,
    };
    Entry::Event { row: Box::new(row), arguments: None, result: None }
}
