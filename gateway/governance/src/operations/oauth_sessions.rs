//! Operations on sessions: which clients people have signed in with, and ending that.

use gateway_core::ids::SessionId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::oauth_listing::LivingSession;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::run::Run;
use super::{Change, answer, rfc3339};
use crate::oauth::ErrorCode;
use crate::perform::{About, Answer, Planned, Refused};

/// Of `list_oauth_sessions`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOauthSessions {
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

/// Of `revoke_oauth_session`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeOauthSession {
    /// The session's id, from `list_oauth_sessions`.
    pub id: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A client that a person signed in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The client's id.
    pub client_id: String,
    /// The client's name, as it says.
    pub client_name: String,
    /// What its tokens are for: the gateway's URL or a server's proxy URL.
    pub resource: String,
    /// What was agreed to.
    pub scope: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub last_used_at: String,
    /// RFC 3339: when it ends unless it is used before.
    pub expires_at: String,
}

/// A session that has ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionEnded {
    /// The session.
    #[serde(flatten)]
    pub row: SessionRow,
    /// Always true: its tokens work nowhere any more.
    pub revoked: bool,
}

impl ListOauthSessions {
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
        let now = run.governance.clock().now();
        let found = run.governance.store.living_sessions(whose, now).await;
        let rows = found.map_err(Refused::store)?.iter().map(|found| row(run, found)).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

impl RevokeOauthSession {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let whose = if run.may(false) {
            None
        } else {
            run.authorize(true)?;
            Some(run.user().id)
        };
        let id: SessionId = self.id.parse().map_err(|_| absent())?;
        let now = run.governance.clock().now();
        let found =
            run.governance.store.living_sessions(whose, now).await.map_err(Refused::store)?;
        let found = found.into_iter().find(|found| found.session.id == id).ok_or_else(absent)?;
        let row = row(run, &found);
        Ok(Planned {
            action: ActionType::OauthSessionRevoked,
            about: About { kind: Some("oauth_session"), name: Some(id.to_string()), server: None },
            confirmed: self.confirm == Some(true),
            before: json!(row),
            after: json!({"id": row.id, "revoked": true}),
            change: Change::EndSession { id, row: Box::new(row) },
        })
    }
}

/// Ends a session: its refresh tokens at once, its access tokens within the revocation lag.
pub(super) async fn revoke(
    run: &Run<'_>,
    id: SessionId,
    row: SessionRow,
) -> Result<Answer, Refused> {
    match run.governance.oauth().end_session(id).await {
        Ok(true) => answer(&SessionEnded { row, revoked: true }),
        Ok(false) => Err(absent()),
        Err(error) if error.code == ErrorCode::TemporarilyUnavailable => {
            let detail = "the database is not available; try again later";
            Err(Refused::new(Reason::CatalogueStale, detail))
        }
        Err(_) => Err(Refused::new(Reason::Internal, "the database refused")),
    }
}

fn row(run: &Run<'_>, found: &LivingSession) -> SessionRow {
    let LivingSession { session, last_used_at } = found;
    SessionRow {
        id: session.id.to_string(),
        user: run.snapshot.user(session.user).map(|user| user.email.clone()).unwrap_or_default(),
        client_id: session.client_id.clone(),
        client_name: session.client_name.clone(),
        resource: session.resource.clone(),
        scope: session.scope.clone(),
        created_at: rfc3339(session.created_at),
        last_used_at: rfc3339(*last_used_at),
        expires_at: rfc3339(session.expires_at),
    }
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such session, or it is not yours")
}
