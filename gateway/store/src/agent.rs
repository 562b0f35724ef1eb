//! Agent accounts, the programs that call on their own or on a person's behalf, and who delegated to them.
//! A secret is here as a keyed hash only.

use gateway_core::Timestamp;
use gateway_core::caller::{PrincipalKind, User};
use gateway_core::ids::{DelegationId, ServerId, UserId};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::user::known_roles;

/// An agent account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAgent {
    /// Its id, `enabled` as `active`, its client id as `email`.
    pub principal: User,
    /// HMAC of its secret; `None` where it signs assertions instead.
    pub secret_hash: Option<[u8; 32]>,
    /// Its public keys for `private_key_jwt`, a JWK set as JSON text.
    pub jwks: Option<String>,
    /// Who answers for it.
    pub owner: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A person's leave for an agent to act for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelegation {
    /// Its id.
    pub id: DelegationId,
    /// Who may act.
    pub agent: UserId,
    /// For whom.
    pub user: UserId,
    /// On which servers; `None`: on all.
    pub servers: Option<Vec<ServerId>>,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Since when it is withdrawn.
    pub revoked_at: Option<Timestamp>,
}

impl StoredDelegation {
    /// Whether it lets the agent act on that server now.
    pub fn covers(&self, server: Option<ServerId>, now: Timestamp) -> bool {
        let there = match (&self.servers, server) {
            (None, _) => true,
            (Some(servers), Some(server)) => servers.contains(&server),
            (Some(_), None) => false,
        };
        there && self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| expiry > now)
    }
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<StoredAgent>, StoreError> {
    let rows = sqlx::query!(
        "select id, name, client_id, secret_hash, jwks, owner_id, roles, enabled, created_at, updated_at
           from agent_account order by name"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StoredAgent {
                principal: User {
                    id: UserId(row.id),
                    kind: PrincipalKind::Agent,
                    roles: known_roles(&row.client_id, &row.roles),
                    email: row.client_id,
                    name: row.name,
                    groups: Vec::new(),
                    active: row.enabled,
                },
                secret_hash: row.secret_hash.as_deref().map(crate::catalogue::hash).transpose()?,
                jwks: row.jwks,
                owner: UserId(row.owner_id),
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        })
        .collect()
}

/// Those that were not withdrawn.
pub(crate) async fn load_delegations(
    connection: &mut PgConnection,
) -> Result<Vec<StoredDelegation>, StoreError> {
    let rows = sqlx::query!(
        "select id, agent_id, user_id, servers, created_at, expires_at, revoked_at
           from delegation where revoked_at is null order by created_at, id"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredDelegation {
            id: DelegationId(row.id),
            agent: UserId(row.agent_id),
            user: UserId(row.user_id),
            servers: row.servers.map(|servers| servers.into_iter().map(ServerId).collect()),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        })
        .collect())
}
