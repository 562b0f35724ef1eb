//! Makes groups, people, servers, policies, limits and the scanners' settings what an operator's file says, by their natural keys (name,
//! e-mail, slug, name), all or nothing. Whether the content makes sense (policies that compile, URLs) was
//! checked before it came here.
//!
//! A plan is the same work in the same transaction, rolled back: it cannot differ from what apply does.

mod limits;
mod people;
mod scanners;
mod things;

use std::collections::HashSet;
use std::fmt;

use gateway_core::caller::{Attributes, Role};
use gateway_core::ids::Slug;
use gateway_core::label::Label;
use gateway_core::server::{ServerStatus, UpstreamAuth};
use serde::Serialize;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

/// What should be.
#[derive(Debug, Clone, Default)]
pub struct DesiredState {
    /// Groups of people.
    pub groups: Vec<DesiredGroup>,
    /// People.
    pub users: Vec<DesiredUser>,
    /// Servers.
    pub servers: Vec<DesiredServer>,
    /// Policies, in order.
    pub policies: Vec<DesiredPolicy>,
    /// Limits on calls.
    pub limits: Vec<DesiredLimit>,
    /// Settings of the scanners, of the organisation and of servers that the file has.
    pub scanners: Vec<DesiredScanners>,
}

/// A group.
#[derive(Debug, Clone)]
pub struct DesiredGroup {
    /// Its name, the key.
    pub name: String,
}

/// A person.
#[derive(Debug, Clone)]
pub struct DesiredUser {
    /// The key; stored in lower case.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Platform roles.
    pub roles: Vec<Role>,
    /// Names of groups, which must exist in the file or the catalogue.
    pub groups: Vec<String>,
    /// False: no credential of theirs works.
    pub active: bool,
    /// Exactly these attributes, as given here; `None` leaves them as they are.
    pub attributes: Option<Attributes>,
}

/// A server.
#[derive(Debug, Clone)]
pub struct DesiredServer {
    /// The key.
    pub slug: Slug,
    /// Shown to people; `None` leaves it as it is, a new server gets its slug.
    pub title: Option<String>,
    /// Shown to people; `None` leaves it as it is.
    pub description: Option<String>,
    /// Where it is; `None` only for the server in this process, `runlayer`.
    pub url: Option<String>,
    /// How the gateway signs in there.
    pub auth: UpstreamAuth,
    /// Whether calls may go there; `None` leaves it as it is, a new server is active.
    pub status: Option<ServerStatus>,
    /// An https URL or a small data URI; `None` leaves it as it is, the empty text takes it away.
    pub icon: Option<String>,
    /// Whether what calls say and give is withheld from most readers; `None` leaves it as it is.
    pub sensitive: Option<bool>,
    /// What flows to and from it, sorted, each once; `None` leaves them as they are.
    pub labels: Option<Vec<Label>>,
    /// E-mail addresses of those who administer it, who must be in the file or the catalogue; `None` leaves
    /// them as they are.
    pub admins: Option<Vec<String>>,
}

/// A policy.
#[derive(Debug, Clone)]
pub struct DesiredPolicy {
    /// The key.
    pub name: String,
    /// The specification, JSON text in one canonical spelling: it is compared as text.
    pub spec_json: String,
}

/// A limit on calls.
#[derive(Debug, Clone)]
pub struct DesiredLimit {
    /// The key.
    pub name: String,
    /// The specification, JSON text in one canonical spelling: it is compared as text.
    pub spec_json: String,
}

/// Settings of the scanners.
#[derive(Debug, Clone)]
pub struct DesiredScanners {
    /// Whose, the key; `None`: the organisation's.
    pub server: Option<Slug>,
    /// The settings, JSON text in one canonical spelling: it is compared as text. `None`: there are to be none.
    pub settings_json: Option<String>,
}

/// What is done with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there.
    Created,
    /// It was different.
    Updated,
    /// It is not in the file, and pruning was asked for.
    Deleted,
    /// It is as it should be.
    Unchanged,
}

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// A group of people.
    Group,
    /// A person.
    User,
    /// A server.
    Server,
    /// A policy.
    Policy,
    /// A limit on calls.
    Limit,
    /// Settings of the scanners.
    Scanners,
}

