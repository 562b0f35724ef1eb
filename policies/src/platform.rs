//! Platform operations: which roles may do what, apart from policies about MCP calls. Rules in
//! `default/platform.cedar`; operators cannot change them.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use gateway_core::caller::{PrincipalKind, User};

use crate::slice::email;

const SCHEMA: &str = include_str!("../platform.cedarschema");
const RULES: &str = include_str!("../default/platform.cedar");

/// The compiled rules.
#[derive(Debug)]
pub(crate) struct Platform {
    rules: PolicySet,
    operations: HashMap<String, EntityUid>,
    user: EntityTypeName,
    agent: EntityTypeName,
    role: EntityTypeName,
    gateway: EntityUid,
}

/// How a caller stands to what an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stance {
    /// It is theirs: their row, a server that they may enter, for server admins a server that they administer.
    pub owns: bool,
    /// It was asked for by them or for them: nobody decides on that.
    pub about_self: bool,
}

/// Read once a process.
static PLATFORM: LazyLock<Result<Platform, String>> = LazyLock::new(Platform::new);

impl Platform {
    /// The rules; an error only if the built-in texts were wrong.
    pub(crate) fn get() -> Result<&'static Platform, String> {
        PLATFORM.as_ref().map_err(String::clone)
    }

    fn new() -> Result<Platform, String> {
        let schema = Schema::from_str(SCHEMA).map_err(|error| error.to_string())?;
        let rules = PolicySet::from_str(RULES).map_err(|error| error.to_string())?;
        let actions = schema.actions().map(|uid| (uid.id().unescaped().to_owned(), uid.clone()));
        let operations = actions.collect();
        let result = Validator::new(schema).validate(&rules, ValidationMode::Strict);
        if !result.validation_passed() {
            return Err(result.to_string());
        }
        let name = |text: &str| EntityTypeName::from_str(text).map_err(|e| e.to_string());
        let gateway = EntityUid::from_type_name_and_id(name("Gateway")?, EntityId::new("gateway"));
        Ok(Platform {
            rules,
            operations,
            user: name("User")?,
            agent: name("Agent")?,
            role: name("Role")?,
            gateway,
        })
    }

    /// Every operation, by name.
    pub(crate) fn operations(&'static self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self.operations.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// An operation that the schema does not know is denied to everyone.
    pub(crate) fn authorize(&self, user: &User, operation: &str, stance: Stance) -> bool {
        let Some(action) = self.operations.get(operation) else { return false };
        self.ask(user, action, stance).unwrap_or(false)
    }

    fn ask(&self, user: &User, action: &EntityUid, stance: Stance) -> Option<bool> {
        let uid = |name: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
        };
        let principal = match user.kind {
            PrincipalKind::Person => uid(&self.user, &email(user)),
            PrincipalKind::Agent => uid(&self.agent, &user.name),
        };
        let roles: HashSet<EntityUid> =
            user.roles.iter().map(|role| uid(&self.role, role.as_str())).collect();
        let entity = Entity::new_no_attrs(principal.clone(), roles);
        let Stance { owns, about_self } = stance;
        let facts = [("owns", owns), ("about_self", about_self)];
        let facts = facts.map(|(name, is)| (name.to_owned(), RestrictedExpression::new_bool(is)));
        let context = Context::from_pairs(facts).ok()?;
        let gateway = self.gateway.clone();
        let request = Request::new(principal, action.clone(), gateway, context, None).ok()?;
        let entities = Entities::from_entities([entity], None).ok()?;
        let response = Authorizer::new().is_authorized(&request, &self.rules, &entities);
        let failed = response.diagnostics().errors().next().is_some();
        Some(response.decision() == Decision::Allow && !failed)
    }
}
