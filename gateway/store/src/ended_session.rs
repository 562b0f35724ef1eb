//! Sessions of the older protocol versions that are over before they expire by themselves. Nothing else of a session
//! is stored: the client holds it, sealed.

use gateway_core::Timestamp;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

impl Store {
    /// Ends the session whose handle has that hash; `until`: when the handle expires.
    pub async fn end_mcp_session(
        &self,
        hash: &[u8; 32],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.promptly("end a session", async {
            let mut transaction = self.change().await?;
            sqlx::query!(
                "insert into ended_session (hash, until) values ($1, $2) on conflict do nothing",
                hash.as_slice(),
                until
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<[u8; 32]>, StoreError> {
    let hashes =
        sqlx::query_scalar!("select hash from ended_session").fetch_all(connection).await?;
    hashes.iter().map(|hash| crate::catalogue::hash(hash)).collect()
}
