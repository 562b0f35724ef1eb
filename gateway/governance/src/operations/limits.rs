//! Operations on limits: how often whose calls pass, and how many a day.

use std::sync::Arc;

use gateway_core::caller::User;
use gateway_core::ids::LimitId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::limit::StoredLimit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::run::Run;
use super::{Change, answer};
use crate::limits::spec::{BudgetSpec, Counts, Limit, LimitSpec, RateSpec};
use crate::perform::{About, Answer, Planned, Refused};

/// People and agents whom a preview names.
const NAMED: usize = 10;

/// Of `list_limits`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListLimits {
    /// Only limits that count calls on this server: id or slug.
    #[serde(default)]
    pub server_id: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `set_limit`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// A limit of that name is replaced.
    pub name: String,
    /// user:EMAIL group:NAME role:NAME agent:NAME attribute:N=V everyone
    pub principals: Vec<String>,
    /// For each of them (if absent) or all together.
    #[serde(default)]
    pub counts: Counts,
    /// A slug, or * for every server.
    pub server: String,
    /// Globs; without them every tool, resource and prompt.
    #[serde(default)]
    pub tools: Option<Vec<String>>,
    /// Give this or budget.
    #[serde(default)]
    pub rate: Option<RateSpec>,
    /// Give this or rate.
    #[serde(default)]
    pub budget: Option<BudgetSpec>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `delete_limit`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteLimit {
    /// The limit's name.
    pub name: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LimitRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whose calls.
    pub principals: Vec<String>,
    /// Of each of them, or of all together.
    pub counts: Counts,
    /// A slug, or *.
    pub server: String,
    /// Globs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// So many calls in some time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSpec>,
    /// So many calls a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
    /// Of a budget: who has made how many calls today, the most first; reported every few seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_today: Option<Vec<UseRow>>,
}

/// Calls of today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UseRow {
    /// An e-mail address, `agent:NAME`, or `together`.
    pub who: String,
    /// Calls that passed.
    pub calls: u64,
}

/// What `delete_limit` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LimitDeleted {
    /// The limit.
    pub name: String,
    /// True.
    pub deleted: bool,
}

impl ListLimits {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let server = self.server_id.as_deref().map(|name| run.server(name)).transpose()?;
        let about = |limit: &&Arc<Limit>| {
            server.as_ref().is_none_or(|server| limit.is_about(server.slug.as_str()))
        };
        let shown = run.snapshot.limits.all.iter().filter(about).cloned().collect();
        let page = run.page::<Arc<Limit>>(shown, self.limit, self.cursor.as_deref())?;
        let used = run.governance.limits().used(&page.data).await.map_err(Refused::store)?;
        let row = |limit: &Arc<Limit>| {
            let used = used.get(&limit.id).map(Vec::as_slice).unwrap_or_default();
            let rows = used.iter().map(|(subject, calls)| use_row(run, *subject, *calls));
            LimitRow {
                used_today: limit.spec.budget.is_some().then(|| rows.collect()),
                ..row(limit)
            }
        };
        let data = page.data.iter().map(row).collect();
        answer(&super::Page { data, next_cursor: page.next_cursor })
    }
}

impl SetLimit {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let confirmed = self.confirm == Some(true);
        let SetLimit { name, principals, counts, server, tools, rate, budget, .. } = self;
        let spec = LimitSpec { name, principals, counts, server, tools, rate, budget };
        let known = find(run, &spec.name);
        let now = run.governance.clock().now();
        let id = known.map_or_else(|| LimitId(run.governance.next_id(now)), |known| known.id);
        let limit = Limit::read(id, spec).map_err(|(field, expected)| {
            Refused::params(format!("{field}: expected {expected}"))
        })?;
        expect_known(run, &limit.spec)?;
        let action = match known {
            Some(_) => ActionType::LimitUpdated,
            None => ActionType::LimitCreated,
        };
        let mut after = json!(row(&limit));
        after["touches"] = touches(run, &limit);
        let spec_json = serde_json::to_string(&limit.spec)
            .map_err(|error| Refused::params(error.to_string()))?;
        Ok(Planned {
            action,
            about: about(run, &limit.spec),
            confirmed,
            before: known.map_or(Value::Null, |known| json!(row(known))),
            after,
            change: Change::SetLimit(StoredLimit { id, name: limit.spec.name, spec_json }),
        })
    }
}

