//! The writer's connection: how it signs in, where its chain stands, and a deadline on everything, so that
//! a Postgres that hangs is noticed. After an error other than of a row's content it is thrown away.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use time::Date;
use tokio::time::timeout;

use super::batch::{self, Head, WriteError};
use super::chain::Link;
use super::row::{Entry, to_micros};
use super::shared::Shared;

/// A commit is acknowledged only when it is on disk, whatever the database's default. A statement or a
/// transaction that hangs is ended by the server too, so that nothing of ours lands much later.
const SESSION: &str = "
    set role gateway_app;
    select set_config('synchronous_commit', 'on', false)
        where current_setting('synchronous_commit') in ('off', 'local');
    set statement_timeout = '5s';
    set idle_in_transaction_session_timeout = '5s';
    set timezone = 'UTC';
";

/// See the head of this file.
pub(super) struct Session {
    shared: Arc<Shared>,
    connection: PgConnection,
    link: Link,
    limit: Duration,
}

impl Session {
    /// Signs in, makes the days around the present, finds the end of the chain.
    pub(super) async fn open(shared: &Arc<Shared>) -> Result<Session, WriteError> {
        // Shorter than a waiter's patience, so that a second attempt may still serve it.
        let limit = shared.settings.deadline * 3 / 4;
        let options = shared.pool.connect_options();
        let signing_in = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            connection.execute(sqlx::raw_sql(SESSION)).await?;
            Ok(connection)
        };
        let connection = within(limit, signing_in).await?;
        let mut session =
            Session { shared: shared.clone(), connection, link: Link::GENESIS, limit };
        session.prepare().await?;
        Ok(session)
    }

    /// Does it answer?
    pub(super) async fn ping(&mut self) -> Result<(), WriteError> {
        let connection = &mut self.connection;
        within(self.limit, async { Ok(connection.ping().await?) }).await
    }

    /// One transaction with all of the entries, or nothing.
    pub(super) async fn write(&mut self, entries: &[&Entry]) -> Result<(), WriteError> {
        let head = Head {
            key: &self.shared.key,
            replica: self.shared.settings.replica,
            link: self.link,
            now: to_micros(self.shared.settings.clock.now()),
        };
        let connection = &mut self.connection;
        self.link = within(self.limit, batch::write(connection, &head, entries)).await?;
        Ok(())
    }

    /// Days beyond those that upkeep made ahead: an old spool, a clock that is off.
    pub(super) async fn make_days(&mut self, entries: &[&Entry]) -> Result<(), WriteError> {
        let mut days: BTreeSet<Date> = entries.iter().map(|entry| entry.ts().date()).collect();
        days.insert(self.shared.settings.clock.now().date());
        let connection = &mut self.connection;
        for day in days {
            let made =
                sqlx::query!("select audit_make_days($1, 1)", day).fetch_one(&mut *connection);
            within(self.limit, async { Ok(made.await?) }).await?;
        }
        Ok(())
    }

    /// Finds the end of the chain.
    pub(super) async fn read_link(&mut self) -> Result<(), WriteError> {
        let replica = self.shared.settings.replica;
        let connection = &mut self.connection;
        let row = sqlx::query!("select batch, mac from audit_chain where replica = $1", replica)
            .fetch_one(connection);
        let row = within(self.limit, async { Ok(row.await?) }).await?;
        let mac = row.mac.try_into().map_err(|_| lost("the end of the chain is not readable"))?;
        self.link = Link { batch: row.batch, mac };
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), WriteError> {
        let replica = self.shared.settings.replica;
        let seal = self.shared.key.seal(replica, Link::GENESIS);
        let connection = &mut self.connection;
        within(self.limit, async {
            sqlx::query!("select audit_make_days((now() at time zone 'UTC')::date - 1, 4)")
                .fetch_one(&mut *connection)
                .await?;
            sqlx::query!(
                "insert into audit_chain (replica, batch, mac, seal) values ($1, 0, $2, $3)
                 on conflict do nothing",
                replica,
                &Link::GENESIS.mac[..],
                &seal[..],
            )
            .execute(&mut *connection)
            .await?;
            Ok(())
        })
        .await?;
        self.read_link().await
    }

    /// Puts the row aside where it can be looked at.
    pub(super) async fn quarantine(
        &mut self,
        entry: &Entry,
        error: &sqlx::Error,
    ) -> Result<(), WriteError> {
        let code = error.as_database_error().and_then(|refusal| refusal.code());
        let kind = match entry {
            Entry::Intent { .. } => "intent",
            Entry::Event { .. } => "event",
        };
        let body = serde_json::to_vec(entry).unwrap_or_default();
        let connection = &mut self.connection;
        let put = sqlx::query!(
            "insert into audit_quarantine (id, kind, at, sqlstate, body) values ($1, $2, $3, $4, $5)
             on conflict do nothing",
            entry.id(),
            kind,
            self.shared.settings.clock.now(),
            code.as_deref().unwrap_or_default(),
            body,
        )
        .execute(connection);
        within(self.limit, async { Ok(put.await?) }).await.map(drop)
    }
}

pub(super) fn lost(why: &str) -> WriteError {
    WriteError::Lost(sqlx::Error::Protocol(why.into()))
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, WriteError>>,
) -> Result<T, WriteError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(lost("no answer from Postgres in time")))
}
