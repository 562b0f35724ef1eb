//! Links with which a person adds a server to their client in one click.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

/// Install links for one server. They hold its address and no credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InstallLinks {
    /// Opens Cursor.
    pub cursor: String,
    /// The same by way of a web page.
    pub cursor_web: String,
    /// Opens VS Code.
    pub vscode: String,
    /// The same by way of a web page.
    pub vscode_web: String,
    /// Opens VS Code Insiders.
    pub vscode_insiders: String,
    /// The same by way of a web page.
    pub vscode_insiders_web: String,
}

/// The links for a server that clients call `name` and reach at `url`.
pub fn install_links(name: &str, url: &str) -> InstallLinks {
    let cursor_config = encode(&STANDARD.encode(json!({"url": url}).to_string()));
    // Written by hand: the order of the members is part of the link that people know.
    let vscode =
        encode(&format!(r#"{{"name":{},"type":"http","url":{}}}"#, json!(name), json!(url)));
    let config = encode(&format!(r#"{{"type":"http","url":{}}}"#, json!(url)));
    let name = encode(name);
    InstallLinks {
        cursor: format!(
            "cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={cursor_config}"
        ),
        cursor_web: format!("https://cursor.com/en/install-mcp?name={name}&config={cursor_config}"),
        vscode: format!("vscode:mcp/install?{vscode}"),
        vscode_web: format!("https://vscode.dev/redirect/mcp/install?name={name}&config={config}"),
        vscode_insiders: format!("vscode-insiders:mcp/install?{vscode}"),
        vscode_insiders_web: format!(
            "https://insiders.vscode.dev/redirect/mcp/install?name={name}&config={config}&quality=insiders"
        ),
    }
}

/// JavaScript's `encodeURIComponent`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_as_the_clients_document_them() {
        let links = install_links("tickets", "https://gw.example.com/api/v1/proxy/a/mcp");
        // btoa('{"url":"https://gw.example.com/api/v1/proxy/a/mcp"}')
        let config = "eyJ1cmwiOiJodHRwczovL2d3LmV4YW1wbGUuY29tL2FwaS92MS9wcm94eS9hL21jcCJ9";
        assert_eq!(
            links.cursor,
            format!("cursor://anysphere.cursor-deeplink/mcp/install?name=tickets&config={config}")
        );
        assert_eq!(
            links.vscode,
            "vscode:mcp/install?%7B%22name%22%3A%22tickets%22%2C%22type%22%3A%22http%22%2C%22url%22%3A\
             %22https%3A%2F%2Fgw.example.com%2Fapi%2Fv1%2Fproxy%2Fa%2Fmcp%22%7D"
        );
        assert!(links.vscode_insiders.starts_with("vscode-insiders:mcp/install?%7B%22name%22"));
        assert!(
            links.cursor_web.starts_with("https://cursor.com/en/install-mcp?name=tickets&config=")
        );
    }

    #[test]
    fn base64_padding_is_encoded() {
        let links = install_links("a b", "http://x/ab");
        assert!(links.cursor.contains("name=a%20b&config="));
        assert!(!links.cursor.split("config=").nth(1).unwrap().contains(['=', '+', '/']));
    }
}