impl Noun {
    /// The name in plans and audit rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Noun::Group => "group",
            Noun::User => "user",
            Noun::Server => "server",
            Noun::Policy => "policy",
            Noun::Limit => "limit",
            Noun::Scanners => "scanners",
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is done.
    pub kind: ChangeKind,
    /// With what kind of thing.
    pub noun: Noun,
    /// Its natural key.
    pub name: String,
    /// Its id; of a thing that a plan would create, one that it will not have.
    pub id: uuid::Uuid,
    /// What differs, where it is updated.
    pub fields: Vec<FieldChange>,
}

/// A field of an updated thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The field's name in the desired state.
    pub field: &'static str,
    /// What it was.
    pub before: String,
    /// What it becomes.
    pub after: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Created => '+',
            ChangeKind::Updated => '~',
            ChangeKind::Deleted => '-',
            ChangeKind::Unchanged => '=',
        };
        write!(f, "{sign} {} {}", self.noun.as_str(), self.name)?;
        for change in &self.fields {
            write!(f, "\n    {}: {} -> {}", change.field, change.before, change.after)?;
        }
        Ok(())
    }
}

impl Store {
    /// What [`Store::apply`] would do at this moment. Writes nothing.
    pub async fn plan(&self, state: &DesiredState, prune: bool) -> Result<Vec<Change>, StoreError> {
        self.within("plan a desired state", async {
            let mut transaction = self.change().await?;
            let changes = carry_out(&mut transaction, state, prune).await?;
            transaction.rollback().await?;
            Ok(changes)
        })
        .await
    }

    /// Makes the catalogue what `state` says. Without `prune` nothing is removed; with it goes what an
    /// earlier apply made and `state` no longer has.
    pub async fn apply(
        &self,
        state: &DesiredState,
        prune: bool,
    ) -> Result<Vec<Change>, StoreError> {
        self.within("apply a desired state", async {
            let mut transaction = self.change().await?;
            let changes = carry_out(&mut transaction, state, prune).await?;
            transaction.commit().await?;
            Ok(changes)
        })
        .await
    }
}

async fn carry_out(
    connection: &mut PgConnection,
    state: &DesiredState,
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    refuse_doubles("group", state.groups.iter().map(|group| group.name.clone()))?;
    refuse_doubles("user", state.users.iter().map(|user| user.email.to_lowercase()))?;
    refuse_doubles("server", state.servers.iter().map(|server| server.slug.to_string()))?;
    refuse_doubles("policy", state.policies.iter().map(|policy| policy.name.clone()))?;
    refuse_doubles("limit", state.limits.iter().map(|limit| limit.name.clone()))?;
    let mut changes = people::groups(connection, &state.groups, prune).await?;
    changes.extend(people::users(connection, &state.users, prune).await?);
    changes.extend(things::servers(connection, &state.servers, prune).await?);
    changes.extend(things::policies(connection, &state.policies, prune).await?);
    changes.extend(limits::limits(connection, &state.limits, prune).await?);
    changes.extend(scanners::scanners(connection, &state.scanners, prune).await?);
    Ok(changes)
}

fn refuse_doubles(noun: &str, names: impl Iterator<Item = String>) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    for name in names {
        if name.contains('\0') {
            return Err(StoreError::Invalid(format!("{noun} {name:?}: NUL in its name")));
        }
        if !seen.insert(name.clone()) {
            return Err(StoreError::Invalid(format!("{noun} \"{name}\" is named twice")));
        }
    }
    Ok(())
}

/// Collects what differs in one thing.
#[derive(Default)]
struct Diff(Vec<FieldChange>);

impl Diff {
    fn field(&mut self, field: &'static str, before: impl Into<String>, after: impl Into<String>) {
        let (before, after) = (before.into(), after.into());
        if before != after {
            self.0.push(FieldChange { field, before, after });
        }
    }

    /// The same of values that are not shown as they are.
    fn shown<T: PartialEq>(
        &mut self,
        field: &'static str,
        (before, after): (T, T),
        show: impl Fn(T) -> String,
    ) {
        if before != after {
            self.0.push(FieldChange { field, before: show(before), after: show(after) });
        }
    }

    fn into_change(self, noun: Noun, name: &str, id: uuid::Uuid) -> Change {
        let kind = if self.0.is_empty() { ChangeKind::Unchanged } else { ChangeKind::Updated };
        Change { kind, noun, name: name.to_owned(), id, fields: self.0 }
    }
}

fn whole(kind: ChangeKind, noun: Noun, name: &str, id: uuid::Uuid) -> Change {
    Change { kind, noun, name: name.to_owned(), id, fields: Vec::new() }
}
