//! Every address of provisioning, once.

use gateway_governance::scim::{Ask, Kind};
use http::Method;
use uuid::Uuid;

/// Below this, addresses are provisioning's.
pub const PREFIX: &str = "/scim/v2/";

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// All of them.
    List,
    /// One.
    Get,
    /// A new one.
    Create,
    /// Another state.
    Replace,
    /// Changes.
    Patch,
    /// No more.
    Delete,
}

impl Verb {
    /// With the id in the path.
    pub(super) fn ask(self, id: Uuid) -> Ask {
        match self {
            Verb::List => Ask::List,
            Verb::Create => Ask::Create,
            Verb::Get => Ask::Get(id),
            Verb::Replace => Ask::Replace(id),
            Verb::Patch => Ask::Patch(id),
            Verb::Delete => Ask::Delete(id),
        }
    }
}

/// What provisioning systems read about this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// What it can do.
    ServiceProviderConfig,
    /// Its kinds of resources.
    ResourceTypes,
    /// Their attributes.
    Schemas,
}

/// What happens at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// A document.
    Document(Document),
    /// A resource.
    Resource(Kind, Verb),
}

/// An address. All of them are the provisioning system's alone.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path; `{id}` stands for a segment.
    pub path: &'static str,
    /// What happens there.
    pub does: Does,
}

const fn document(path: &'static str, document: Document) -> Route {
    Route { method: "GET", path, does: Does::Document(document) }
}

const fn route(method: &'static str, path: &'static str, kind: Kind, verb: Verb) -> Route {
    Route { method, path, does: Does::Resource(kind, verb) }
}

/// The addresses.
pub const ROUTES: &[Route] = &[
    document("/scim/v2/ServiceProviderConfig", Document::ServiceProviderConfig),
    document("/scim/v2/ResourceTypes", Document::ResourceTypes),
    document("/scim/v2/ResourceTypes/{id}", Document::ResourceTypes),
    document("/scim/v2/Schemas", Document::Schemas),
    document("/scim/v2/Schemas/{id}", Document::Schemas),
    route("GET", "/scim/v2/Users", Kind::Users, Verb::List),
    route("POST", "/scim/v2/Users", Kind::Users, Verb::Create),
    route("GET", "/scim/v2/Users/{id}", Kind::Users, Verb::Get),
    route("PUT", "/scim/v2/Users/{id}", Kind::Users, Verb::Replace),
    route("PATCH", "/scim/v2/Users/{id}", Kind::Users, Verb::Patch),
    route("DELETE", "/scim/v2/Users/{id}", Kind::Users, Verb::Delete),
    route("GET", "/scim/v2/Groups", Kind::Groups, Verb::List),
    route("POST", "/scim/v2/Groups", Kind::Groups, Verb::Create),
    route("GET", "/scim/v2/Groups/{id}", Kind::Groups, Verb::Get),
    route("PUT", "/scim/v2/Groups/{id}", Kind::Groups, Verb::Replace),
    route("PATCH", "/scim/v2/Groups/{id}", Kind::Groups, Verb::Patch),
    route("DELETE", "/scim/v2/Groups/{id}", Kind::Groups, Verb::Delete),
];

/// What is at an address.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A route, and the id in it.
    Route(&'static Route, Option<&'a str>),
    /// Only other methods.
    OtherMethods,
    /// Nothing.
    Nothing,
}

/// Looks up an address.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let mut others = false;
    for route in ROUTES {
        let Some(id) = fits(route.path, path) else { continue };
        if route.method == method.as_str() {
            return Found::Route(route, id);
        }
        others = true;
    }
    if others { Found::OtherMethods } else { Found::Nothing }
}

/// Whether the path is of that form; the id in it, if the form has one.
fn fits<'a>(template: &str, path: &'a str) -> Option<Option<&'a str>> {
    match template.strip_suffix("{id}") {
        None => (template == path).then_some(None),
        Some(head) => {
            let id = path.strip_prefix(head)?;
            (!id.is_empty() && !id.contains('/')).then_some(Some(id))
        }
    }
}
