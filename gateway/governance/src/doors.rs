//! What fuzz targets (`tests/stays`) and instruction counts (`tests/bench/instructions`) hold on to: parts that are
//! private otherwise. Nothing else uses this.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::caller::{Caller, User};
use gateway_core::seal::Sealer;
use gateway_core::{Clock, Timestamp};
use gateway_store::audit::EventCursor;
use gateway_store::catalogue::Catalogue;
use serde_json::Value;

use crate::identity::{Identity, Presented, Unidentified};
use crate::operations::run::{cursor_context, open_cursor};
use crate::operations::table;
use crate::ports::Fetch;
use crate::settings::GovernanceSettings;
use crate::snapshot::{Snapshot, SnapshotError};

/// A check of credentials whose issuers answer everything with the same key set.
pub struct Tokens {
    identity: Identity,
    snapshot: Snapshot,
}

struct KeySet(String);

#[async_trait]
impl Fetch for KeySet {
    async fn send(
        &self,
        _request: http::Request<Bytes>,
        _limit: usize,
    ) -> Result<http::Response<Bytes>, String> {
        Ok(http::Response::new(Bytes::from(self.0.clone())))
    }
}

struct Always(Timestamp);

impl Clock for Always {
    fn now(&self) -> Timestamp {
        self.0
    }
}

impl Tokens {
    /// Of these people, at one moment; the settings' issuers name their `jwks_url`.
    pub fn new(
        settings: &GovernanceSettings,
        users: Vec<User>,
        key_set: String,
        now: Timestamp,
    ) -> Result<Tokens, SnapshotError> {
        let catalogue = Catalogue { version: 1, users, ..Catalogue::default() };
        let snapshot = Snapshot::build(catalogue, None, now)?;
        let identity = Identity::new(settings, Arc::new(KeySet(key_set)), Arc::new(Always(now)));
        Ok(Tokens { identity, snapshot })
    }

    /// Whom the value of an `Authorization` header stands for.
    pub async fn identify(&self, authorization: &str) -> Result<Caller, Unidentified> {
        let presented = Presented { authorization: Some(authorization), ..Presented::default() };
        self.identity.identify(&self.snapshot, presented).await
    }
}

/// A table of three columns as CSV.
pub fn csv(rows: &[[String; 3]]) -> Option<String> {
    let row = |row: &[String; 3]| row.iter().cloned().map(Value::from).collect();
    let rows: Vec<table::Row> = rows.iter().map(row).collect();
    table::csv(&[("a", ""), ("b", ""), ("c", "")], &rows).ok()
}

/// A cursor of that caller's on a list of events.
pub fn seal_cursor(cursors: &Sealer, operation: &str, caller: &Caller, place: &str) -> String {
    cursors.seal([9; 12], &cursor_context(operation, caller), place.as_bytes())
}

/// Where the list goes on, if the cursor is one of ours for this caller and operation.
pub fn open_event_cursor(
    cursors: &Sealer,
    operation: &str,
    caller: &Caller,
    cursor: &str,
) -> Option<EventCursor> {
    open_cursor(cursors, &cursor_context(operation, caller), cursor).ok()?.parse().ok()
}
