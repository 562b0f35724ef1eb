//! Policies as they were written: JSON text whose meaning is the `policies` package's business.
//! Written by [`crate::desired_state`].

use gateway_core::ids::PolicyId;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

/// A policy as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    /// Stable id; the same name keeps it.
    pub id: PolicyId,
    /// Unique.
    pub name: String,
    /// Order in the desired state; of several messages the first one's is shown.
    pub position: i32,
    /// The specification, JSON text.
    pub spec_json: String,
}

impl Store {
    /// Every policy, in order.
    pub async fn policies(&self) -> Result<Vec<StoredPolicy>, StoreError> {
        self.within("read policies", async { load(&mut *self.pool().acquire().await?).await }).await
    }
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<StoredPolicy>, StoreError> {
    let rows = sqlx::query!("select id, name, position, spec from policy order by position, name")
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredPolicy {
            id: PolicyId(row.id),
            name: row.name,
            position: row.position,
            spec_json: row.spec,
        })
        .collect())
}
