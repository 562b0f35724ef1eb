//! Who has read from labelled servers, and when: what the flow rule asks for. Written before a call leaves, read when a
//! call is decided, on any replica.

use gateway_core::Timestamp;
use gateway_core::ids::{ServerId, UserId};
use gateway_core::label::Label;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;
use crate::server::label_names;

/// A labelled server from which somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowMark {
    /// The server, which may be gone.
    pub server: ServerId,
    /// How it was labelled when it was read.
    pub label: Label,
    /// When it was last read.
    pub at: Timestamp,
}

/// Whose marks are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowReaders {
    /// What these principals read themselves, or had others read on their behalf.
    pub principals: Vec<UserId>,
    /// What this agent read on anybody's behalf.
    pub agent: Option<UserId>,
}

impl Store {
    /// Notes that `user`, or `agent` on their behalf, reads from a server with those labels. An older instant never
    /// replaces a later one.
    pub async fn mark_flow(
        &self,
        (user, agent): (UserId, Option<UserId>),
        server: ServerId,
        labels: &[Label],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let labels = label_names(labels);
        self.promptly("note what was read for the flow rule", async {
            sqlx::query!(
                "insert into flow_mark (user_id, agent_id, server_id, label, at)
                 select $1, $2, $3, label, $5 from unnest($4::text[]) as label
                 on conflict (user_id, agent_id, server_id, label) do update
                    set at = greatest(flow_mark.at, excluded.at)",
                user.0,
                agent.map_or(Uuid::nil(), |agent| agent.0),
                server.0,
                &labels,
                at
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// What those readers have read after `since`, the latest first, each server and label once.
    pub async fn flow_marks(
        &self,
        readers: &FlowReaders,
        since: Timestamp,
    ) -> Result<Vec<FlowMark>, StoreError> {
        let principals: Vec<Uuid> = readers.principals.iter().map(|id| id.0).collect();
        self.promptly("ask what was read for the flow rule", async {
            let rows = sqlx::query!(
                r#"select server_id, label, max(at) as "at!" from flow_mark
                    where (user_id = any($1) or agent_id = $2) and at > $3
                    group by server_id, label order by max(at) desc, server_id, label"#,
                &principals,
                readers.agent.map(|agent| agent.0),
                since
            )
            .fetch_all(self.pool())
            .await?;
            let mark = |label: &str, server, at| {
                let label = Label::parse(label);
                let unknown = || StoreError::Corrupt("flow_mark.label".into());
                Ok(FlowMark { server: ServerId(server), label: label.ok_or_else(unknown)?, at })
            };
            rows.into_iter().map(|row| mark(&row.label, row.server_id, row.at)).collect()
        })
        .await
    }

    /// Forgets what was read until then.
    pub async fn forget_flow_marks(&self, until: Timestamp) -> Result<u64, StoreError> {
        self.within("forget what was read", async {
            let gone = sqlx::query!("delete from flow_mark where at <= $1", until)
                .execute(self.pool())
                .await?;
            Ok(gone.rows_affected())
        })
        .await
    }
}
