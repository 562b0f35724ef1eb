//! Operations on people. Nobody is deleted here: whoever is deactivated loses every key, token, session and stream
//! at once, and the trail keeps their name.

use gateway_core::caller::{Attributes, Role};
use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::people::{KeptBy, NewUser, PeopleFilter, Person, Seen, UserEdit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::duty::{edited, kept_elsewhere, roles, scim, themself};
use super::run::{Page, Run, page_limit};
use super::{Change, answer, rfc3339};
use crate::desired_state::names::attributes as read;
use crate::perform::{About, Answer, Planned, Refused};

const LONGEST: usize = 200;

/// Of `list_users`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    /// Part of address or name.
    #[serde(default)]
    pub query: Option<String>,
    /// Who holds this role.
    #[serde(default)]
    pub role: Option<String>,
    /// Who is in this group, by name.
    #[serde(default)]
    pub group: Option<String>,
    /// true: active only; false: deactivated only.
    #[serde(default)]
    pub active: Option<bool>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `get_user`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetUser {
    /// E-mail address or id.
    pub user: String,
}

/// Of `create_user`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// E-mail address.
    pub email: String,
    /// Display name.
    #[serde(default)]
    pub name: Option<String>,
    /// See list_roles.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Names of groups that exist.
    #[serde(default)]
    pub groups: Option<Vec<String>>,
    /// A text, or a list of texts, by name.
    #[serde(default)]
    pub attributes: Option<Map<String, Value>>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `update_user`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// E-mail address or id.
    pub user: String,
    /// Display name.
    #[serde(default)]
    pub name: Option<String>,
    /// All that the person shall hold.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// false ends all access at once.
    #[serde(default)]
    pub active: Option<bool>,
    /// All that are given here; they count before the provider's.
    #[serde(default)]
    pub attributes: Option<Map<String, Value>>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A person in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UserRow {
    /// Their id.
    pub id: String,
    /// E-mail address.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Platform roles.
    pub roles: Vec<&'static str>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Values by name.
    pub attributes: Attributes,
    /// False: no access.
    pub active: bool,
    /// `gateway`, `desired_state`, `identity_provider` or `scim`.
    pub kept_by: &'static str,
}

/// A person in detail.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UserDetail {
    /// The person.
    #[serde(flatten)]
    pub row: UserRow,
    /// Names of the agent accounts that they answer for.
    pub agent_accounts: Vec<String>,
    /// Slugs of the servers that they administer.
    pub administers: Vec<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// When the trail last saw them, RFC 3339.
    pub last_seen: Option<String>,
}

impl ListUsers {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let limit = page_limit(self.limit)?;
        let role = self.role.map(|role| roles(&[role])).transpose()?;
        let filter = PeopleFilter {
            query: self.query,
            role: role.and_then(|roles| roles.first().copied()),
            group: self.group,
            active: self.active,
        };
        let after = self.cursor.as_deref().map(|cursor| run.open_cursor(cursor)).transpose()?;
        let found = run.governance.store.people(&filter, after.as_deref(), limit + 1).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().filter(|_| more).map(|last| last.user.email.clone());
        let next_cursor = last.map(|last| run.seal_cursor(&last));
        answer(&Page { data: found.iter().map(row).collect(), next_cursor })
    }
}

impl GetUser {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let known = run.person(&self.user);
        let known = known.filter(|user| run.may(user.id == run.user().id)).ok_or_else(absent)?;
        let person = person(run, known.id).await?;
        let last_seen = run.governance.store.last_seen(known.id).await.map_err(Refused::store)?;
        let snapshot = &run.snapshot;
        let servers = snapshot.servers.iter().filter(|server| server.admins.contains(&known.id));
        answer(&UserDetail {
            row: row(&person),
            agent_accounts: agents(run, known.id),
            administers: servers.map(|server| server.slug.to_string()).collect(),
            created_at: rfc3339(person.created_at),
            updated_at: rfc3339(person.updated_at),
            last_seen: last_seen.map(rfc3339),
        })
    }
}

