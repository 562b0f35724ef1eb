//! A writer's connection: how it signs in, where its chain stands, and a deadline on everything, so that
//! a Postgres that hangs is noticed. After an error other than of a row's content it is thrown away.

use std::collections::{BTreeSet, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use time::Date;
use tokio::time::timeout;
use uuid::Uuid;

use super::batch::{self, Head, WriteError};
use super::chain::{Link, chain_of_events};
use super::row::{Entry, to_micros};
use super::shared::{Kind, Shared};

/// A commit is acknowledged only when it is on disk, whatever the database's default. A statement or a
/// transaction that hangs is ended by the server too, so that nothing of ours lands much later. Plans hang on no
/// parameter here, and planning takes as long as writing.
const SESSION: &str = "
    set role gateway_app;
    select set_config('synchronous_commit', 'on', false)
        where current_setting('synchronous_commit') in ('off', 'local');
    set statement_timeout = '5s';
    set idle_in_transaction_session_timeout = '5s';
    set timezone = 'UTC';
    set plan_cache_mode = force_generic_plan;
";

/// See the head of this file.
pub(super) struct Session {
    shared: Arc<Shared>,
    connection: PgConnection,
    /// Names the chain.
    replica: Uuid,
    link: Link,
    limit: Duration,
}

impl Session {
    /// Signs in, makes the days around the present, finds the end of the chain.
    pub(super) async fn open(shared: &Arc<Shared>, kind: Kind) -> Result<Session, WriteError> {
        // Shorter than a waiter's patience, so that a second attempt may still serve it.
        let limit = shared.settings.deadline * 3 / 4;
        let options = shared.pool.connect_options();
        let signing_in = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            connection.execute(sqlx::raw_sql(SESSION)).await?;
            Ok(connection)
        };
        let connection = within(limit, signing_in).await?;
        let replica = match kind {
            Kind::Intents => shared.settings.replica,
            Kind::Events => chain_of_events(shared.settings.replica),
        };
        let (shared, link) = (shared.clone(), Link::GENESIS);
        let mut session = Session { shared, connection, replica, link, limit };
        session.prepare().await?;
        Ok(session)
    }

    /// Does it answer?
    pub(super) async fn ping(&mut self) -> Result<(), WriteError> {
        let connection = &mut self.connection;
        within(self.limit, async { Ok(connection.ping().await?) }).await
    }

    /// One transaction with all of the entries but those at the places `known`, or nothing.
    pub(super) async fn write(
        &mut self,
        entries: &[&Entry],
        known: &HashSet<i32>,
    ) -> Result<(), WriteError> {
        let head = Head {
            key: &self.shared.key,
            replica: self.replica,
            link: self.link,
            now: to_micros(self.shared.settings.clock.now()),
        };
        let connection = &mut self.connection;
        self.link = within(self.limit, batch::write(connection, &head, entries, known)).await?;
        Ok(())
    }

    /// Which of the entries are there already.
    pub(super) async fn known(&mut self, entries: &[&Entry]) -> Result<HashSet<i32>, WriteError> {
        within(self.limit, batch::known(&mut self.connection, entries)).await
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
        let replica = self.replica;
        let connection = &mut self.connection;
        let row = sqlx::query!("select batch, mac from audit_chain where replica = $1", replica)
            .fetch_one(connection);
        let row = within(self.limit, async { Ok(row.await?) }).await?;
        let mac = row.mac.try_into().map_err(|_| lost("the end of the chain is not readable"))?;
        self.link = Link { batch: row.batch, mac };
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), WriteError> {
        let replica = self.replica;
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
