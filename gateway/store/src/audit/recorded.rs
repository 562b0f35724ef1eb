//! Calls as the trail holds them, to ask about them again: who called what from where, and with which
//! arguments. Bodies are large, so a page of calls comes without them, and they are read apart.

use gateway_core::Timestamp;
use gateway_core::ids::{EventId, ServerId, UserId};
use uuid::Uuid;

use super::payload::{Codec, Packed, Payload};
use super::read::EventCursor;
use crate::{Store, StoreError};

/// A call that was made, or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCall {
    /// Its entry in the trail.
    pub event: EventId,
    /// When it came.
    pub at: Timestamp,
    /// Who called, or for whom an agent did.
    pub actor: UserId,
    /// The e-mail address then, or the agent's client id.
    pub actor_email: Option<String>,
    /// `person` or `agent`.
    pub actor_kind: Option<String>,
    /// The agent that called, for itself or on the actor's behalf.
    pub agent: Option<UserId>,
    /// Its name then.
    pub agent_name: Option<String>,
    /// The MCP client's name.
    pub client_name: Option<String>,
    /// The caller's address.
    pub client_ip: Option<String>,
    /// Where.
    pub server: ServerId,
    /// The server's slug then.
    pub server_slug: Option<String>,
    /// `tool`, `resource` or `prompt`.
    pub kind: String,
    /// The tool's or prompt's name, the resource's URI.
    pub name: String,
    /// Where its arguments lie and how many bytes they are; `None`: they were not kept, or it had none.
    pub arguments: Option<KeptArguments>,
}

/// Arguments that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptArguments {
    ts: Timestamp,
    id: Uuid,
    /// Bytes that were kept.
    pub kept: u64,
    /// False when the rest of them was cut off.
    pub whole: bool,
}

/// A page of calls, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPage {
    /// The calls.
    pub calls: Vec<RecordedCall>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<EventCursor>,
}

impl Store {
    /// At most `limit` tool calls, resource reads, prompt gets and denials of such (by policies, limits,
    /// scanners), of identified callers, from `start` until before `end`, newest first.
    pub async fn recorded_calls(
        &self,
        (start, end): (Timestamp, Timestamp),
        after: Option<EventCursor>,
        limit: usize,
    ) -> Result<RecordedPage, StoreError> {
        let limit = limit.max(1);
        self.within("reading recorded calls", async {
            let mut transaction = self.pool().begin().await?;
            // A plan for exactly this span: one for all of them would read everything.
            sqlx::query!("select set_config('plan_cache_mode', 'force_custom_plan', true)")
                .fetch_one(&mut *transaction)
                .await?;
            let rows = sqlx::query_file_as!(
                CallFields,
                "src/audit/recorded_calls.sql",
                start,
                end,
                after.map(|cursor| cursor.ts),
                after.map(|cursor| cursor.id),
                i64::try_from(limit + 1).unwrap_or(i64::MAX)
            )
            .fetch_all(&mut *transaction)
            .await?;
            transaction.rollback().await?;
            let more = rows.len() > limit;
            let last = rows.iter().take(limit).next_back().filter(|_| more);
            Ok(RecordedPage {
                next: last.map(|row| EventCursor { ts: row.ts, id: row.id }),
                calls: rows.into_iter().take(limit).map(RecordedCall::from).collect(),
            })
        })
        .await
    }

    /// The bytes of these arguments, in the same order; `None` for those that were removed meanwhile.
    pub async fn recorded_arguments(
        &self,
        of: &[KeptArguments],
    ) -> Result<Vec<Option<Payload>>, StoreError> {
        let ts: Vec<Timestamp> = of.iter().map(|kept| kept.ts).collect();
        let ids: Vec<Uuid> = of.iter().map(|kept| kept.id).collect();
        self.within("reading recorded arguments", async {
            let rows = sqlx::query!(
                r#"select wanted.place as "place!", p.codec, p.size, p.kept, p.body
                     from unnest($1::timestamptz[], $2::uuid[]) with ordinality as wanted (ts, id, place)
                     join audit_payload p on p.ts = wanted.ts and p.id = wanted.id and p.kind = 'arguments'"#,
                &ts,
                &ids
            )
            .fetch_all(self.pool())
            .await?;
            let mut read = vec![None; of.len()];
            for row in rows {
                let codec = Codec::parse(&row.codec)
                    .ok_or_else(|| StoreError::Corrupt(format!("payload codec {}", row.codec)))?;
                let packed = Packed { codec, size: row.size, kept: row.kept, body: row.body };
                let place = usize::try_from(row.place - 1).ok().and_then(|at| read.get_mut(at));
                if let Some(place) = place {
                    *place = Some(packed.unpack().map_err(StoreError::Corrupt)?);
                }
            }
            Ok(read)
        })
        .await
    }
}

struct CallFields {
    ts: Timestamp,
    id: Uuid,
    call_id: Uuid,
    concludes: bool,
    actor_id: Uuid,
    actor_email: Option<String>,
    actor_kind: Option<String>,
    agent_id: Option<Uuid>,
    agent_name: Option<String>,
    client_name: Option<String>,
    client_ip: Option<String>,
    server_id: Uuid,
    server_slug: Option<String>,
    resource_type: String,
    resource_name: String,
    size: Option<i64>,
    kept: Option<i64>,
}

impl From<CallFields> for RecordedCall {
    fn from(row: CallFields) -> RecordedCall {
        // Of a call that left, the intent has them, which has the call's id.
        let id = if row.concludes { row.call_id } else { row.id };
        let arguments = row.kept.zip(row.size).map(|(kept, size)| KeptArguments {
            ts: row.ts,
            id,
            kept: u64::try_from(kept).unwrap_or(0),
            whole: kept == size,
        });
        RecordedCall {
            event: EventId(row.id),
            at: row.ts,
            actor: UserId(row.actor_id),
            actor_email: row.actor_email,
            actor_kind: row.actor_kind,
            agent: row.agent_id.map(UserId),
            agent_name: row.agent_name,
            client_name: row.client_name,
            client_ip: row.client_ip,
            server: ServerId(row.server_id),
            server_slug: row.server_slug,
            kind: row.resource_type,
            name: row.resource_name,
            arguments,
        }
    }
}
