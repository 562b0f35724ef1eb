//! What has to be told to somebody outside: written with what it tells about, kept until it was told.
//!
//! A replica that takes a notice up holds it for a while ([`Store::claim_notice`]); should that replica
//! die, another takes it after that. So a notice is told once, or again under the same id if a replica
//! dies between telling and noting it.

use gateway_core::Timestamp;
use gateway_core::ids::NoticeId;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

/// Longest account of a failure that is kept, in characters.
const MAX_ERROR: usize = 500;

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// To the configured address, signed.
    Webhook,
    /// By mail.
    Mail,
}

impl Channel {
    /// The name in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Webhook => "webhook",
            Channel::Mail => "mail",
        }
    }
}

/// A notice to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// What receivers tell repeats by.
    pub id: NoticeId,
    /// Which way.
    pub channel: Channel,
    /// Of mail: the address.
    pub recipient: String,
    /// What it tells, for instance `access_request.created`.
    pub kind: &'static str,
    /// JSON text.
    pub body: String,
    /// When.
    pub created_at: Timestamp,
}

/// A notice that this replica holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What receivers tell repeats by.
    pub id: NoticeId,
    /// Of mail: the address.
    pub recipient: String,
    /// What it tells.
    pub kind: String,
    /// JSON text.
    pub body: String,
    /// How often it was tried, this time included.
    pub attempts: i32,
}

impl Store {
    /// Keeps notices that go with nothing else.
    pub async fn add_notices(&self, notices: &[NewNotice]) -> Result<(), StoreError> {
        self.within("keep notices", async {
            let mut transaction = self.pool().begin().await?;
            add(&mut transaction, notices).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Takes up the notice of that channel that has been due longest, until `until`; one that no other
    /// replica holds.
    pub async fn claim_notice(
        &self,
        channel: Channel,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Notice>, StoreError> {
        self.within("take up a notice", async {
            let row = sqlx::query!(
                "update notice set attempts = attempts + 1, due_at = $2 where id =
                     (select id from notice
                       where status = 'waiting' and due_at <= $1 and channel = $3
                       order by due_at, id limit 1 for update skip locked)
                 returning id, recipient, kind, body, attempts",
                now,
                until,
                channel.as_str()
            )
            .fetch_optional(self.pool())
            .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(Notice {
                id: NoticeId(row.id),
                recipient: row.recipient,
                kind: row.kind,
                body: row.body,
                attempts: row.attempts,
            }))
        })
        .await
    }

    /// It was told.
    pub async fn notice_sent(&self, id: NoticeId, now: Timestamp) -> Result<(), StoreError> {
        self.within("note a notice as told", async {
            sqlx::query!(
                "update notice set status = 'sent', settled_at = $2, error = null where id = $1",
                id.0,
                now
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// It was not told: again at `again`, or never.
    pub async fn notice_failed(
        &self,
        id: NoticeId,
        error: &str,
        now: Timestamp,
        again: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.within("note a notice as not told", async {
            let error: String = error.chars().filter(|c| *c != '\0').take(MAX_ERROR).collect();
            sqlx::query!(
                "update notice
                    set error = $2, due_at = coalesce($3, due_at),
                        status = case when $3::timestamptz is null then 'dead' else 'waiting' end,
                        settled_at = case when $3::timestamptz is null then $4::timestamptz end
                  where id = $1 and status = 'waiting'",
                id.0,
                error,
                again,
                now
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Forgets notices that were told, or given up, before `before`, and those that nobody took up long
    /// before that: their channel is configured no more.
    pub async fn sweep_notices(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.within("forget notices", async {
            let gone = sqlx::query!(
                "delete from notice where id in
                     (select id from notice
                       where status <> 'waiting' and settled_at <= $1
                          or status = 'waiting' and created_at <= $1 - interval '30 days'
                       limit 1000)",
                before
            )
            .execute(self.pool())
            .await?;
            Ok(gone.rows_affected())
        })
        .await
    }
}

pub(crate) async fn add(
    connection: &mut PgConnection,
    notices: &[NewNotice],
) -> Result<(), StoreError> {
    for notice in notices {
        sqlx::query!(
            "insert into notice (id, channel, recipient, kind, body, created_at, due_at)
             values ($1, $2, $3, $4, $5, $6, $6)",
            notice.id.0,
            notice.channel.as_str(),
            notice.recipient,
            notice.kind,
            notice.body,
            notice.created_at
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
