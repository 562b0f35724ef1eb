//! The vault: upstream credentials under envelope encryption. Data keys (AES-256-GCM) lie in Postgres, wrapped by a
//! key that does not: `keys.vault_file`, or one that is derived from the root key. What is sealed is bound to the row
//! that it belongs to (person, server, issuer), so that a row put in another's place does not open.
//!
//! A change of the wrapping key: the new one in `keys.vault_file`, the old one in `keys.vault_file_previous`, on every
//! replica; then `gateway vault rotate`, which makes a new data key and seals everything with it; then the old one goes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use gateway_core::Clock;
use gateway_core::ids::{ServerId, UserId, VaultKeyId};
use gateway_core::seal::Sealer;
use gateway_store::vault::{Sealed, SealedOwner, SealedRow, StoredVaultKey};
use gateway_store::{Store, StoreError};
use secrecy::SecretSlice;

use crate::ports::{Random, uuid7};

/// Rows that are sealed anew at once.
const BATCH: u32 = 100;

/// The keys that wrap data keys.
#[derive(Clone)]
pub struct WrappingKeys {
    /// Wraps new ones.
    pub current: [u8; 32],
    /// Opens old ones, while the key is being changed.
    pub previous: Option<[u8; 32]>,
}

impl std::fmt::Debug for WrappingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrappingKeys(..)")
    }
}

/// What a sealed value is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound<'a> {
    /// A person's tokens.
    Connection(UserId, ServerId, &'a str),
    /// The gateway's own secret as a client.
    Client(ServerId, &'a str),
    /// What it takes to end an attempt.
    Attempt(UserId, ServerId, &'a str),
}

impl Bound<'_> {
    /// Ids have a fixed length and the issuer is last: no two bindings read the same.
    fn context(self) -> Vec<u8> {
        let (kind, user, server, issuer): (&[u8], _, _, _) = match self {
            Bound::Connection(user, server, issuer) => (b"connection", user.0, server, issuer),
            Bound::Client(server, issuer) => (b"client", uuid::Uuid::nil(), server, issuer),
            Bound::Attempt(user, server, issuer) => (b"attempt", user.0, server, issuer),
        };
        [kind, b"\0", user.as_bytes(), server.0.as_bytes(), issuer.as_bytes()].concat()
    }
}

/// A value was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No key of ours opens a data key.
    #[error(
        "the vault's key {0} was wrapped by another key than keys.vault_file gives; put the old one into \
         keys.vault_file_previous and run `gateway vault rotate`"
    )]
    Locked(VaultKeyId),
    /// A row was changed, or belongs to another person, server or issuer.
    #[error(
        "a stored credential does not open: it was changed or is not of this person, server and issuer"
    )]
    Forged,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seals and opens. One per process.
pub(crate) struct Vault {
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    current: Sealer,
    previous: Option<Sealer>,
    /// Data keys that were unwrapped.
    keys: RwLock<HashMap<VaultKeyId, Arc<Sealer>>>,
}

impl Vault {
    /// Opens the vault: every data key that is in the database must be ours to unwrap.
    pub(crate) async fn open(
        store: Store,
        keys: &WrappingKeys,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    ) -> Result<Vault, VaultError> {
        let current = Sealer::new(&keys.current);
        let previous = keys.previous.as_ref().map(Sealer::new);
        let vault = Vault { store, clock, random, current, previous, keys: RwLock::default() };
        for key in vault.store.vault_keys().await? {
            vault.unwrap(&key)?;
        }
        Ok(vault)
    }

    /// Seals `plain` with the data key that is in force.
    pub(crate) async fn seal(&self, bound: Bound<'_>, plain: &[u8]) -> Result<Sealed, VaultError> {
        let (key, sealer) = self.in_force().await?;
        Ok(Sealed { key, text: sealer.seal(self.nonce(), &bound.context(), plain) })
    }

    /// Opens what was sealed for exactly `bound`.
    pub(crate) async fn open_sealed(
        &self,
        bound: Bound<'_>,
        sealed: &Sealed,
    ) -> Result<SecretSlice<u8>, VaultError> {
        let sealer = match self.known(sealed.key) {
            Some(sealer) => sealer,
            None => self.read(sealed.key).await?,
        };
        let opened = sealer.open(&bound.context(), &sealed.text);
        opened.map(SecretSlice::from).map_err(|_| VaultError::Forged)
    }

