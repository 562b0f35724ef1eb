//! Agent accounts, the programs that call on their own or on a person's behalf, and who delegated to them.
//! A secret is here as a keyed hash only.

use gateway_core::Timestamp;
use gateway_core::caller::{PrincipalKind, Role, User};
use gateway_core::ids::{DelegationId, ServerId, SessionId, UserId};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;
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
    /// The session of its tokens: another one after the secret was changed or the account switched off.
    pub session: SessionId,
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
        there && self.holds(now)
    }

    /// Whether it was neither withdrawn nor has ended by itself.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| expiry > now)
    }
}

/// A change of an account that ends the tokens that are out.
#[derive(Debug, Clone, Copy)]
pub struct AgentChange {
    /// Which account.
    pub id: UserId,
    /// The session of its tokens from now on.
    pub session: SessionId,
    /// When.
    pub now: Timestamp,
    /// When the last token that is out has expired.
    pub until: Timestamp,
}

/// Who answers for an account, and its roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEdit {
    /// The owner.
    pub owner: UserId,
    /// Platform roles.
    pub roles: Vec<Role>,
}

impl Store {
    /// Gives an account another owner or other roles. False without such an account, or such an owner who is
    /// active.
    pub async fn edit_agent(
        &self,
        id: UserId,
        edit: &AgentEdit,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.within("change an agent account", async {
            let mut transaction = self.change().await?;
            let roles: Vec<String> =
                edit.roles.iter().map(|role| role.as_str().to_owned()).collect();
            let found = sqlx::query!(
                "update agent_account set owner_id = $2, roles = $3, updated_at = $4
                  where id = $1 and exists (select from gateway_user where id = $2 and active)",
                id.0,
                edit.owner.0,
                &roles,
                now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(found.rows_affected() == 1)
        })
        .await
    }

    /// Stores a new account. False when its name or client id is taken, or its owner is not there.
    pub async fn create_agent(&self, agent: &StoredAgent) -> Result<bool, StoreError> {
        self.within("create an agent account", async {
            let mut transaction = self.change().await?;
            let roles: Vec<String> =
                agent.principal.roles.iter().map(|role| role.as_str().to_owned()).collect();
            let made = sqlx::query!(
                "insert into agent_account (id, name, client_id, secret_hash, jwks, session_id, owner_id,
                                            roles, enabled, created_at, updated_at)
                 select $1, $2, $3, $4, $5, $6, id, $8, $9, $10, $10
                   from gateway_user where id = $7 and active for share
                 on conflict do nothing",
                agent.principal.id.0,
                agent.principal.name,
                agent.principal.email,
                agent.secret_hash.as_ref().map(|hash| &hash[..]),
                agent.jwks,
                agent.session.0,
                agent.owner.0,
                &roles,
                agent.principal.active,
                agent.created_at
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(made.rows_affected() == 1)
        })
        .await
    }

    /// Switches an account on or off; off ends its tokens. False without such an account.
    pub async fn set_agent_enabled(
        &self,
        change: AgentChange,
        enabled: bool,
    ) -> Result<bool, StoreError> {
        self.within("switch an agent account", async {
            let mut transaction = self.change().await?;
            if !enabled {
                end_tokens(&mut transaction, change).await?;
            }
            let found = sqlx::query!(
                "update agent_account set enabled = $2, updated_at = $3 where id = $1",
                change.id.0,
                enabled,
                change.now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(found.rows_affected() == 1)
        })
        .await
    }

    /// Gives an account another secret; the former one and the tokens that it gave are worth nothing from
    /// now on. False without such an account.
    pub async fn rotate_agent_secret(
        &self,
        change: AgentChange,
        hash: &[u8; 32],
    ) -> Result<bool, StoreError> {
        self.within("rotate an agent's secret", async {
            let mut transaction = self.change().await?;
            end_tokens(&mut transaction, change).await?;
            let found = sqlx::query!(
                "update agent_account set secret_hash = $2, updated_at = $3 where id = $1",
                change.id.0,
                &hash[..],
                change.now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(found.rows_affected() == 1)
        })
        .await
    }

    /// Stores a person's leave; it takes the place of an earlier one for the same agent. False when the
    /// agent or the person is not there.
    pub async fn create_delegation(&self, new: &StoredDelegation) -> Result<bool, StoreError> {
        self.within("create a delegation", async {
            let mut transaction = self.change().await?;
            sqlx::query!(
                "update delegation set revoked_at = $3
                  where agent_id = $1 and user_id = $2 and revoked_at is null",
                new.agent.0,
                new.user.0,
                new.created_at
            )
            .execute(&mut *transaction)
            .await?;
            let servers: Option<Vec<uuid::Uuid>> =
                new.servers.as_ref().map(|servers| servers.iter().map(|id| id.0).collect());
            let made = sqlx::query!(
                "insert into delegation (id, agent_id, user_id, servers, created_at, expires_at)
                 select $1, a.id, u.id, $4, $5, $6 from agent_account a, gateway_user u
                  where a.id = $2 and u.id = $3 and u.active",
                new.id.0,
                new.agent.0,
                new.user.0,
                servers.as_deref(),
                new.created_at,
                new.expires_at
            )
            .execute(&mut *transaction)
            .await?;
            let made = made.rows_affected() == 1;
            if made {
                transaction.commit().await?;
            }
            Ok(made)
        })
        .await
    }

    /// Withdraws a leave. False when there is none, or none any more.
    pub async fn revoke_delegation(
        &self,
        id: DelegationId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.within("revoke a delegation", async {
            let mut transaction = self.change().await?;
            let ended = sqlx::query!(
                "update delegation set revoked_at = $2 where id = $1 and revoked_at is null",
                id.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(ended.rows_affected() == 1)
        })
        .await
    }

    /// Uses up an assertion (RFC 7523) that is good until `expires_at`: of any number of replicas that see
    /// it at the same moment, one gets true.
    pub async fn use_assertion(
        &self,
        hash: &[u8; 32],
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.promptly("use an assertion", async {
            let first = sqlx::query!(
                "insert into used_assertion (hash, expires_at) values ($1, $2) on conflict do nothing",
                &hash[..],
                expires_at
            )
            .execute(self.pool())
            .await?;
            Ok(first.rows_affected() == 1)
        })
        .await
    }
}

/// Tokens of the account's former session count no more, on any replica.
async fn end_tokens(connection: &mut PgConnection, change: AgentChange) -> Result<(), StoreError> {
    sqlx::query!(
        "with ended as (
            insert into revocation (session_id, until)
            select session_id, $3 from agent_account where id = $1 on conflict do nothing)
         update agent_account set session_id = $2 where id = $1",
        change.id.0,
        change.session.0,
        change.until
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<StoredAgent>, StoreError> {
    let rows = sqlx::query!(
        "select id, name, client_id, secret_hash, jwks, session_id, owner_id, roles, enabled, created_at, updated_at
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
                    attributes: Default::default(),
                    active: row.enabled,
                },
                secret_hash: row.secret_hash.as_deref().map(crate::catalogue::hash).transpose()?,
                jwks: row.jwks,
                session: SessionId(row.session_id),
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