impl DeleteLimit {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let found = find(run, &self.name).ok_or_else(absent)?;
        let mut before = json!(row(found));
        before["touches"] = touches(run, found);
        let name = found.spec.name.clone();
        Ok(Planned {
            action: ActionType::LimitDeleted,
            about: about(run, &found.spec),
            confirmed: self.confirm == Some(true),
            before,
            after: Value::Null,
            change: Change::DeleteLimit { id: found.id, name },
        })
    }
}

/// Stores a limit; it counts here at once, on other replicas within the revocation lag.
pub(super) async fn set(run: &Run<'_>, limit: StoredLimit) -> Result<Answer, Refused> {
    run.governance.store.set_limit(&limit).await.map_err(Refused::store)?;
    super::seen_here(run).await;
    match run.governance.snapshot().limits.all.iter().find(|known| known.spec.name == limit.name) {
        Some(known) => answer(&row(known)),
        None => Err(Refused::new(Reason::Conflict, "somebody removed it in the same moment")),
    }
}

/// Removes a limit.
pub(super) async fn delete(run: &Run<'_>, id: LimitId, name: String) -> Result<Answer, Refused> {
    if !run.governance.store.delete_limit(id).await.map_err(Refused::store)? {
        return Err(absent());
    }
    super::seen_here(run).await;
    answer(&LimitDeleted { name, deleted: true })
}

fn find<'r>(run: &'r Run<'_>, name: &str) -> Option<&'r Arc<Limit>> {
    run.snapshot.limits.all.iter().find(|limit| limit.spec.name == name)
}

/// A name that is mistyped would limit nobody.
fn expect_known(run: &Run<'_>, spec: &LimitSpec) -> Result<(), Refused> {
    if spec.server != "*" && run.snapshot.server(&spec.server).is_none() {
        return Err(Refused::params(format!("server: there is no server \"{}\"", spec.server)));
    }
    for (at, text) in spec.principals.iter().enumerate() {
        let known = match text.split_once(':') {
            Some(("user", email)) => run.snapshot.user_by_email(email).is_some(),
            Some(("agent", _)) => run.agent(text).is_some(),
            Some(_) | None => true,
        };
        if !known {
            return Err(Refused::params(format!("principals[{at}]: there is no {text}")));
        }
    }
    Ok(())
}

/// Whom a limit is about now, by number and some of them by name.
fn touches(run: &Run<'_>, limit: &Limit) -> Value {
    let active = |user: &&User| user.active && limit.has(user);
    let people = run.snapshot.users.iter().map(|user| &**user).filter(active);
    let agents = run.snapshot.agents.iter().map(|agent| &agent.principal).filter(active);
    let people: Vec<String> = people.map(|user| user.email.clone()).collect();
    let agents: Vec<String> = agents.map(|agent| format!("agent:{}", agent.name)).collect();
    let named: Vec<&String> = people.iter().chain(&agents).take(NAMED).collect();
    let on = |slug: &str| limit.is_about(slug);
    let servers = run.snapshot.servers.iter().filter(|server| on(server.slug.as_str())).count();
    json!({"people": people.len(), "agents": agents.len(), "among_them": named, "servers": servers})
}

fn use_row(run: &Run<'_>, subject: Uuid, calls: u64) -> UseRow {
    let id = gateway_core::ids::UserId(subject);
    let who = match (run.snapshot.user(id), run.snapshot.agent(id)) {
        _ if subject.is_nil() => "together".to_owned(),
        (Some(user), _) => user.email.clone(),
        (None, Some(agent)) => format!("agent:{}", agent.name),
        (None, None) => id.to_string(),
    };
    UseRow { who, calls }
}

fn row(limit: &Limit) -> LimitRow {
    let LimitSpec { name, principals, counts, server, tools, rate, budget } = limit.spec.clone();
    let id = limit.id.to_string();
    LimitRow { id, name, principals, counts, server, tools, rate, budget, used_today: None }
}

fn about(run: &Run<'_>, spec: &LimitSpec) -> About {
    let server = run.snapshot.server(&spec.server).cloned();
    About { kind: Some("limit"), name: Some(spec.name.clone()), server }
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "name: no such limit; list_limits names them")
}
