//! Every address of the control plane, once: which operation it performs, or which document it shows, and who
//! may do so. The OpenAPI document, the coverage test and the authorization matrix are made from it.

use http::Method;

/// An address.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path; a segment in braces is a parameter, which becomes the argument of that name.
    pub path: &'static str,
    /// What happens there.
    pub does: Does,
    /// Who gets through; the matrix test holds it true.
    pub access: Access,
}

/// What happens at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// The operation of that name.
    Operation(&'static str),
    /// A public document.
    Document(Document),
}

/// A document that anybody may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The description of this interface.
    OpenApi,
    /// The gateway as a client of other authorization servers.
    Client,
    /// RFC 9728: who issues tokens for this gateway.
    ProtectedResource,
    /// RFC 9728: who issues tokens for a server behind it.
    ProtectedServer,
}

/// Who gets through at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a credential.
    Anonymous,
    /// Everybody who is signed in, for what they may see of it.
    User,
    /// Those whom it concerns, and administrators; to others it looks absent.
    Concerned,
    /// Those who are asked, administrators or not; to others it looks absent.
    Asked,
    /// Whose own it is, for what they have; to whoever has none it looks absent.
    Owner,
    /// Holders of an administrative role, but not whose own it is; to others it looks absent.
    OthersDecide,
    /// Holders of an administrative role; others learn that they lack it.
    Admin,
}

/// The addresses.
pub const ROUTES: &[Route] = &[
    route("GET", "/api/v1/servers", "list_servers", Access::User),
    route("POST", "/api/v1/servers", "create_server", Access::Admin),
    route("GET", "/api/v1/servers/{server_id}", "get_server", Access::Concerned),
    route("PATCH", "/api/v1/servers/{server_id}", "update_server", Access::Admin),
    route("GET", "/api/v1/catalog/servers", "list_catalog_servers", Access::User),
    route("GET", "/api/v1/servers/{server_id}/tools", "list_server_tools", Access::Concerned),
    route(
        "GET",
        "/api/v1/servers/{server_id}/resources",
        "list_server_resources",
        Access::Concerned,
    ),
    route("GET", "/api/v1/servers/{server_id}/prompts", "list_server_prompts", Access::Concerned),
    route("GET", "/api/v1/servers/{server_id}/policies", "list_server_policies", Access::Admin),
    route("PUT", "/api/v1/servers/{server_id}/status", "set_server_status", Access::Admin),
    route("GET", "/api/v1/policies", "list_policies", Access::Admin),
    route("POST", "/api/v1/policies", "create_policy", Access::Admin),
    route("POST", "/api/v1/policies/replay", "replay_policy", Access::Admin),
    route("GET", "/api/v1/policies/{policy_id}", "get_policy", Access::Admin),
    route("PUT", "/api/v1/policies/{policy_id}", "update_policy", Access::Admin),
    route("DELETE", "/api/v1/policies/{policy_id}", "delete_policy", Access::Admin),
    route("GET", "/api/v1/policy-versions", "list_policy_versions", Access::Admin),
    route("POST", "/api/v1/policies/{policy_id}/restore", "restore_policy", Access::Admin),
    route("POST", "/api/v1/access/explain", "explain_access", Access::Concerned),
    route("GET", "/api/v1/auditlogs", "list_audit_logs", Access::User),
    route("GET", "/api/v1/auditlogs/export", "export_audit_logs", Access::User),
    route("GET", "/api/v1/auditlogs/{id}", "get_audit_log", Access::Concerned),
    route("GET", "/api/v1/analytics/{dataset}", "export_analytics_dataset", Access::Admin),
    route(
        "GET",
        "/api/v1/servers/{server_id}/analytics/{dataset}",
        "export_server_analytics",
        Access::Admin,
    ),
    route("GET", "/api/v1/confirmations", "list_confirmations", Access::User),
    route("GET", "/api/v1/confirmations/{id}", "get_confirmation", Access::Concerned),
    route("POST", "/api/v1/confirmations/{id}/decision", "decide_confirmation", Access::Asked),
    route("GET", "/api/v1/access-requests", "list_access_requests", Access::User),
    route("POST", "/api/v1/access-requests", "request_access", Access::User),
    route("POST", "/api/v1/access-requests/{id}/cancel", "cancel_access_request", Access::Owner),
    route(
        "POST",
        "/api/v1/access-requests/{id}/decision",
        "decide_access_request",
        Access::OthersDecide,
    ),
    route("GET", "/api/v1/agent-accounts", "list_agent_accounts", Access::User),
    route("POST", "/api/v1/agent-accounts", "create_agent_account", Access::Admin),
    route("GET", "/api/v1/agent-accounts/{agent}", "get_agent_account", Access::Concerned),
    route(
        "PUT",
        "/api/v1/agent-accounts/{agent}/status",
        "set_agent_account_status",
        Access::Concerned,
    ),
    route(
        "POST",
        "/api/v1/agent-accounts/{agent}/secret",
        "rotate_agent_account_secret",
        Access::Concerned,
    ),
    route("PATCH", "/api/v1/agent-accounts/{agent}", "update_agent_account", Access::Admin),
    route("GET", "/api/v1/users", "list_users", Access::Admin),
    route("POST", "/api/v1/users", "create_user", Access::Admin),
    route("GET", "/api/v1/users/{user}", "get_user", Access::Concerned),
    route("PATCH", "/api/v1/users/{user}", "update_user", Access::Admin),
    route("GET", "/api/v1/groups", "list_groups", Access::Admin),
    route("POST", "/api/v1/groups", "create_group", Access::Admin),
    route("GET", "/api/v1/groups/{group}", "get_group", Access::Admin),
    route("PATCH", "/api/v1/groups/{group}", "update_group", Access::Admin),
    route("DELETE", "/api/v1/groups/{group}", "delete_group", Access::Admin),
    route("GET", "/api/v1/roles", "list_roles", Access::User),
    route("GET", "/api/v1/api-keys", "list_api_keys", Access::User),
    route("POST", "/api/v1/api-keys", "create_api_key", Access::User),
    route("DELETE", "/api/v1/api-keys/{id}", "revoke_api_key", Access::Concerned),
    route("GET", "/api/v1/delegations", "list_delegations", Access::User),
    route("POST", "/api/v1/delegations", "create_delegation", Access::User),
    route("DELETE", "/api/v1/delegations/{id}", "revoke_delegation", Access::Concerned),
    route("GET", "/api/v1/sessions", "list_oauth_sessions", Access::User),
    route("DELETE", "/api/v1/sessions/{id}", "revoke_oauth_session", Access::Concerned),
    route("GET", "/api/v1/connections", "list_connections", Access::User),
    route("POST", "/api/v1/connections/{server_id}/disconnect", "disconnect_server", Access::Owner),
    route("GET", "/api/v1/tool-definitions", "list_tool_definition_changes", Access::Admin),
    route(
        "POST",
        "/api/v1/servers/{server_id}/tool-definitions/approve",
        "approve_tool_definitions",
        Access::Admin,
    ),
    route("GET", "/api/v1/limits", "list_limits", Access::Admin),
    route("PUT", "/api/v1/limits/{name}", "set_limit", Access::Admin),
    route("DELETE", "/api/v1/limits/{name}", "delete_limit", Access::Admin),
    route("GET", "/api/v1/scanners", "get_security_scanner_settings", Access::Admin),
    route("PATCH", "/api/v1/scanners", "update_security_scanner_settings", Access::Admin),
    route("GET", "/api/v1/scanners/changes", "list_security_scanner_changes", Access::Admin),
    route("POST", "/api/v1/scanners/test", "test_scanner", Access::Admin),
    document("/api/v1/openapi.json", Document::OpenApi),
    document("/api/v1/oauth/client-metadata.json", Document::Client),
    document("/.well-known/oauth-protected-resource", Document::ProtectedResource),
    document(
        "/.well-known/oauth-protected-resource/api/v1/proxy/{server_id}/mcp",
        Document::ProtectedServer,
    ),
];

