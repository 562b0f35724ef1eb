//! Protected resource metadata (RFC 9728): where a client that has been refused learns who issues tokens. It
//! is anonymous, and says the same for servers that exist and for those that do not.

use gateway_core::reason::Reason;
use serde_json::{Value, json};

/// The well-known path; a resource's own path follows it.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What the documents are made of.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// As clients see the gateway, without a final slash.
    pub public_url: String,
    /// Whose tokens are taken.
    pub issuers: Vec<String>,
}

impl Metadata {
    /// The document of the resource at `path`, which is empty for the gateway as a whole.
    pub fn document(&self, path: &str) -> Value {
        let mut document = json!({
            "resource": format!("{}{path}", self.public_url),
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["mcp:proxy"],
            "resource_name": "Runlayer gateway",
        });
        // An empty list must be left out (RFC 9728, section 3.2).
        if !self.issuers.is_empty() {
            document["authorization_servers"] = json!(self.issuers);
        }
        document
    }

    /// The value of `WWW-Authenticate` with which a refusal about the credential goes out, of the resource at
    /// `path` (RFC 6750, section 3).
    pub fn challenge(&self, path: &str, reason: Reason) -> String {
        let mut text =
            format!("Bearer resource_metadata=\"{}{WELL_KNOWN}{path}\"", self.public_url);
        if let Some(error) = reason.challenge_error() {
            let message = reason.message().replace(['"', '\\'], "'");
            text.push_str(&format!(", error=\"{error}\", error_description=\"{message}\""));
        }
        if reason == Reason::InsufficientScope {
            text.push_str(", scope=\"mcp:proxy\"");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_name_the_resource_and_its_issuers() {
        let public_url = "https://mcp.example.com".to_owned();
        let mut metadata = Metadata { public_url, issuers: vec![] };
        assert!(metadata.document("").get("authorization_servers").is_none());
        metadata.issuers = vec!["https://idp.example.com".into()];
        let document = metadata.document("/api/v1/proxy/tickets/mcp");
        assert_eq!(document["resource"], "https://mcp.example.com/api/v1/proxy/tickets/mcp");
        assert_eq!(document["authorization_servers"], json!(["https://idp.example.com"]));
    }

    #[test]
    fn challenges_tell_a_bad_credential_from_an_absent_one() {
        let public_url = "https://mcp.example.com".to_owned();
        let metadata = Metadata { public_url, issuers: vec![] };
        assert_eq!(
            metadata.challenge("", Reason::CredentialMissing),
            "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\""
        );
        let bad = metadata.challenge("/api/v1", Reason::CredentialInvalid);
        let error =
            "error=\"invalid_token\", error_description=\"The credential is not valid here\"";
        assert!(bad.ends_with(error), "{bad}");
        let narrow = metadata.challenge("", Reason::InsufficientScope);
        assert!(narrow.contains("error=\"insufficient_scope\""), "{narrow}");
        assert!(narrow.ends_with("scope=\"mcp:proxy\""), "{narrow}");
    }
}
