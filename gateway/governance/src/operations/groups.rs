//! Operations on groups. Their names are what policies speak of, so a preview says which policies a change meets.

use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::group::{Group, GroupEdit, Member};
use gateway_store::people::KeptBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::duty::{edited, kept_elsewhere, ours, themself};
use super::run::{Page, Run, page_limit};
use super::{Change, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};

const LONGEST_NAME: usize = 200;
const MOST_MEMBERS: usize = 500;

/// Of `list_groups`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListGroups {
    /// Part of the name.
    #[serde(default)]
    pub query: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `get_group`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetGroup {
    /// Name or id.
    pub group: String,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `create_group`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// Its name, `group:NAME` in policies.
    pub name: String,
    /// E-mail addresses or ids.
    #[serde(default)]
    pub members: Option<Vec<String>>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `update_group`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateGroup {
    /// Name or id.
    pub group: String,
    /// Its new name.
    #[serde(default)]
    pub name: Option<String>,
    /// Who joins: e-mail addresses or ids.
    #[serde(default)]
    pub add: Option<Vec<String>>,
    /// Who leaves: e-mail addresses or ids.
    #[serde(default)]
    pub remove: Option<Vec<String>>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `delete_group`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteGroup {
    /// Name or id.
    pub group: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GroupRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many people are in it.
    pub members: i64,
    /// `gateway`, `desired_state`, `identity_provider` or `scim`.
    pub kept_by: &'static str,
    /// RFC 3339.
    pub created_at: String,
}

/// A group with a page of its members.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GroupDetail {
    /// The group.
    pub group: GroupRow,
    /// Names of the policies that name it.
    pub policies: Vec<String>,
    /// Its members.
    pub data: Vec<MemberRow>,
    /// Gives the next page as `cursor`; null on the last.
    pub next_cursor: Option<String>,
}

/// Somebody in a group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MemberRow {
    /// Their id.
    pub id: String,
    /// E-mail address.
    pub email: String,
    /// Display name.
    pub name: String,
    /// False: no access.
    pub active: bool,
    /// Who put them there.
    pub kept_by: &'static str,
}

/// A group that is no more.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GroupDeleted {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// True.
    pub deleted: bool,
}

impl ListGroups {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let limit = page_limit(self.limit)?;
        let after = self.cursor.as_deref().map(|cursor| run.open_cursor(cursor)).transpose()?;
        let store = &run.governance.store;
        let found = store.groups(self.query.as_deref(), after.as_deref(), limit + 1).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next_cursor = found.last().filter(|_| more).map(|last| run.seal_cursor(&last.name));
        answer(&Page { data: found.iter().map(row).collect(), next_cursor })
    }
}

impl GetGroup {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let limit = page_limit(self.limit)?;
        let group = group(run, &self.group).await?;
        let after = self.cursor.as_deref().map(|cursor| run.open_cursor(cursor)).transpose()?;
        let store = &run.governance.store;
        let found = store.group_members(group.id, after.as_deref(), limit + 1).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next_cursor = found.last().filter(|_| more).map(|last| run.seal_cursor(&last.email));
        answer(&GroupDetail {
            policies: naming(run, &group.name),
            group: row(&group),
            data: found.iter().map(member).collect(),
            next_cursor,
        })
    }
}

impl CreateGroup {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let name = checked(&self.name)?;
        let members = people(run, "members", self.members.as_deref())?;
        if members.iter().any(|(id, _)| *id == run.user().id) && !run.is_super_admin() {
            return Err(themself("members"));
        }
        let known = run.governance.store.group(&name).await.map_err(Refused::store)?;
        if known.is_some() {
            return Err(Refused::new(Reason::Conflict, TAKEN));
        }
        let id = run.governance.next_id(run.governance.clock().now());
        let policies = naming(run, &name);
        Ok(Planned {
            action: ActionType::GroupCreated,
            about: about(id),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after: json!({"name": name, "members": emails(&members), "policies": policies}),
            change: Change::NewGroup { id, name, members: ids(members) },
        })
    }
}

impl UpdateGroup {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let group = group(run, &self.group).await?;
        ours(&group)?;
        let name =
            self.name.as_deref().map(checked).transpose()?.filter(|name| *name != group.name);
        let join = people(run, "add", self.add.as_deref())?;
        let leave = people(run, "remove", self.remove.as_deref())?;
        if name.is_none() && join.is_empty() && leave.is_empty() {
            return Err(Refused::params("expected another name, or people in add or remove"));
        }
        if join.iter().any(|person| leave.contains(person)) {
            return Err(Refused::params("add, remove: expected nobody in both"));
        }
        raises_nobody(run, &group, name.as_deref(), &join)?;
        if name.is_some() && group.kept_by == KeptBy::IdentityProvider {
            let detail =
                "name: the identity provider names this group at every sign-in; change it there";
            return Err(Refused::new(Reason::Conflict, detail));
        }
        let mut before = json!({"group": group.name, "policies": naming(run, &group.name)});
        let mut after = json!({"group": name.as_ref().unwrap_or(&group.name)});
        if let Some(name) = &name {
            after["policies"] = json!(naming(run, name));
            after["note"] = json!("policies keep the former name: change those under before");
        }
        for (field, people) in [("joins", &join), ("leaves", &leave)] {
            if !people.is_empty() {
                after[field] = json!(emails(people));
            }
        }
        before["members"] = json!(group.members);
        if let Some(warning) = kept_elsewhere(group.kept_by) {
            after["warning"] = json!(warning);
        }
        let edit = GroupEdit { name, leave: ids(leave), join: ids(join) };
        Ok(Planned {
            action: ActionType::GroupUpdated,
            about: about(group.id),
            confirmed: self.confirm == Some(true),
            before,
            after,
            change: Change::EditGroup { id: group.id, edit: Box::new(edit) },
        })
    }
}