    /// Makes a new data key and seals everything with it; gives how many rows that were.
    pub(crate) async fn rotate(&self) -> Result<u64, VaultError> {
        let (stored, sealer) = self.make();
        self.store.replace_vault_key(&stored).await?;
        self.remember(stored.id, &sealer);
        let mut count = 0;
        loop {
            let rows = self.store.sealed_with_retired(BATCH).await?;
            if rows.is_empty() {
                self.store.drop_unused_vault_keys().await?;
                return Ok(count);
            }
            for row in rows {
                count += u64::from(self.reseal(&row, (stored.id, &sealer)).await?);
            }
        }
    }

    /// A row that somebody changed meanwhile comes again in the next batch.
    async fn reseal(
        &self,
        row: &SealedRow,
        (key, sealer): (VaultKeyId, &Sealer),
    ) -> Result<bool, VaultError> {
        let bound = match &row.owner {
            SealedOwner::Connection { server, user, issuer } => {
                Bound::Connection(*user, *server, issuer)
            }
            SealedOwner::Client { server, issuer } => Bound::Client(*server, issuer),
        };
        let plain = self.open_sealed(bound, &row.sealed).await?;
        let plain = secrecy::ExposeSecret::expose_secret(&plain);
        let text = sealer.seal(self.nonce(), &bound.context(), plain);
        Ok(self.store.reseal(row, &Sealed { key, text }).await?)
    }

    /// The newest data key that is not retired; the first one is made when it is needed.
    async fn in_force(&self) -> Result<(VaultKeyId, Arc<Sealer>), VaultError> {
        if let Some(found) = self.newest().await? {
            return Ok(found);
        }
        self.store.first_vault_key(&self.make().0).await?;
        let made = self.newest().await?;
        made.ok_or(VaultError::Store(StoreError::Corrupt("the vault has no key".into())))
    }

    async fn newest(&self) -> Result<Option<(VaultKeyId, Arc<Sealer>)>, VaultError> {
        let keys = self.store.vault_keys().await?;
        let newest = keys.iter().find(|key| key.retired_at.is_none());
        newest.map(|key| Ok((key.id, self.unwrap(key)?))).transpose()
    }

    async fn read(&self, id: VaultKeyId) -> Result<Arc<Sealer>, VaultError> {
        let keys = self.store.vault_keys().await?;
        let key = keys.iter().find(|key| key.id == id).ok_or(VaultError::Forged)?;
        self.unwrap(key)
    }

    fn unwrap(&self, stored: &StoredVaultKey) -> Result<Arc<Sealer>, VaultError> {
        if let Some(known) = self.known(stored.id) {
            return Ok(known);
        }
        let context = wrapping(stored.id);
        let wrappers = [Some(&self.current), self.previous.as_ref()];
        let opened = wrappers.into_iter().flatten().find_map(|wrapper| {
            let plain = wrapper.open(&context, &stored.wrapped).ok()?;
            <[u8; 32]>::try_from(plain).ok()
        });
        let sealer = Arc::new(Sealer::new(&opened.ok_or(VaultError::Locked(stored.id))?));
        self.remember(stored.id, &sealer);
        Ok(sealer)
    }

    fn make(&self) -> (StoredVaultKey, Arc<Sealer>) {
        let now = self.clock.now();
        let id = VaultKeyId(uuid7(now, &*self.random));
        let mut key = [0; 32];
        self.random.fill(&mut key);
        let wrapped = self.current.seal(self.nonce(), &wrapping(id), &key);
        let stored = StoredVaultKey { id, wrapped, created_at: now, retired_at: None };
        (stored, Arc::new(Sealer::new(&key)))
    }

    fn known(&self, id: VaultKeyId) -> Option<Arc<Sealer>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn remember(&self, id: VaultKeyId, sealer: &Arc<Sealer>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(id, Arc::clone(sealer));
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce);
        nonce
    }
}

fn wrapping(id: VaultKeyId) -> Vec<u8> {
    [b"data key\0".as_slice(), id.0.as_bytes()].concat()
}
