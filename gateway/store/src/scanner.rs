//! Settings of the scanners as they were written, of the organisation and of single servers: JSON text whose meaning
//! is governance's business, with every version that there ever was (the database's own work, a trigger).
//! [`crate::desired_state`] writes them, too.

use gateway_core::Timestamp;
use gateway_core::ids::{ServerId, UserId};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::policy::act_as;
use crate::pool::Store;

/// Settings as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredScanners {
    /// Whose; `None`: the organisation's.
    pub server: Option<ServerId>,
    /// The settings, JSON text.
    pub settings_json: String,
    /// Counts what was written of them, removals too.
    pub version: i32,
    /// `apply` or `api`. Only what `apply` made is removed by its pruning.
    pub source: String,
    /// Who made this version; `None`: `apply`.
    pub changed_by: Option<UserId>,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// One change of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannersChange {
    /// Counts all changes of all settings.
    pub change: i64,
    /// Whose; `None`: the organisation's. The server may be gone.
    pub server: Option<ServerId>,
    /// What it was called last.
    pub server_slug: Option<String>,
    /// The version that came of it.
    pub version: i32,
    /// As they were, JSON text; `None`: there were none.
    pub before: Option<String>,
    /// As they are since, JSON text; `None`: they were removed.
    pub after: Option<String>,
    /// `apply` or `api`.
    pub source: String,
    /// Who did it; `None`: `apply`.
    pub actor: Option<UserId>,
    /// When.
    pub at: Timestamp,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScannersWrite {
    /// Done.
    Written,
    /// They are not at the version that was expected; nothing was written.
    Changed,
    /// There is no such server; nothing was written.
    ServerAbsent,
}

impl Store {
    /// Writes settings, or removes them (`None`), if they are still at version `expected` (`None`: not there). Those
    /// of the organisation, or of a server.
    pub async fn write_scanners(
        &self,
        server: Option<ServerId>,
        settings_json: Option<&str>,
        expected: Option<i32>,
        actor: Option<UserId>,
    ) -> Result<ScannersWrite, StoreError> {
        self.within("write settings of the scanners", async {
            let mut transaction = self.change().await?;
            act_as(&mut transaction, actor).await?;
            let known = sqlx::query_scalar!(
                r#"select exists (select 1 from server where id = $1) as "known!""#,
                server.map(|id| id.0)
            );
            if server.is_some() && !known.fetch_one(&mut *transaction).await? {
                return Ok(ScannersWrite::ServerAbsent);
            }
            let there = sqlx::query_scalar!(
                "select version from scanner_settings where server_id is not distinct from $1",
                server.map(|id| id.0)
            );
            if there.fetch_optional(&mut *transaction).await? != expected {
                return Ok(ScannersWrite::Changed);
            }
            match settings_json {
                Some(json) => put(&mut transaction, server, json, "api").await?,
                None => remove(&mut transaction, server).await?,
            }
            transaction.commit().await?;
            Ok(ScannersWrite::Written)
        })
        .await
    }

    /// At most `limit` changes older than `before`, of a server's settings or of all, newest first.
    pub async fn scanner_changes(
        &self,
        of: Option<ServerId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ScannersChange>, StoreError> {
        self.within("list changes of the scanners' settings", async {
            let rows = sqlx::query!(
                "select change, server_id, server_slug, version, before, after, source, actor_id, at
                   from scanner_settings_version
                  where ($1::uuid is null or server_id = $1) and ($2::bigint is null or change < $2)
                  order by change desc limit $3",
                of.map(|id| id.0),
                before,
                i64::from(limit)
            )
            .fetch_all(self.pool())
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| ScannersChange {
                    change: row.change,
                    server: row.server_id.map(ServerId),
                    server_slug: row.server_slug,
                    version: row.version,
                    before: row.before,
                    after: row.after,
                    source: row.source,
                    actor: row.actor_id.map(UserId),
                    at: row.at,
                })
                .collect())
        })
        .await
    }
}

/// Writes settings, there or not.
pub(crate) async fn put(
    connection: &mut PgConnection,
    server: Option<ServerId>,
    settings_json: &str,
    source: &str,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "update scanner_settings set spec = $2, source = $3, updated_at = now()
          where server_id is not distinct from $1",
        server.map(|id| id.0),
        settings_json,
        source
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        sqlx::query!(
            "insert into scanner_settings (server_id, spec, source) values ($1, $2, $3)",
            server.map(|id| id.0),
            settings_json,
            source
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Removes settings.
pub(crate) async fn remove(
    connection: &mut PgConnection,
    server: Option<ServerId>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from scanner_settings where server_id is not distinct from $1",
        server.map(|id| id.0)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The organisation's, then those of servers.
pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<StoredScanners>, StoreError> {
    let rows = sqlx::query!(
        "select server_id, spec, version, source, changed_by, updated_at
           from scanner_settings order by server_id nulls first"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredScanners {
            server: row.server_id.map(ServerId),
            settings_json: row.spec,
            version: row.version,
            source: row.source,
            changed_by: row.changed_by.map(UserId),
            updated_at: row.updated_at,
        })
        .collect())
}
