//! People: `/Users`. Known by their e-mail address, which is the `userName`.

use gateway_core::ids::UserId;
use gateway_core::record::ActionType;
use gateway_store::scim::{NewPerson, PersonChange, Provisioned, Wanted, Written};
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::error::ScimError;
use super::patch::{Op, Step, steps};
use super::read::{Filter, Query, email, member, object, optional, text, truth};
use super::record::About;
use super::{Ask, Kind, Provisioning, list};
use crate::perform::Origin;

const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

impl Provisioning<'_> {
    pub(super) async fn users(
        &self,
        origin: &Origin,
        ask: Ask,
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Option<Value>, ScimError> {
        match ask {
            Ask::List => self.list_users(query).await.map(Some),
            Ask::Get(id) => Ok(Some(self.user_json(&self.user(id).await?))),
            Ask::Create => {
                let made = self.create_user(origin, object(body)?).await?;
                Ok(Some(self.user_json(&made)))
            }
            Ask::Replace(id) => {
                let state = whole(object(body)?)?;
                let now = self.change_user(origin, id, state).await?;
                Ok(Some(self.user_json(&now)))
            }
            Ask::Patch(id) => {
                let change = patched(&steps(object(body)?)?)?;
                let now = self.change_user(origin, id, change).await?;
                Ok(Some(self.user_json(&now)))
            }
            Ask::Delete(id) => self.delete_user(origin, id).await.map(|()| None),
        }
    }

    async fn list_users(&self, query: &Query) -> Result<Value, ScimError> {
        let mut wanted =
            Wanted { skip: query.start_index - 1, count: query.count, ..Wanted::default() };
        match &query.filter {
            None => {}
            Some(Filter::UserName(name)) => wanted.name = Some(name.to_lowercase()),
            Some(Filter::ExternalId(id)) => wanted.external_id = Some(id.clone()),
            Some(Filter::Id(id)) => {
                let Ok(id) = Uuid::parse_str(id) else { return Ok(list(0, query, vec![])) };
                wanted.id = Some(id);
            }
            Some(Filter::DisplayName(_)) => return Err(ScimError::filter()),
        }
        let found = self.governance.store.provisioned_users(&wanted).await;
        let found = found.map_err(ScimError::store)?;
        let rows = found.rows.iter().map(|user| self.user_json(user)).collect();
        Ok(list(found.total, query, rows))
    }

    async fn user(&self, id: Uuid) -> Result<Provisioned, ScimError> {
        let wanted = Wanted { id: Some(id), count: 1, ..Wanted::default() };
        let found = self.governance.store.provisioned_users(&wanted).await;
        found.map_err(ScimError::store)?.rows.pop().ok_or_else(ScimError::absent)
    }

    async fn create_user(
        &self,
        origin: &Origin,
        body: &Map<String, Value>,
    ) -> Result<Provisioned, ScimError> {
        let PersonChange { email, name, active, external_id } = whole(body)?;
        let now = self.governance.clock().now();
        let email = email.unwrap_or_default();
        let new = NewPerson {
            id: UserId(self.governance.next_id(now)),
            external_id: external_id.flatten(),
            name: name.unwrap_or_default(),
            active: active.unwrap_or(true),
            email: email.clone(),
            now,
        };
        let about = About {
            action: ActionType::UserCreated,
            kind: "user",
            name: email,
            before: Value::Null,
        };
        let work = async { written(self.governance.store.provision_user(&new).await) };
        self.change(origin, about, work, told).await
    }

    async fn change_user(
        &self,
        origin: &Origin,
        id: Uuid,
        change: PersonChange,
    ) -> Result<Provisioned, ScimError> {
        let before = self.user(id).await?;
        if change == PersonChange::default() {
            return Ok(before);
        }
        let about = About {
            action: ActionType::UserUpdated,
            kind: "user",
            name: id.to_string(),
            before: told(&before),
        };
        let now = self.governance.clock().now();
        let store = &self.governance.store;
        let work = async { written(store.change_provisioned_user(UserId(id), &change, now).await) };
        self.change(origin, about, work, told).await
    }

    async fn delete_user(&self, origin: &Origin, id: Uuid) -> Result<(), ScimError> {
        let before = self.user(id).await?;
        let about = About {
            action: ActionType::UserDeleted,
            kind: "user",
            name: id.to_string(),
            before: told(&before),
        };
        let now = self.governance.clock().now();
        let work = async { written(self.governance.store.unprovision_user(UserId(id), now).await) };
        self.change(origin, about, work, |_| Value::Null).await.map(drop)
    }

    fn user_json(&self, user: &Provisioned) -> Value {
        let at = |instant: gateway_core::Timestamp| instant.format(&Rfc3339).unwrap_or_default();
        let group = |(id, name): &(Uuid, String)| {
            json!({"value": id, "display": name, "type": "direct",
                "$ref": self.location(Kind::Groups, id)})
        };
        let mut resource = json!({
            "schemas": [SCHEMA],
            "id": user.id.to_string(),
            "userName": user.email,
            "displayName": user.name,
            "name": {"formatted": user.name},
            "active": user.active,
            "emails": [{"value": user.email, "type": "work", "primary": true}],
            "groups": user.groups.iter().map(group).collect::<Vec<_>>(),
            "meta": {
                "resourceType": "User",
                "created": at(user.created_at),
                "lastModified": at(user.updated_at),
                "location": self.location(Kind::Users, user.id),
            },
        });
        if let Some(id) = &user.external_id {
            resource["externalId"] = id.as_str().into();
        }
        resource
    }
}

