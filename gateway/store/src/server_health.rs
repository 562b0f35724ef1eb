//! How servers were when the gateway last looked, and which replica looks.
//!
//! Nothing here belongs to the catalogue: its version stays, whatever is measured. What was measured of a
//! server that stops being active is forgotten ([`forget_unwatched`]).

use gateway_core::ids::ServerId;
use gateway_core::server::{Health, HealthStatus};
use sqlx::{Connection, PgConnection};

use crate::error::StoreError;
use crate::pool::Store;

/// The advisory lock of the replica that looks after servers.
const WATCHING: i64 = 0x6761_7465_7761_7902;

/// This replica looks after servers, as long as its connection lives.
#[derive(Debug)]
pub struct Watch {
    connection: PgConnection,
}

impl Store {
    /// Takes over looking after servers, unless another replica does. The connection is one of its own
    /// beside the pool's; the duty ends with it, also when the process dies. Where the duty is taken, the
    /// pool's connections are enough to see it.
    pub async fn watch_servers(&self) -> Result<Option<Watch>, StoreError> {
        self.promptly("take over looking after servers", async {
            let taken = sqlx::query_scalar!(
                r#"select exists (
                       select from pg_locks
                        where locktype = 'advisory' and granted and objsubid = 1
                          and database = (select oid from pg_database where datname = current_database())
                          and classid::bigint = ($1::bigint >> 32) and objid::bigint = ($1::bigint & 4294967295)
                   ) as "taken!""#,
                WATCHING
            )
            .fetch_one(self.pool())
            .await?;
            if taken {
                return Ok(None);
            }
            let mut connection = self.pool().acquire().await?.detach();
            let mine =
                sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "mine!""#, WATCHING)
                    .fetch_one(&mut connection)
                    .await?;
            if mine {
                return Ok(Some(Watch { connection }));
            }
            connection.close().await?;
            Ok(None)
        })
        .await
    }

    /// How every active server was that was ever looked at since it is active.
    pub async fn server_health(&self) -> Result<Vec<(ServerId, Health)>, StoreError> {
        self.promptly("read servers' health", async {
            let rows = sqlx::query!(
                "select h.server_id, h.status, h.since, h.checked_at, h.last_ok, h.reason, h.detail,
                        h.latency_us, h.failures
                   from server_health h join server s on s.id = h.server_id and s.status = 'active'"
            )
            .fetch_all(self.pool())
            .await?;
            let read = rows.into_iter().map(|row| {
                let health = Health {
                    status: if row.status == "ok" {
                        HealthStatus::Ok
                    } else {
                        HealthStatus::Failing
                    },
                    since: row.since,
                    checked_at: row.checked_at,
                    last_ok: row.last_ok,
                    reason: row.reason,
                    detail: row.detail,
                    latency_us: row.latency_us,
                    failures: u32::try_from(row.failures).unwrap_or(0),
                };
                (ServerId(row.server_id), health)
            });
            Ok(read.collect())
        })
        .await
    }

    /// Keeps how a server was; nothing, if it is gone or not active: nobody looks at those.
    pub async fn set_server_health(
        &self,
        server: ServerId,
        health: &Health,
    ) -> Result<(), StoreError> {
        self.within("keep a server's health", async {
            sqlx::query!(
                "insert into server_health
                     (server_id, status, since, checked_at, last_ok, reason, detail, latency_us, failures)
                 select id, $2, $3, $4, $5, $6, $7, $8, $9 from server where id = $1 and status = 'active'
                 on conflict (server_id) do update
                    set status = excluded.status, since = excluded.since,
                        checked_at = excluded.checked_at, last_ok = excluded.last_ok,
                        reason = excluded.reason, detail = excluded.detail,
                        latency_us = excluded.latency_us, failures = excluded.failures",
                server.0,
                health.status.as_str(),
                health.since,
                health.checked_at,
                health.last_ok,
                health.reason,
                health.detail,
                health.latency_us,
                i32::try_from(health.failures).unwrap_or(i32::MAX)
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }
}

/// Forgets how servers were that nobody looks at any more. In the transaction that changes servers.
pub(crate) async fn forget_unwatched(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from server_health h using server s where s.id = h.server_id and s.status <> 'active'"
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Watch {
    /// Whether the duty is still this replica's.
    pub async fn holds(&mut self) -> bool {
        let ping = tokio::time::timeout(std::time::Duration::from_secs(2), self.connection.ping());
        matches!(ping.await, Ok(Ok(())))
    }

    /// Leaves it to another replica.
    pub async fn leave(self) {
        // A connection that is broken has left already.
        let _ = self.connection.close().await;
    }
}
