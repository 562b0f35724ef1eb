//! Operations on browsers in which people are signed in: their own, listed and ended.

use gateway_core::ids::SessionId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::browser_session::StoredBrowserSession;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::run::{Page, Run};
use super::{Change, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};

/// Of `list_browser_sessions`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBrowserSessions {
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `revoke_browser_session`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBrowserSession {
    /// The session's id, from `list_browser_sessions`.
    pub id: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A browser that is signed in.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BrowserSessionRow {
    /// Its id.
    pub id: String,
    /// The browser, as it calls itself.
    pub user_agent: String,
    /// The identity provider, or `local`.
    pub issuer: String,
    /// True for the browser that asks.
    pub current: bool,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// A session that is over.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RevokedBrowserSession {
    /// Its id.
    pub id: String,
}

impl ListBrowserSessions {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let found = own(run).await?;
        let page: Page<_> = run.page(
            found.iter().map(|session| row(run, session)).collect(),
            self.limit,
            self.cursor.as_deref(),
        )?;
        answer(&page)
    }
}

impl RevokeBrowserSession {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(true)?;
        let found = own(run).await?.into_iter();
        let mut found = found.filter(|session| session.id.to_string() == self.id.to_lowercase());
        let session = found.next().ok_or_else(absent)?;
        Ok(Planned {
            action: ActionType::SessionEnded,
            about: About {
                kind: Some("browser_session"),
                name: Some(session.id.to_string()),
                server: None,
            },
            confirmed: self.confirm == Some(true),
            before: json!(row(run, &session)),
            after: json!({"id": session.id, "ended": true}),
            change: Change::EndBrowser { id: session.id },
        })
    }
}

/// Ends one of the caller's sessions.
pub(super) async fn end(run: &Run<'_>, id: SessionId) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    let ended = run.governance.store.end_browser_session(id, run.user().id, now).await;
    if !ended.map_err(Refused::store)? {
        return Err(absent());
    }
    answer(&RevokedBrowserSession { id: id.to_string() })
}

async fn own(run: &Run<'_>) -> Result<Vec<StoredBrowserSession>, Refused> {
    let now = run.governance.clock().now();
    run.governance.store.browser_sessions(run.user().id, now).await.map_err(Refused::store)
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such session, or it is not yours, or it is over")
}

fn row(run: &Run<'_>, session: &StoredBrowserSession) -> BrowserSessionRow {
    let id = session.id.to_string();
    BrowserSessionRow {
        current: *run.caller.credential == *id,
        id,
        user_agent: session.user_agent.clone(),
        issuer: session.issuer.clone(),
        created_at: rfc3339(session.created_at),
        expires_at: rfc3339(session.expires_at),
    }
}