impl CreateUser {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let email = address(&self.email)?;
        let name = checked_name(self.name.unwrap_or_default())?;
        let roles = roles(&self.roles.unwrap_or_default())?;
        run.may_give("roles", &roles)?;
        let given = self.attributes.as_ref().map(read_attributes).transpose()?.unwrap_or_default();
        let mut groups = self.groups.unwrap_or_default();
        groups.sort_unstable();
        groups.dedup();
        for group in &groups {
            let known = run.governance.store.group(group).await.map_err(Refused::store)?;
            match known.filter(|known| known.name == *group) {
                Some(known) => super::duty::ours(&known)?,
                None => return Err(no_group(group)),
            }
        }
        if run.snapshot.user_by_email(&email).is_some() {
            return Err(taken());
        }
        let now = run.governance.clock().now();
        let id = UserId(run.governance.next_id(now));
        let mut after = json!({
            "email": email, "name": name, "roles": names(&roles), "groups": groups, "attributes": given,
        });
        let policies = reached_by(run, &roles, &groups, &given);
        note(&mut after, "policies", json!(policies));
        Ok(Planned {
            action: ActionType::UserCreated,
            about: about(id),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after,
            change: Change::NewUser(Box::new(NewUser {
                id,
                email,
                name,
                roles,
                groups,
                given,
                now,
            })),
        })
    }
}

impl UpdateUser {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let known = run.person(&self.user).ok_or_else(absent)?;
        let person = person(run, known.id).await?;
        let edit = UserEdit {
            name: self.name.map(checked_name).transpose()?,
            roles: self.roles.as_deref().map(roles).transpose()?,
            active: self.active,
            given: self.attributes.as_ref().map(read_attributes).transpose()?,
        };
        if edit == UserEdit::default() {
            return Err(Refused::params(
                "expected at least one of name, roles, active, attributes",
            ));
        }
        check(run, &person, &edit)?;
        let (before, after) = difference(run, &person, &edit);
        let user = &person.user;
        let seen = Seen { roles: user.roles.clone(), active: user.active, by: run.by() };
        Ok(Planned {
            action: ActionType::UserUpdated,
            about: about(user.id),
            confirmed: self.confirm == Some(true),
            before,
            after,
            change: Change::EditUser { id: user.id, edit: Box::new(edit), seen },
        })
    }
}

/// Who may change that in whom.
fn check(run: &Run<'_>, person: &Person, edit: &UserEdit) -> Result<(), Refused> {
    let user = &person.user;
    run.may_act_upon("user", user)?;
    let own = user.id == run.user().id;
    if let Some(roles) = &edit.roles {
        let gained: Vec<Role> =
            roles.iter().copied().filter(|role| !user.roles.contains(role)).collect();
        if own && !gained.is_empty() {
            return Err(themself("roles"));
        }
        run.may_give("roles", &gained)?;
    }
    if own && edit.given.is_some() && !run.is_super_admin() {
        return Err(themself("attributes"));
    }
    if person.kept_by == KeptBy::Scim {
        if edit.name.is_some() {
            return Err(scim("name"));
        }
        if edit.active == Some(true) && !user.active {
            return Err(scim("active"));
        }
    }
    Ok(())
}

/// What is changed, before and after, and what comes of it.
fn difference(run: &Run<'_>, person: &Person, edit: &UserEdit) -> (Value, Value) {
    let user = &person.user;
    let (mut before, mut after) = (json!({"user": user.email}), json!({"user": user.email}));
    let mut change = |name: &str, was: Value, is: Value| {
        note(&mut before, name, was);
        note(&mut after, name, is);
    };
    if let Some(name) = &edit.name {
        change("name", json!(user.name), json!(name));
    }
    if let Some(roles) = &edit.roles {
        change("roles", json!(names(&user.roles)), json!(names(roles)));
    }
    if let Some(active) = edit.active {
        change("active", json!(user.active), json!(active));
    }
    if let Some(given) = &edit.given {
        change("attributes", json!(person.given), json!(given));
    }
    let changed = edit.roles.iter().flatten().filter(|role| !user.roles.contains(role));
    let lost =
        user.roles.iter().filter(|role| edit.roles.as_ref().is_some_and(|r| !r.contains(role)));
    let roles: Vec<Role> = changed.chain(lost).copied().collect();
    let mut attributes = edit.given.clone().unwrap_or_default();
    attributes.extend(edit.given.as_ref().map(|_| person.given.clone()).unwrap_or_default());
    note(&mut after, "policies", json!(reached_by(run, &roles, &[], &attributes)));
    if user.active && edit.active == Some(false) {
        note(&mut after, "ends", json!("sessions, tokens, keys, delegations and open streams"));
        note(&mut after, "agents_that_stop", json!(agents(run, user.id)));
    }
    note(&mut after, "warning", json!(kept_elsewhere(person.kept_by)));
    (before, after)
}

