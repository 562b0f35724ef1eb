//! Why a credential could not be had. What people and models read of it names no secret and nothing of the inside.

use gateway_core::reason::Reason;
use gateway_store::StoreError;

use crate::vault::VaultError;

/// A step on the way to a credential failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Trouble {
    /// Why.
    pub reason: Reason,
    /// What was tried, on what; no secret.
    pub detail: String,
}

impl Trouble {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Trouble {
        Trouble { reason, detail: detail.into() }
    }

    /// The server or its issuer says something that cannot be relied on.
    pub(super) fn metadata(detail: String) -> Trouble {
        Trouble::new(Reason::UpstreamInvalid, detail)
    }

    /// The issuer could not be asked.
    pub(super) fn unreachable(detail: String) -> Trouble {
        Trouble::new(Reason::UpstreamUnreachable, detail)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        tracing::error!(%error, "a connection could not be read or written");
        Trouble::new(Reason::CatalogueStale, "the database is not available")
    }
}

impl From<VaultError> for Trouble {
    fn from(error: VaultError) -> Trouble {
        match error {
            VaultError::Store(error) => error.into(),
            error @ (VaultError::Locked(_) | VaultError::Forged) => {
                tracing::error!(%error, "a stored credential was not opened");
                Trouble::new(Reason::UpstreamCredentialMissing, error.to_string())
            }
        }
    }
}
