//! People's accounts at upstream servers: which there are, and giving one back. A connection is made in a browser,
//! by its person; see [`crate::connections`].

use std::sync::Arc;

use gateway_core::caller::User;
use gateway_core::ids::{ConnectionId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{Server, UpstreamAuth};
use gateway_store::connection::StoredConnection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::run::{Page, Run, page_limit};
use super::{Change, answer, rfc3339};
use crate::connections::{broken, lacks_scope};
use crate::perform::{About, Answer, Planned, Refused};

/// Of `list_connections`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListConnections {
    /// Instead of your own: this person's, by e-mail address or id; for admins.
    #[serde(default)]
    pub user: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `disconnect_server`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectServer {
    /// The server's id or slug.
    pub server_id: String,
    /// Instead of your own account there: this person's, by e-mail address or id; for admins.
    #[serde(default)]
    pub user: Option<String>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A connected account. Never a token.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConnectionRow {
    /// Its id.
    pub id: String,
    /// The server's id.
    pub server_id: String,
    /// The server's slug.
    pub server: String,
    /// Whose account it is.
    pub user: String,
    /// Who issued the tokens.
    pub issuer: String,
    /// What they are good for, separated by spaces.
    pub scope: String,
    /// When the person connected it.
    pub connected_at: String,
    /// When the tokens were last renewed.
    pub refreshed_at: String,
    /// When the access token ends; it is renewed by itself.
    pub expires_at: Option<String>,
    /// Why it does not work any more; null while it does.
    pub broken: Option<String>,
    /// Scopes that the server asked for beyond these; connecting anew asks for them.
    pub lacks_scope: Option<String>,
    /// Where the person connects it anew.
    pub connect_url: String,
}

/// Of an account that was given back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Disconnected {
    /// The server's id.
    pub server_id: String,
    /// The server's slug.
    pub server: String,
    /// Whose account it was.
    pub user: String,
}

impl ListConnections {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let whose = whose(run, self.user.as_deref())?;
        let limit = page_limit(self.limit)?;
        let after = match self.cursor.as_deref() {
            Some(cursor) => Some(read_id(&run.open_cursor(cursor)?)?),
            None => None,
        };
        let connections = run.governance.connections();
        let found = connections.list(Some(whose.id), after, limit + 1).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().filter(|_| more).map(|last| last.id.to_string());
        let next_cursor = last.map(|last| run.seal_cursor(&last));
        let data = found.iter().filter_map(|found| row(run, found)).collect();
        answer(&Page::<ConnectionRow> { data, next_cursor })
    }
}

impl DisconnectServer {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let whose = whose(run, self.user.as_deref())?;
        let server = run.snapshot.server(&self.server_id).cloned().ok_or_else(absent)?;
        let found = run.governance.connections().find(server.id, whose.id).await;
        let found = found.map_err(Refused::store)?.ok_or_else(absent)?;
        Ok(Planned {
            action: ActionType::OauthRevoked,
            confirmed: self.confirm == Some(true),
            before: json!({"connection": row(run, &found)}),
            after: json!({"connection": null}),
            about: About {
                kind: Some("connection"),
                name: Some(found.id.to_string()),
                server: Some(Arc::clone(&server)),
            },
            change: Change::Disconnect { server, found },
        })
    }
}

/// Removes it here, then at the issuer.
pub(super) async fn disconnect(
    run: &Run<'_>,
    server: &Server,
    found: &StoredConnection,
) -> Result<Answer, Refused> {
    let gone = run.governance.connections().disconnect(found).await.map_err(Refused::store)?;
    if !gone {
        return Err(Refused::new(Reason::Conflict, "the account was connected anew meanwhile"));
    }
    answer(&Disconnected {
        server_id: server.id.to_string(),
        server: server.slug.to_string(),
        user: email(run, found.user),
    })
}

/// The caller, or for administrators anybody.
fn whose(run: &Run<'_>, user: Option<&str>) -> Result<Arc<User>, Refused> {
    let Some(name) = user else {
        run.authorize(true)?;
        return Ok(Arc::clone(&run.caller.user));
    };
    let person = run.person(name);
    let own = person.as_ref().is_some_and(|person| person.id == run.user().id);
    run.authorize(own)?;
    person.ok_or_else(|| Refused::new(Reason::EntityNotFound, "user: there is no such person"))
}

fn read_id(text: &str) -> Result<ConnectionId, Refused> {
    text.parse().map_err(|_| absent())
}

fn absent() -> Refused {
    let detail = "no such server, or no account connected there; list_connections names yours";
    Refused::new(Reason::EntityNotFound, detail)
}

fn email(run: &Run<'_>, user: UserId) -> String {
    run.snapshot.user(user).map_or_else(|| user.to_string(), |user| user.email.clone())
}

/// `None` once the server is gone from the catalogue.
fn row(run: &Run<'_>, found: &StoredConnection) -> Option<ConnectionRow> {
    let server = run.snapshot.server_by_id(found.server)?;
    let connectable = matches!(server.auth, UpstreamAuth::OauthUser(_));
    let broken = broken(found).map(str::to_owned);
    Some(ConnectionRow {
        id: found.id.to_string(),
        server_id: server.id.to_string(),
        server: server.slug.to_string(),
        user: email(run, found.user),
        issuer: found.issuer.clone(),
        scope: found.scope.clone(),
        connected_at: rfc3339(found.connected_at),
        refreshed_at: rfc3339(found.refreshed_at),
        expires_at: found.expires_at.map(rfc3339),
        broken: broken.or((!connectable).then(|| "the server needs no account any more".into())),
        lacks_scope: lacks_scope(found).map(str::to_owned),
        connect_url: run.governance.connections().link(server),
    })
}