/// Policies that name one of these, by name.
fn reached_by(run: &Run<'_>, roles: &[Role], groups: &[String], given: &Attributes) -> Vec<String> {
    let mut principals: Vec<String> =
        roles.iter().map(|role| format!("role:{}", role.as_str())).collect();
    principals.extend(groups.iter().map(|group| format!("group:{group}")));
    for (name, values) in given {
        principals.extend(values.iter().map(|value| format!("attribute:{name}={value}")));
    }
    let mut names: Vec<String> = principals.iter().flat_map(|name| run.naming(name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Stores a new person.
pub(super) async fn create(run: &Run<'_>, new: NewUser) -> Result<Answer, Refused> {
    let made = run.governance.store.create_user(&new, run.by()).await.map_err(Refused::store)?;
    edited(made, TAKEN, "groups: one of them was removed meanwhile")?;
    super::seen_here(run).await;
    answer(&row(&person(run, new.id).await?))
}

/// Changes a person.
pub(super) async fn edit(
    run: &Run<'_>,
    id: UserId,
    edit: &UserEdit,
    seen: &Seen,
) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    let done = run.governance.store.edit_user(id, edit, seen, now).await.map_err(Refused::store)?;
    edited(done, "somebody changed this person meanwhile; look again", "no such person")?;
    super::seen_here(run).await;
    answer(&row(&person(run, id).await?))
}

async fn person(run: &Run<'_>, id: UserId) -> Result<Person, Refused> {
    run.governance.store.person(id).await.map_err(Refused::store)?.ok_or_else(absent)
}

fn row(person: &Person) -> UserRow {
    let user = &person.user;
    UserRow {
        id: user.id.to_string(),
        email: user.email.clone(),
        name: user.name.clone(),
        roles: names(&user.roles),
        groups: user.groups.clone(),
        attributes: user.attributes.clone(),
        active: user.active,
        kept_by: person.kept_by.as_str(),
    }
}

fn agents(run: &Run<'_>, owner: UserId) -> Vec<String> {
    let agents = run.snapshot.agents.iter().filter(|agent| agent.owner == owner);
    agents.map(|agent| agent.principal.name.clone()).collect()
}

fn names(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.as_str()).collect()
}

/// Adds a member that says something.
fn note(object: &mut Value, name: &str, value: Value) {
    let silent = value.is_null() || value.as_array().is_some_and(Vec::is_empty) && name != "roles";
    if !silent {
        object[name] = value;
    }
}

fn about(id: UserId) -> About {
    About { kind: Some("user"), name: Some(id.to_string()), server: None }
}

const TAKEN: &str = "email: somebody has this address; update_user changes them";

fn taken() -> Refused {
    Refused::new(Reason::Conflict, TAKEN)
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "user: no such person; expected an e-mail address or id")
}

fn no_group(name: &str) -> Refused {
    Refused::new(Reason::EntityNotFound, format!("groups: there is no group \"{name}\""))
}

/// Lower case, and of a plausible form.
fn address(text: &str) -> Result<String, Refused> {
    let email = text.trim().to_lowercase();
    let plausible = email.len() <= 254
        && email.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
        && !email.contains(char::is_whitespace)
        && policies::hidden_character(&email).is_none();
    plausible
        .then_some(email)
        .ok_or_else(|| Refused::params("email: expected an e-mail address, as bob@example.com"))
}

fn checked_name(name: String) -> Result<String, Refused> {
    if name.chars().count() <= LONGEST && policies::hidden_character(&name).is_none() {
        return Ok(name);
    }
    Err(Refused::params("name: expected at most 200 visible characters"))
}

fn read_attributes(written: &Map<String, Value>) -> Result<Attributes, Refused> {
    let wrong = |(field, wrong): (String, String)| Refused::params(format!("{field}: {wrong}"));
    read(written).map_err(wrong)
}
