//! One question as Cedar takes it: the handful of entities that it needs and its context, built by hand.
//! Arguments never pass through Cedar's JSON, where a crafted object could name an entity.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    Response, RestrictedExpression as Value,
};
use gateway_core::caller::{PrincipalKind, User};
use gateway_core::json::{Json, Kind};
use time::format_description::well_known::Rfc3339;

use crate::condition::View;
use crate::number::Decimal;
use crate::path::{Leaf, Path};
use crate::slice::{Slice, Slices, attributes, email};
use crate::statement::{ARGUMENTS, TargetKind};

/// Cedar's engine and the names of our entities, parsed once.
#[derive(Debug)]
pub(crate) struct Engine {
    authorizer: Authorizer,
    user: EntityTypeName,
    agent: EntityTypeName,
    group: EntityTypeName,
    role: EntityTypeName,
    server: EntityTypeName,
    targets: [EntityTypeName; 3],
    actions: [EntityUid; 3],
    carriers: [EntityUid; 4],
    attributes: EntityUid,
}

/// What a question is about.
pub(crate) struct Asked<'a, 'v> {
    pub(crate) user: &'a User,
    pub(crate) slices: &'a Slices,
    pub(crate) slice: &'a Slice,
    pub(crate) view: &'a View<'v>,
    pub(crate) held: Vec<Value>,
    pub(crate) confirmed: bool,
}

impl Engine {
    /// Fails only if the names below were no Cedar names.
    pub(crate) fn new() -> Result<Engine, String> {
        let name = |text: &str| EntityTypeName::from_str(text).map_err(|e| e.to_string());
        let uid = |text: &str, id: &str| Ok::<_, String>(entity_uid(&name(text)?, id));
        let [tool, resource, prompt] = TargetKind::ALL;
        Ok(Engine {
            authorizer: Authorizer::new(),
            user: name("User")?,
            agent: name("Agent")?,
            group: name("Group")?,
            role: name("Role")?,
            server: name("Server")?,
            targets: [
                name(tool.entity_type())?,
                name(resource.entity_type())?,
                name(prompt.entity_type())?,
            ],
            actions: [
                uid("Action", tool.action())?,
                uid("Action", resource.action())?,
                uid("Action", prompt.action())?,
            ],
            carriers: [
                uid("Text", "arguments")?,
                uid("Number", "arguments")?,
                uid("Truth", "arguments")?,
                uid("Kind", "arguments")?,
            ],
            attributes: uid("Attributes", "principal")?,
        })
    }

    /// Cedar's answer; `None` when the question cannot be put, which is a denial.
    pub(crate) fn ask(&self, set: &PolicySet, asked: Asked<'_, '_>) -> Option<Response> {
        let kind = TargetKind::of(asked.view.target) as usize;
        let principal = self.principal_uid(asked.user);
        let slug = asked.view.server.slug.as_str();
        let target =
            entity_uid(&self.targets[kind], &format!("{slug}/{}", asked.view.target.name()));
        let mut entities = vec![
            self.principal(principal.clone(), &asked)?,
            self.target(target.clone(), slug, &asked)?,
        ];
        if asked.slice.raw || asked.slice.attributes {
            entities.push(self.attributes(asked.user)?);
        }
        let mut context = vec![
            ("held".to_owned(), Value::new_set(asked.held)),
            ("confirmed".to_owned(), Value::new_bool(asked.confirmed)),
        ];
        context.extend(circumstances(asked.view, &asked.slice.reads)?);
        if ARGUMENTS.iter().any(|carrier| asked.slice.reads.contains(*carrier)) {
            entities.extend(self.arguments(asked.view, &asked.slice.paths)?);
            let names = ARGUMENTS.into_iter().zip(&self.carriers);
            context
                .extend(names.map(|(n, uid)| (n.to_owned(), Value::new_entity_uid(uid.clone()))));
        }
        let context = Context::from_pairs(context).ok()?;
        let action = self.actions[kind].clone();
        let request = Request::new(principal, action, target, context, None).ok()?;
        let entities = Entities::from_entities(entities, None).ok()?;
        Some(self.authorizer.is_authorized(&request, set, &entities))
    }

    /// User::"bob@example.com" or Agent::"indexer": no name of the one kind is one of the other.
    fn principal_uid(&self, principal: &User) -> EntityUid {
        match principal.kind {
            PrincipalKind::Person => entity_uid(&self.user, &email(principal)),
            PrincipalKind::Agent => entity_uid(&self.agent, &principal.name),
        }
    }

