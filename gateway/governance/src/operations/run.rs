//! What every operation has at hand: the caller as the snapshot knows them, and pages.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, Caller, User};
use gateway_core::decision::Circumstances;
use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_core::seal::Sealer;
use gateway_core::server::{RUNLAYER_ID, Server};
use gateway_store::agent::StoredAgent;
use schemars::JsonSchema;
use serde::Serialize;

use crate::governance::Governance;
use crate::perform::{Face, Origin, Refused};
use crate::snapshot::Snapshot;

/// Rows of a page when nobody says otherwise.
const USUAL_LIMIT: u32 = 50;
/// Most rows of a page.
const MOST: u32 = 200;

/// A page of a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Gives the next page as `cursor`; null on the last.
    pub next_cursor: Option<String>,
}

/// One operation's surroundings.
pub(crate) struct Run<'a> {
    pub(crate) governance: &'a Governance,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) caller: Caller,
    pub(crate) origin: &'a Origin,
    pub(crate) operation: &'static str,
}

impl<'a> Run<'a> {
    /// Roles and groups count as they are now, not as they were when the caller was identified.
    pub(crate) fn new(
        governance: &'a Governance,
        caller: &Caller,
        origin: &'a Origin,
        operation: &'static str,
    ) -> Result<Run<'a>, Refused> {
        if !governance.is_fresh() {
            let detail = "the catalogue could not be refreshed in time; try again later";
            return Err(Refused::new(Reason::CatalogueStale, detail));
        }
        let snapshot = governance.snapshot();
        let mut caller = caller.clone();
        if caller.auth != AuthMethod::CommandLine {
            let gone =
                || Refused::new(Reason::CredentialInvalid, "you are no active user any more");
            caller = snapshot.present(&caller).ok_or_else(gone)?;
            let here = (origin.face == Face::Tools).then_some(RUNLAYER_ID);
            if !snapshot.has_leave(&caller, here, governance.clock().now()) {
                let detail = "the person whom you act for has not delegated this to you";
                return Err(Refused::new(Reason::ServerNotFound, detail));
            }
        }
        Ok(Run { governance, snapshot, caller, origin, operation })
    }

    pub(crate) fn user(&self) -> &User {
        &self.caller.user
    }

    /// The agent through which the person acts.
    pub(crate) fn actor(&self) -> Option<UserId> {
        self.caller.actor.as_ref().map(|agent| agent.id)
    }

    /// Whether the caller's roles allow this operation; `owns`: on what is their own. Of a call on
    /// somebody's behalf: whether both their roles do.
    pub(crate) fn may(&self, owns: bool) -> bool {
        let may = |user: &Arc<User>| self.snapshot.policies.authorize(user, self.operation, owns);
        self.caller.principals().all(may)
    }

    /// Whether they also allow something that is no operation of its own, whosever it is.
    pub(crate) fn may_also(&self, action: &str) -> bool {
        let may = |user: &Arc<User>| self.snapshot.policies.authorize(user, action, false);
        self.caller.principals().all(may)
    }

    /// The same, as a refusal.
    pub(crate) fn authorize(&self, owns: bool) -> Result<(), Refused> {
        if self.may(owns) {
            return Ok(());
        }
        let detail =
            format!("{}: ask an administrator, your roles do not include it", self.operation);
        Err(Refused::new(Reason::RoleMissing, detail))
    }

    /// Whether the caller may use the server at all.
    pub(crate) fn may_enter(&self, server: &Server) -> bool {
        self.governance.may_enter(&self.snapshot, &self.caller, server)
    }

    /// Whether everybody behind the call administers this one server.
    pub(crate) fn administers(&self, server: &Server) -> bool {
        self.caller.principals().all(|user| server.admins.contains(&user.id))
    }

    /// The server of that id or slug, if the caller may enter it, administers it, or administers servers.
    pub(crate) fn server(&self, id_or_slug: &str) -> Result<Arc<Server>, Refused> {
        let server = self.snapshot.server(id_or_slug);
        match server.filter(|server| self.may(self.may_enter(server) || self.administers(server))) {
            Some(server) => Ok(Arc::clone(server)),
            None => Err(Refused::new(
                Reason::ServerNotFound,
                "no such server, or none that you may use; list_servers names yours",
            )),
        }
    }

    /// How policies see the caller in this moment.
    pub(crate) fn circumstances(&self) -> Circumstances {
        Circumstances {
            client: self.origin.client_name.clone().unwrap_or_default(),
            ip: self.origin.client_ip,
            now: self.governance.clock().now(),
        }
    }

    /// A person by address or id, for those who may know.
    pub(crate) fn person(&self, name: &str) -> Option<Arc<User>> {
        let name = name.strip_prefix("user:").unwrap_or(name);
        let by_id = name.parse::<UserId>().ok().and_then(|id| self.snapshot.user(id));
        by_id.or_else(|| self.snapshot.user_by_email(name)).cloned()
    }

    /// The same of agent accounts: by name (`agent:NAME` too), client id or id.
    pub(crate) fn agent(&self, name: &str) -> Option<Arc<StoredAgent>> {
        let called = name.strip_prefix("agent:").unwrap_or(name);
        let is = |agent: &&Arc<StoredAgent>| {
            let User { id, name, email, .. } = &agent.principal;
            name == called || email == called || id.to_string() == called.to_lowercase()
        };
        self.snapshot.agents.iter().find(is).cloned()
    }

    /// One page of a list that is at hand whole.
    pub(crate) fn page<T>(
        &self,
        rows: Vec<T>,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Page<T>, Refused> {
        let limit = page_limit(limit)? as usize;
        let start: usize = match cursor {
            Some(cursor) => self.open_cursor(cursor)?.parse().map_err(|_| wrong_cursor())?,
            None => 0,
        };
        let more = rows.len() > start.saturating_add(limit);
        let next_cursor = more.then(|| self.seal_cursor(&(start + limit).to_string()));
        Ok(Page { data: rows.into_iter().skip(start).take(limit).collect(), next_cursor })
    }

    /// Where a page ends, readable for us alone and good for this person and operation alone.
    pub(crate) fn seal_cursor(&self, place: &str) -> String {
        let mut nonce = [0; 12];
        self.governance.random().fill(&mut nonce);
        self.governance.cursors.seal(nonce, &self.cursor_context(), place.as_bytes())
    }

    pub(crate) fn open_cursor(&self, cursor: &str) -> Result<String, Refused> {
        open_cursor(&self.governance.cursors, &self.cursor_context(), cursor)
    }

    fn cursor_context(&self) -> Vec<u8> {
        cursor_context(self.operation, &self.caller)
    }
}

/// What a cursor is bound to.
pub(crate) fn cursor_context(operation: &str, caller: &Caller) -> Vec<u8> {
    [operation.as_bytes(), b"\0", &caller.binding()].concat()
}

/// The place that a cursor holds, if it was made for this.
pub(crate) fn open_cursor(
    cursors: &Sealer,
    context: &[u8],
    cursor: &str,
) -> Result<String, Refused> {
    let place = cursors.open(context, cursor).map_err(|_| wrong_cursor())?;
    String::from_utf8(place).map_err(|_| wrong_cursor())
}

/// The number of rows asked for.
pub(crate) fn page_limit(limit: Option<u32>) -> Result<u32, Refused> {
    match limit.unwrap_or(USUAL_LIMIT) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Refused::params(format!("limit: expected 1 to {MOST}"))),
    }
}

pub(crate) fn wrong_cursor() -> Refused {
    Refused::params("cursor: expected next_cursor of the page before, unchanged")
}