fn told(user: &Provisioned) -> Value {
    json!({
        "email": user.email, "name": user.name, "active": user.active,
        "external_id": user.external_id,
    })
}

fn written(
    result: Result<Written<Provisioned>, gateway_store::StoreError>,
) -> Result<Provisioned, ScimError> {
    match result.map_err(ScimError::store)? {
        Written::Done(user) => Ok(user),
        Written::Taken => Err(ScimError::taken()),
        Written::Absent => Err(ScimError::absent()),
        Written::Foreign => Err(ScimError::foreign()),
    }
}

/// A whole resource, as for create and replace. What it does not say about access stays.
fn whole(body: &Map<String, Value>) -> Result<PersonChange, ScimError> {
    let missing = || ScimError::value("userName: missing");
    let active = member(body, "active").map(|value| truth("active", value)).transpose()?;
    let external = member(body, "externalId").unwrap_or(&Value::Null);
    Ok(PersonChange {
        email: Some(email(member(body, "userName").ok_or_else(missing)?)?),
        name: Some(display_name(body)?.unwrap_or_default()),
        active,
        external_id: Some(optional("externalId", external)?),
    })
}

fn display_name(body: &Map<String, Value>) -> Result<Option<String>, ScimError> {
    if let Some(name) = member(body, "displayName") {
        return optional("displayName", name);
    }
    let Some(parts) = member(body, "name").and_then(Value::as_object) else { return Ok(None) };
    if let Some(formatted) = member(parts, "formatted") {
        return optional("name.formatted", formatted);
    }
    let mut names = Vec::new();
    for part in ["givenName", "familyName"] {
        let Some(value) = member(parts, part) else { continue };
        names.extend(optional(part, value)?);
    }
    Ok((!names.is_empty()).then(|| names.join(" ")))
}

/// What the operations come to. Attributes that nobody here keeps are passed over.
fn patched(steps: &[Step]) -> Result<PersonChange, ScimError> {
    let mut change = PersonChange::default();
    let mut parts: [Option<String>; 2] = [None, None];
    for step in steps {
        let removes = step.op == Op::Remove;
        let name = step.attribute.as_str();
        match (name, removes) {
            ("active", false) => change.active = Some(truth("active", &step.value)?),
            ("username", false) => change.email = Some(email(&step.value)?),
            ("active" | "username", true) => {
                return Err(ScimError::value(format!("{name}: cannot be removed")));
            }
            ("displayname" | "name.formatted", false) => {
                change.name = Some(text(name, &step.value)?);
            }
            ("displayname", true) => change.name = Some(String::new()),
            ("name.givenname", false) => parts[0] = optional(name, &step.value)?,
            ("name.familyname", false) => parts[1] = optional(name, &step.value)?,
            ("name", false) => {
                let body = Map::from_iter([("name".to_owned(), step.value.clone())]);
                change.name = display_name(&body)?.or(change.name);
            }
            ("externalid", false) => {
                change.external_id = Some(optional("externalId", &step.value)?);
            }
            ("externalid", true) => change.external_id = Some(None),
            _ => {}
        }
    }
    if let ([Some(given), Some(family)], None) = (&parts, &change.name) {
        change.name = Some(format!("{given} {family}"));
    }
    Ok(change)
}
