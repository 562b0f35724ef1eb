//! Groups: `/Groups`. Known by their name, the `displayName`, which policies use.

use gateway_core::ids::UserId;
use gateway_core::record::ActionType;
use gateway_store::scim::{GroupChange, NewGroup, ProvisionedGroup, Wanted, Written};
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::error::ScimError;
use super::patch::{Op, Step, steps};
use super::read::{Filter, Query, member, members, object, optional, text};
use super::record::About;
use super::{Ask, Kind, Provisioning, list};
use crate::perform::Origin;

const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

impl Provisioning<'_> {
    pub(super) async fn groups(
        &self,
        origin: &Origin,
        ask: Ask,
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Option<Value>, ScimError> {
        let shown = |group: &ProvisionedGroup| self.group_json(group, query);
        match ask {
            Ask::List => self.list_groups(query).await.map(Some),
            Ask::Get(id) => Ok(Some(shown(&self.group(id).await?))),
            Ask::Create => Ok(Some(shown(&self.create_group(origin, object(body)?).await?))),
            Ask::Replace(id) => {
                let change = whole(object(body)?)?;
                Ok(Some(shown(&self.change_group(origin, id, change).await?)))
            }
            Ask::Patch(id) => {
                let change = patched(&steps(object(body)?)?)?;
                Ok(Some(shown(&self.change_group(origin, id, change).await?)))
            }
            Ask::Delete(id) => self.delete_group(origin, id).await.map(|()| None),
        }
    }

    async fn list_groups(&self, query: &Query) -> Result<Value, ScimError> {
        let mut wanted =
            Wanted { skip: query.start_index - 1, count: query.count, ..Wanted::default() };
        match &query.filter {
            None => {}
            Some(Filter::DisplayName(name)) => wanted.name = Some(name.clone()),
            Some(Filter::ExternalId(id)) => wanted.external_id = Some(id.clone()),
            Some(Filter::Id(id)) => {
                let Ok(id) = Uuid::parse_str(id) else { return Ok(list(0, query, vec![])) };
                wanted.id = Some(id);
            }
            Some(Filter::UserName(_)) => return Err(ScimError::filter()),
        }
        let found = self.governance.store.provisioned_groups(&wanted).await;
        let found = found.map_err(ScimError::store)?;
        let rows = found.rows.iter().map(|group| self.group_json(group, query)).collect();
        Ok(list(found.total, query, rows))
    }

    async fn group(&self, id: Uuid) -> Result<ProvisionedGroup, ScimError> {
        let wanted = Wanted { id: Some(id), count: 1, ..Wanted::default() };
        let found = self.governance.store.provisioned_groups(&wanted).await;
        found.map_err(ScimError::store)?.rows.pop().ok_or_else(ScimError::absent)
    }

    async fn create_group(
        &self,
        origin: &Origin,
        body: &Map<String, Value>,
    ) -> Result<ProvisionedGroup, ScimError> {
        let GroupChange { name, external_id, members, .. } = whole(body)?;
        let now = self.governance.clock().now();
        let new = NewGroup {
            id: self.governance.next_id(now),
            external_id: external_id.flatten(),
            name: name.unwrap_or_default(),
            members: members.unwrap_or_default(),
            now,
        };
        let about = About {
            action: ActionType::GroupCreated,
            kind: "group",
            name: new.name.clone(),
            before: Value::Null,
        };
        let work = async { written(self.governance.store.provision_group(&new).await) };
        self.change(origin, about, work, told).await
    }

    async fn change_group(
        &self,
        origin: &Origin,
        id: Uuid,
        change: GroupChange,
    ) -> Result<ProvisionedGroup, ScimError> {
        let before = self.group(id).await?;
        if change == GroupChange::default() {
            return Ok(before);
        }
        let about = About {
            action: ActionType::GroupUpdated,
            kind: "group",
            name: id.to_string(),
            before: told(&before),
        };
        let store = &self.governance.store;
        let work = async { written(store.change_provisioned_group(id, &change).await) };
        self.change(origin, about, work, told).await
    }

    async fn delete_group(&self, origin: &Origin, id: Uuid) -> Result<(), ScimError> {
        let before = self.group(id).await?;
        let about = About {
            action: ActionType::GroupDeleted,
            kind: "group",
            name: id.to_string(),
            before: told(&before),
        };
        let work = async {
            match self.governance.store.unprovision_group(id).await.map_err(ScimError::store)? {
                Written::Absent => Err(ScimError::absent()),
                Written::Foreign => Err(ScimError::foreign()),
                Written::Done(_) | Written::Taken => Ok(()),
            }
        };
        self.change(origin, about, work, |()| Value::Null).await
    }

    fn group_json(&self, group: &ProvisionedGroup, query: &Query) -> Value {
        let at = group.created_at.format(&Rfc3339).unwrap_or_default();
        let mut resource = json!({
            "schemas": [SCHEMA],
            "id": group.id,
            "displayName": group.name,
            "meta": {
                "resourceType": "Group",
                "created": at,
                "location": self.location(Kind::Groups, group.id),
            },
        });
        if let Some(id) = &group.external_id {
            resource["externalId"] = id.as_str().into();
        }
        if !query.without_members {
            let member = |(id, email): &(UserId, String)| {
                json!({"value": id.to_string(), "display": email, "type": "User",
                    "$ref": self.location(Kind::Users, id)})
            };
            resource["members"] = group.members.iter().map(member).collect();
        }
        resource
    }
}

