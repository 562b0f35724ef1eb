//! Everything that replicas decide with, read at one instant, and the counter that says it is old.

use std::collections::HashMap;

use gateway_core::caller::User;
use gateway_core::ids::{ServerId, SessionId};
use gateway_core::server::Server;

use crate::agent::{self, StoredAgent, StoredDelegation};
use crate::api_key::{self, StoredKey};
use crate::definition::{self, Pins};
use crate::error::StoreError;
use crate::limit::{self, StoredLimit};
use crate::policy::{self, StoredPolicy};
use crate::pool::Store;
use crate::scanner::{self, StoredScanners};
use crate::signing_key::{self, StoredSigningKey};
use crate::{ended_session, server, user};

/// The catalogue at one version.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Counts every committed change. Compare with `!=`: a restored backup goes back.
    pub version: i64,
    /// Everybody, by e-mail.
    pub users: Vec<User>,
    /// Every server, by slug; secret values unresolved.
    pub servers: Vec<Server>,
    /// Every policy, in order.
    pub policies: Vec<StoredPolicy>,
    /// Every limit on calls, by name.
    pub limits: Vec<StoredLimit>,
    /// The settings of the scanners: the organisation's, if it has any, then those of servers.
    pub scanners: Vec<StoredScanners>,
    /// Every API key, ended ones too.
    pub keys: Vec<StoredKey>,
    /// Every agent account, by name.
    pub agents: Vec<StoredAgent>,
    /// Every delegation that was not withdrawn.
    pub delegations: Vec<StoredDelegation>,
    /// Every key that signs access tokens, or did.
    pub signing_keys: Vec<StoredSigningKey>,
    /// Sessions that ended before their last tokens expire.
    pub revoked: Vec<SessionId>,
    /// Hashes of the handles of MCP sessions that are over.
    pub ended_sessions: Vec<[u8; 32]>,
    /// Which definitions of tools are known, and what was decided about them, by server.
    pub pins: HashMap<ServerId, Pins>,
}

impl Store {
    /// Reads the whole catalogue as it was at one instant.
    pub async fn load_catalogue(&self) -> Result<Catalogue, StoreError> {
        self.within("load the catalogue", async {
            let mut snapshot =
                self.pool().begin_with("begin isolation level repeatable read read only").await?;
            let version = sqlx::query_scalar!("select version from catalogue_version")
                .fetch_one(&mut *snapshot)
                .await?;
            let catalogue = Catalogue {
                version,
                users: user::load(&mut snapshot, None).await?,
                servers: server::load(&mut snapshot).await?,
                policies: policy::load(&mut snapshot).await?,
                limits: limit::load(&mut snapshot).await?,
                scanners: scanner::load(&mut snapshot).await?,
                keys: api_key::load(&mut snapshot, None).await?,
                agents: agent::load(&mut snapshot).await?,
                delegations: agent::load_delegations(&mut snapshot).await?,
                signing_keys: signing_key::load(&mut snapshot).await?,
                revoked: signing_key::load_revoked(&mut snapshot).await?,
                ended_sessions: ended_session::load(&mut snapshot).await?,
                pins: definition::load_pins(&mut snapshot).await?,
            };
            snapshot.commit().await?;
            Ok(catalogue)
        })
        .await
    }

    /// The version alone, to see cheaply whether a loaded catalogue is still the latest.
    pub async fn catalogue_version(&self) -> Result<i64, StoreError> {
        self.within("read the catalogue's version", async {
            Ok(sqlx::query_scalar!("select version from catalogue_version")
                .fetch_one(self.pool())
                .await?)
        })
        .await
    }
}

pub(crate) fn hash(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash is not 32 bytes long".into()))
}