const fn route(
    method: &'static str,
    path: &'static str,
    operation: &'static str,
    access: Access,
) -> Route {
    Route { method, path, does: Does::Operation(operation), access }
}

const fn document(path: &'static str, document: Document) -> Route {
    Route { method: "GET", path, does: Does::Document(document), access: Access::Anonymous }
}

/// What is at an address.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A route and its parameters.
    Route(&'static Route, Vec<(&'static str, &'a str)>),
    /// Only other methods: these.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Looks up an address.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(parameters) = parameters(route.path, path) else { continue };
        if route.method == method.as_str() {
            return Found::Route(route, parameters);
        }
        others.push(route.method);
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The parameters, if `path` is of the form of `template`.
fn parameters<'a>(template: &'static str, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(want), Some(have)) => match name_of(want) {
                Some(name) if !have.is_empty() => parameters.push((name, have)),
                Some(_) => return None,
                None if want == have => {}
                None => return None,
            },
            (Some(_), None) | (None, Some(_)) => return None,
        }
    }
}

/// The name in a parameter segment.
pub(in crate::control) fn name_of(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_with_their_parameters() {
        let found = |method: &str, path: &'static str| match find(&method.parse().unwrap(), path) {
            Found::Route(route, parameters) => format!("{:?} {parameters:?}", route.does),
            Found::OtherMethods(methods) => format!("{methods:?}"),
            Found::Nothing => "nothing".into(),
        };
        assert_eq!(found("GET", "/api/v1/servers"), r#"Operation("list_servers") []"#);
        assert_eq!(
            found("GET", "/api/v1/servers/tickets/tools"),
            r#"Operation("list_server_tools") [("server_id", "tickets")]"#
        );
        assert_eq!(found("DELETE", "/api/v1/servers/tickets"), r#"["GET", "PATCH"]"#);
        assert_eq!(found("HEAD", "/api/v1/openapi.json"), r#"["GET"]"#);
        for path in ["/api/v1/servers/", "/api/v1", "/api/v1/servers/a/b", "/api/v1//servers", ""] {
            assert_eq!(found("GET", path), "nothing", "{path}");
        }
    }
}
