//! What a newcomer clicks: install links of Cursor and VS Code for one server's proxy URL.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

/// Install links for a server. The key is not in them: the client asks for it, or it goes into its config.
pub(super) fn install_links(name: &str, url: &str) -> Value {
    let cursor = STANDARD.encode(json!({ "url": url }).to_string());
    let cursor = encode(&cursor);
    let code = json!({ "name": name, "type": "http", "url": url }).to_string();
    let code = encode(&code);
    json!({
        "cursor": format!("cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={cursor}"),
        "vscode": format!("vscode:mcp/install?{code}"),
    })
}

/// As encodeURIComponent does it: a space is %20.
fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_the_published_forms() {
        let links = install_links("tickets", "http://127.0.0.1:8080/api/v1/proxy/tickets/mcp");
        assert_eq!(
            links["cursor"],
            "cursor://anysphere.cursor-deeplink/mcp/install?name=tickets&config=eyJ1cmwiOiJodHRwOi8vMTI3LjAuMC4xOjgwODAvYXBpL3YxL3Byb3h5L3RpY2tldHMvbWNwIn0%3D"
        );
        assert_eq!(
            links["vscode"],
            "vscode:mcp/install?%7B%22name%22%3A%22tickets%22%2C%22type%22%3A%22http%22%2C%22url%22%3A%22http%3A%2F%2F127.0.0.1%3A8080%2Fapi%2Fv1%2Fproxy%2Ftickets%2Fmcp%22%7D"
        );
    }
}
