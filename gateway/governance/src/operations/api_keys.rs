//! Operations on API keys. A key is shown once, when it is made; stored is its keyed hash.

use gateway_core::Timestamp;
use gateway_core::ids::{KeyId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::api_key::StoredKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::Run;
use super::{Change, answer, rfc3339};
use crate::identity::new_api_key;
use crate::perform::{About, Answer, Planned, Refused};

/// Of `create_api_key`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// Whose key: an e-mail address; yourself if absent.
    #[serde(default)]
    pub user: Option<String>,
    /// For people to tell keys apart.
    #[serde(default)]
    pub name: Option<String>,
    /// When it stops working, RFC 3339; never if absent.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `list_api_keys`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListApiKeys {
    /// Only this person's: an e-mail address. Without an administrative role: your own only.
    #[serde(default)]
    pub user: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `revoke_api_key`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeApiKey {
    /// The key's id, from `list_api_keys`.
    pub id: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// Given by its maker.
    pub name: String,
    /// The key's last four characters.
    pub last_four: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// RFC 3339.
    pub revoked_at: Option<String>,
    /// To the minute; null: never.
    pub last_used_at: Option<String>,
}

/// A new key.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CreatedKey {
    /// The key itself. It is shown now and never again.
    pub key: String,
    /// The rest of it.
    #[serde(flatten)]
    pub row: KeyRow,
}

/// A key that does not work any more.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RevokedKey {
    /// The key.
    #[serde(flatten)]
    pub row: KeyRow,
}

impl CreateApiKey {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let own = self.user.is_none();
        if own || !run.may(false) {
            let named_self =
                self.user.as_deref().is_some_and(|user| user.to_lowercase() == run.user().email);
            run.authorize(own || named_self)?;
        }
        let user = match &self.user {
            None => run.snapshot.user(run.user().id).cloned(),
            Some(name) => run.person(name),
        };
        let user = user.filter(|user| user.active).ok_or_else(|| {
            Refused::new(Reason::EntityNotFound, "user: no active user with that e-mail address")
        })?;
        // Whoever has the key is the person.
        run.may_act_upon("user", &user)?;
        let now = run.governance.clock().now();
        let expires_at =
            self.expires_at.as_deref().map(super::instant("expires_at")).transpose()?;
        if expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(Refused::params("expires_at: expected an instant in the future"));
        }
        let name = self.name.unwrap_or_default();
        if name.len() > 200 || name.chars().any(char::is_control) {
            return Err(Refused::params("name: expected at most 200 printable characters"));
        }
        let (key, hash) = new_api_key(run.governance.root_key(), run.governance.random());
        let stored = StoredKey {
            id: KeyId(run.governance.next_id(now)),
            user: user.id,
            hash,
            name,
            last_four: key.chars().skip(key.len() - 4).collect(),
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        Ok(Planned {
            action: ActionType::ApiKeyCreated,
            about: about(stored.id),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after: json!(row(run, &stored, None)),
            change: Change::NewKey { key: key.into(), stored },
        })
    }
}

impl ListApiKeys {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let whose = match (&self.user, run.may(false)) {
            (None, true) => None,
            (Some(name), true) => {
                let absent = || Refused::new(Reason::EntityNotFound, "user: no such person");
                Some(run.person(name).ok_or_else(absent)?.id)
            }
            (name, false) => {
                run.authorize(name.as_deref().is_none_or(|name| name == run.user().email))?;
                Some(run.user().id)
            }
        };
        let store = &run.governance.store;
        let keys = store.keys(whose).await.map_err(Refused::store)?;
        let uses = store.key_uses(whose).await.map_err(Refused::store)?;
        let rows = keys.iter().map(|key| row(run, key, uses.get(&key.id))).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

impl RevokeApiKey {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let whose = if run.may(false) {
            None
        } else {
            run.authorize(true)?;
            Some(run.user().id)
        };
        let keys = run.governance.store.keys(whose).await.map_err(Refused::store)?;
        let key = keys.into_iter().find(|key| key.id.to_string() == self.id.to_lowercase());
        let Some(key) = key else {
            return Err(Refused::new(Reason::EntityNotFound, "no such key, or it is not yours"));
        };
        Ok(Planned {
            action: ActionType::ApiKeyRevoked,
            about: about(key.id),
            confirmed: self.confirm == Some(true),
            before: json!(row(run, &key, last_use(run, key.id).await?.as_ref())),
            after: json!({"id": key.id, "revoked": true}),
            change: Change::RevokeKey { id: key.id, whose },
        })
    }
}

/// Stores a new key.
pub(super) async fn create(
    run: &Run<'_>,
    key: String,
    stored: StoredKey,
) -> Result<Answer, Refused> {
    run.governance.store.create_key(&stored).await.map_err(Refused::store)?;
    super::seen_here(run).await;
    answer(&CreatedKey { key, row: row(run, &stored, None) })
}

/// Ends a key.
pub(super) async fn revoke(
    run: &Run<'_>,
    id: KeyId,
    whose: Option<UserId>,
) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    let revoked = run.governance.store.revoke_key(id, whose, now).await.map_err(Refused::store)?;
    let Some(key) = revoked else {
        return Err(Refused::new(Reason::EntityNotFound, "no such key, or it is not yours"));
    };
    super::seen_here(run).await;
    let used = last_use(run, key.id).await?;
    answer(&RevokedKey { row: row(run, &key, used.as_ref()) })
}

async fn last_use(run: &Run<'_>, key: KeyId) -> Result<Option<Timestamp>, Refused> {
    let uses = run.governance.store.key_uses(None).await.map_err(Refused::store)?;
    Ok(uses.get(&key).copied())
}

fn about(key: KeyId) -> About {
    About { kind: Some("api_key"), name: Some(key.to_string()), server: None }
}

fn row(run: &Run<'_>, key: &StoredKey, used: Option<&Timestamp>) -> KeyRow {
    KeyRow {
        id: key.id.to_string(),
        user: run.snapshot.user(key.user).map(|user| user.email.clone()).unwrap_or_default(),
        name: key.name.clone(),
        last_four: key.last_four.clone(),
        created_at: rfc3339(key.created_at),
        expires_at: key.expires_at.map(rfc3339),
        revoked_at: key.revoked_at.map(rfc3339),
        last_used_at: used.copied().map(rfc3339),
    }
}