impl DeleteGroup {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let group = group(run, &self.group).await?;
        ours(&group)?;
        let policies = naming(run, &group.name);
        let before = json!({"group": group.name, "members": group.members, "policies": policies});
        let mut after = json!({"group": null});
        if !policies.is_empty() {
            after["note"] = json!("the policies under before name nobody by it any more");
        }
        if let Some(warning) = kept_elsewhere(group.kept_by) {
            after["warning"] = json!(warning);
        }
        Ok(Planned {
            action: ActionType::GroupDeleted,
            about: about(group.id),
            confirmed: self.confirm == Some(true),
            before,
            after,
            change: Change::DeleteGroup { id: group.id, name: group.name },
        })
    }
}

/// Nobody joins a group by their own hand, nor gives one that they are in the name that a policy speaks of.
fn raises_nobody(
    run: &Run<'_>,
    group: &Group,
    name: Option<&str>,
    join: &[(UserId, String)],
) -> Result<(), Refused> {
    if run.is_super_admin() {
        return Ok(());
    }
    let me = run.user();
    if join.iter().any(|(id, _)| *id == me.id) {
        return Err(themself("add"));
    }
    let named = |name: &str| !naming(run, name).is_empty();
    if me.groups.contains(&group.name) && name.is_some_and(named) {
        return Err(themself("name"));
    }
    Ok(())
}

/// Stores a new group.
pub(super) async fn create(
    run: &Run<'_>,
    (id, name): (Uuid, String),
    members: Vec<UserId>,
) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    let store = &run.governance.store;
    let made = store.create_group((id, &name), &members, &run.by(), now).await;
    edited(made.map_err(Refused::store)?, TAKEN, "members: one of them was removed meanwhile")?;
    super::seen_here(run).await;
    answer(&row(&group(run, &id.to_string()).await?))
}

/// Changes a group.
pub(super) async fn edit(run: &Run<'_>, id: Uuid, edit: &GroupEdit) -> Result<Answer, Refused> {
    let done = run.governance.store.edit_group(id, edit, &run.by()).await;
    edited(done.map_err(Refused::store)?, TAKEN, "it was removed meanwhile")?;
    super::seen_here(run).await;
    answer(&row(&group(run, &id.to_string()).await?))
}

/// Removes a group.
pub(super) async fn delete(run: &Run<'_>, id: Uuid, name: String) -> Result<Answer, Refused> {
    let done = run.governance.store.delete_group(id, &run.by()).await;
    edited(
        done.map_err(Refused::store)?,
        "your roles changed meanwhile",
        "no such group any more",
    )?;
    super::seen_here(run).await;
    answer(&GroupDeleted { id: id.to_string(), name, deleted: true })
}

async fn group(run: &Run<'_>, name: &str) -> Result<Group, Refused> {
    let name = name.strip_prefix("group:").unwrap_or(name);
    let found = run.governance.store.group(name).await.map_err(Refused::store)?;
    found.ok_or_else(|| {
        Refused::new(Reason::EntityNotFound, "group: no such group; list_groups names them")
    })
}

fn naming(run: &Run<'_>, group: &str) -> Vec<String> {
    run.naming(&format!("group:{group}"))
}

type Someone = (UserId, String);

fn people(run: &Run<'_>, field: &str, names: Option<&[String]>) -> Result<Vec<Someone>, Refused> {
    let names = names.unwrap_or_default();
    if names.len() > MOST_MEMBERS {
        return Err(Refused::params(format!("{field}: expected at most {MOST_MEMBERS}")));
    }
    let mut people = Vec::with_capacity(names.len());
    for name in names {
        let person = run.person(name).ok_or_else(|| {
            let detail = format!("{field}: there is no person \"{name}\"");
            Refused::new(Reason::EntityNotFound, detail)
        })?;
        people.push((person.id, person.email.clone()));
    }
    people.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    people.dedup();
    Ok(people)
}

fn emails(people: &[Someone]) -> Vec<&str> {
    people.iter().map(|(_, email)| email.as_str()).collect()
}

fn ids(people: Vec<Someone>) -> Vec<UserId> {
    people.into_iter().map(|(id, _)| id).collect()
}

fn row(group: &Group) -> GroupRow {
    GroupRow {
        id: group.id.to_string(),
        name: group.name.clone(),
        members: group.members,
        kept_by: group.kept_by.as_str(),
        created_at: rfc3339(group.created_at),
    }
}

fn member(member: &Member) -> MemberRow {
    MemberRow {
        id: member.id.to_string(),
        email: member.email.clone(),
        name: member.name.clone(),
        active: member.active,
        kept_by: member.kept_by.as_str(),
    }
}

fn about(id: Uuid) -> About {
    About { kind: Some("group"), name: Some(id.to_string()), server: None }
}

const TAKEN: &str = "name: another group is called so, or your roles changed meanwhile";

fn checked(name: &str) -> Result<String, Refused> {
    let good = !name.trim().is_empty()
        && name.chars().count() <= LONGEST_NAME
        && policies::hidden_character(name).is_none();
    good.then(|| name.to_owned())
        .ok_or_else(|| Refused::params("name: expected 1 to 200 visible characters"))
}
