//! The authorization server's metadata (RFC 8414): everything that it can do, and nothing that it cannot.

use gateway_governance::oauth::{AuthorizationServer, grants};
use serde_json::{Value, json};

/// The metadata document.
pub(super) fn metadata(server: &AuthorizationServer) -> Value {
    let issuer = server.issuer();
    let at = |name: &str| format!("{issuer}/api/v1/oauth/{name}");
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "revocation_endpoint": at("revoke"),
        "device_authorization_endpoint": at("device"),
        "jwks_uri": at("jwks"),
        "scopes_supported": ["mcp:proxy", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants::ALL,
        "token_endpoint_auth_methods_supported": grants::AUTH_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": grants::ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": grants::AUTH_METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": grants::ASSERTION_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": true,
    });
    if server.takes_registrations() {
        document["registration_endpoint"] = json!(at("register"));
    }
    document
}

/// The same for clients that look where OpenID Connect has it: they insist on these members, although no ID
/// token is ever given.
pub(super) fn openid(server: &AuthorizationServer) -> Value {
    let mut document = metadata(server);
    document["subject_types_supported"] = json!(["public"]);
    document["id_token_signing_alg_values_supported"] = json!(["EdDSA"]);
    document
}