    fn principal(&self, uid: EntityUid, asked: &Asked<'_, '_>) -> Option<Entity> {
        let groups = asked.slices.groups(asked.user).map(|name| entity_uid(&self.group, name));
        let roles = asked.slices.roles(asked.user).map(|name| entity_uid(&self.role, name));
        let parents: HashSet<EntityUid> = groups.chain(roles).collect();
        if !asked.slice.raw && !asked.slice.attributes {
            return Some(Entity::new_no_attrs(uid, parents));
        }
        let attributes = HashMap::from([
            ("email".to_owned(), Value::new_string(email(asked.user).into_owned())),
            ("name".to_owned(), Value::new_string(asked.user.name.clone())),
            ("attributes".to_owned(), Value::new_entity_uid(self.attributes.clone())),
        ]);
        Entity::new(uid, attributes, parents).ok()
    }

    /// The person's attributes, as tags.
    fn attributes(&self, user: &User) -> Option<Entity> {
        let set =
            |values: &Vec<String>| Value::new_set(values.iter().cloned().map(Value::new_string));
        let tags = attributes(user).map(|(name, values)| (name.clone(), set(values)));
        Entity::new_with_tags(self.attributes.clone(), [], [], tags).ok()
    }

    fn target(&self, uid: EntityUid, slug: &str, asked: &Asked<'_, '_>) -> Option<Entity> {
        let view = asked.view;
        let name = Value::new_string(view.target.name().to_owned());
        let mut attributes = HashMap::from([("name".to_owned(), name)]);
        if asked.slice.raw {
            let labels = view.server.labels.iter().map(|label| label.as_str().to_owned());
            attributes.insert("labels".to_owned(), Value::new_set(labels.map(Value::new_string)));
        }
        if asked.slice.raw && TargetKind::of(view.target) == TargetKind::Tool {
            let tool = view.server.tool(view.target.name());
            let annotations = tool.into_iter().flat_map(|tool| tool.annotations.iter().cloned());
            let annotations = Value::new_set(annotations.map(Value::new_string));
            attributes.insert("annotations".to_owned(), annotations);
        }
        Entity::new(uid, attributes, HashSet::from([entity_uid(&self.server, slug)])).ok()
    }

    /// The arguments that raw Cedar names, as tags of four entities, one for each type; `None` when one of
    /// them has a twin, which a rule could not tell.
    fn arguments(&self, view: &View<'_>, paths: &HashSet<String>) -> Option<Vec<Entity>> {
        let mut tags: [HashMap<String, Value>; 4] = Default::default();
        for path in paths {
            let (mut found, mut has_twin) = (None, false);
            if let Some(parsed) = Path::parse(path) {
                parsed.any(view.arguments, &mut |leaf| {
                    match leaf {
                        Leaf::Value(value) => found = Some(value),
                        Leaf::Twin => has_twin = true,
                        Leaf::Absent | Leaf::Obstructed => {}
                    }
                    false
                });
            }
            if has_twin {
                return None;
            }
            if let Some(value) = found {
                for (carrier, tag) in tags_of(value) {
                    tags[carrier].insert(path.clone(), tag);
                }
            }
        }
        let carriers = self.carriers.iter().cloned().zip(tags);
        carriers.map(|(uid, tags)| Entity::new_with_tags(uid, [], [], tags).ok()).collect()
    }
}

fn entity_uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

/// Only what is read: an address and a time are not cheap to make.
fn circumstances(view: &View<'_>, reads: &HashSet<String>) -> Option<Vec<(String, Value)>> {
    let mut pairs = vec![];
    if reads.contains("client") {
        let client = view.circumstances.client.clone();
        pairs.push(("client".to_owned(), Value::new_string(client)));
    }
    if reads.contains("ip") {
        let ip = view.circumstances.ip.to_canonical().to_string();
        pairs.push(("ip".to_owned(), Value::new_ip(ip)));
    }
    if reads.contains("now") {
        let now = view.circumstances.now.to_offset(time::UtcOffset::UTC);
        // Cedar's datetime has no more than milliseconds; seconds are enough.
        let now = now.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?;
        pairs.push(("now".to_owned(), Value::new_datetime(now)));
    }
    Some(pairs)
}

/// A value's tags: which carrier (text, number, truth, kind) and what.
fn tags_of(value: Json<'_>) -> Vec<(usize, Value)> {
    let (kind, tag) = match value.kind() {
        Kind::Null => ("null", None),
        Kind::Bool => ("boolean", value.as_bool().map(|truth| (2, Value::new_bool(truth)))),
        Kind::Number => {
            let whole = value.as_number().and_then(|number| Decimal::parse(number).to_i64());
            ("number", whole.map(|number| (1, Value::new_long(number))))
        }
        Kind::String => ("text", value.as_str().map(|t| (0, Value::new_string(t.into_owned())))),
        Kind::Array => ("list", None),
        Kind::Object => ("object", None),
    };
    tag.into_iter().chain([(3, Value::new_string(kind.to_owned()))]).collect()
}
