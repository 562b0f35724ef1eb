//! Keys that sign access tokens: public halves, and private ones sealed with a key that is not here; and the
//! sessions whose tokens count no more although they have not expired.

use gateway_core::Timestamp;
use gateway_core::ids::SessionId;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

/// A signing key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSigningKey {
    /// Its id in token headers.
    pub kid: String,
    /// `EdDSA` or `ES256`.
    pub algorithm: String,
    /// The public key's bytes.
    pub public_key: Vec<u8>,
    /// The private key, sealed.
    pub sealed: String,
    /// When it was made: it is published from then on.
    pub created_at: Timestamp,
    /// When it begins to sign.
    pub signs_from: Timestamp,
    /// When it ends signing.
    pub signs_until: Timestamp,
    /// When the last token that it signed has expired.
    pub gone_at: Timestamp,
}

impl Store {
    /// Stores a new key, unless there is one already that signs beyond `covered`: of several replicas that
    /// see at the same moment that one is needed, one makes it. True when this one did.
    pub async fn add_signing_key(
        &self,
        key: &StoredSigningKey,
        covered: Timestamp,
    ) -> Result<bool, StoreError> {
        self.promptly("store a signing key", async {
            // Such transactions run one after the other.
            let mut transaction = self.change().await?;
            let made = sqlx::query!(
                "insert into signing_key
                     (kid, algorithm, public_key, sealed, created_at, signs_from, signs_until, gone_at)
                 select $1, $2, $3, $4, $5, $6, $7, $8
                  where not exists (select 1 from signing_key where signs_until > $9)",
                key.kid,
                key.algorithm,
                key.public_key,
                key.sealed,
                key.created_at,
                key.signs_from,
                key.signs_until,
                key.gone_at,
                covered
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(made.rows_affected() > 0)
        })
        .await
    }
}

pub(crate) async fn load(
    connection: &mut PgConnection,
) -> Result<Vec<StoredSigningKey>, StoreError> {
    Ok(sqlx::query_as!(
        StoredSigningKey,
        "select kid, algorithm, public_key, sealed, created_at, signs_from, signs_until, gone_at
           from signing_key order by signs_from, kid"
    )
    .fetch_all(connection)
    .await?)
}

pub(crate) async fn load_revoked(
    connection: &mut PgConnection,
) -> Result<Vec<SessionId>, StoreError> {
    let ids =
        sqlx::query_scalar!("select session_id from revocation").fetch_all(connection).await?;
    Ok(ids.into_iter().map(SessionId).collect())
}