fn told(group: &ProvisionedGroup) -> Value {
    let members: Vec<&str> = group.members.iter().map(|(_, email)| email.as_str()).collect();
    json!({"name": group.name, "external_id": group.external_id, "members": members})
}

fn written(
    result: Result<Written<ProvisionedGroup>, gateway_store::StoreError>,
) -> Result<ProvisionedGroup, ScimError> {
    match result.map_err(ScimError::store)? {
        Written::Done(group) => Ok(group),
        Written::Taken => Err(ScimError::taken()),
        Written::Absent => Err(ScimError::value("members: one of them is no user")),
        Written::Foreign => Err(ScimError::foreign()),
    }
}

/// A whole resource, as for create and replace.
fn whole(body: &Map<String, Value>) -> Result<GroupChange, ScimError> {
    let missing = || ScimError::value("displayName: missing");
    let external = member(body, "externalId").unwrap_or(&Value::Null);
    let ids = match member(body, "members") {
        None | Some(Value::Null) => vec![],
        Some(value) => members(value)?,
    };
    Ok(GroupChange {
        name: Some(text("displayName", member(body, "displayName").ok_or_else(missing)?)?),
        external_id: Some(optional("externalId", external)?),
        members: Some(ids.into_iter().map(UserId).collect()),
        ..GroupChange::default()
    })
}

/// What the operations come to, in their order.
fn patched(steps: &[Step]) -> Result<GroupChange, ScimError> {
    let mut change = GroupChange::default();
    for step in steps {
        match (step.attribute.as_str(), step.op) {
            ("displayname", Op::Add | Op::Replace) => {
                change.name = Some(text("displayName", &step.value)?);
            }
            ("displayname", Op::Remove) => {
                return Err(ScimError::value("displayName: cannot be removed"));
            }
            ("externalid", Op::Add | Op::Replace) => {
                change.external_id = Some(optional("externalId", &step.value)?);
            }
            ("externalid", Op::Remove) => change.external_id = Some(None),
            ("members", op) => change_members(&mut change, op, step)?,
            _ => {}
        }
    }
    Ok(change)
}

fn change_members(change: &mut GroupChange, op: Op, step: &Step) -> Result<(), ScimError> {
    let chosen = step.chosen.as_deref().map(|id| {
        Uuid::parse_str(id).map_err(|_| ScimError::value("members: expected the id of a user"))
    });
    let ids: Option<Vec<UserId>> = match (chosen.transpose()?, &step.value) {
        (Some(id), _) => Some(vec![UserId(id)]),
        (None, Value::Null) => None,
        (None, value) => Some(members(value)?.into_iter().map(UserId).collect()),
    };
    match (op, ids) {
        (Op::Add, Some(ids)) => {
            change.leave.retain(|id| !ids.contains(id));
            change.join.extend(ids);
        }
        (Op::Replace, Some(ids)) => {
            (change.join, change.leave) = (vec![], vec![]);
            change.members = Some(ids);
        }
        (Op::Remove, Some(ids)) => {
            change.join.retain(|id| !ids.contains(id));
            if let Some(members) = &mut change.members {
                members.retain(|id| !ids.contains(id));
            }
            change.leave.extend(ids);
        }
        (Op::Remove, None) => {
            (change.join, change.leave) = (vec![], vec![]);
            change.members = Some(vec![]);
        }
        (Op::Add | Op::Replace, None) => {
            return Err(ScimError::value("members: expected a list of users"));
        }
    }
    Ok(())
}
