//! Redirect URIs: which ones are taken at registration, which ones match, and where errors go. Not one of the
//! bad ones may ever get a code.

use serde_json::json;

use super::{BROWSER, Flow, GATEWAY, REDIRECT, parameters, register, value};
use crate::oauth::{ErrorCode, Unasked};

/// What real clients register.
const GOOD: &[&str] = &[
    "https://claude.ai/api/mcp/auth_callback",
    "https://vscode.dev/redirect",
    "https://app.example.com/cb?tenant=1",
    "https://app.example.com",
    "https://app.example.com/",
    "https://app.example.com:8443/cb",
    "https://[2001:db8::1]/cb",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:33418/",
    "http://127.0.0.1:33418",
    "http://localhost:6274/oauth/callback",
    "http://localhost/oauth/callback/debug?x=1",
    "http://[::1]:3000/cb",
    "cursor://anysphere.cursor-retrieval/oauth/user-x/callback",
    "vscode://vscode.github-authentication/did-authenticate",
    "vscode-insiders://x/y",
    "com.example.app:/oauth2redirect",
    "com.example.app://callback",
];

/// What attackers register.
const BAD: &[&str] = &[
    // No redirect URI at all.
    "",
    " ",
    "/",
    "callback",
    "//evil.example/cb",
    "/\\evil.example",
    "?code=1",
    "#",
    "*",
    "null",
    // Schemes that run, read or mail something.
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "javascript://app.example.com/%0aalert(1)",
    "java\tscript:alert(1)",
    " javascript:alert(1)",
    "data:text/html,x",
    "data:text/html;base64,PHNjcmlwdD4=",
    "vbscript:x",
    "file:///etc/passwd",
    "file://evil.example/share",
    "blob:https://app.example.com/1",
    "about:blank",
    "view-source:https://app.example.com",
    "filesystem:https://app.example.com/x",
    "ftp://app.example.com/cb",
    "ws://app.example.com/cb",
    "wss://app.example.com/cb",
    "mailto:a@example.com",
    "tel:1",
    "sms:1",
    "intent://x#Intent;scheme=https;end",
    "chrome://settings",
    "chrome-extension://abc/cb",
    "moz-extension://abc/cb",
    "ms-settings:x",
    "ms-msdt:/id",
    "search-ms:query=x",
    "shell:startup",
    "ssh://evil.example",
    "git://evil.example",
    "jar:file:///x!/y",
    "res://x",
    "urn:ietf:wg:oauth:2.0:oob",
    "oob",
    "x:y",
    "evil:/cb",
    "cursorx://x/cb",
    // http elsewhere than on this machine.
    "http://app.example.com/cb",
    "http://127.0.0.2/cb",
    "http://127.0.0.1.evil.example/cb",
    "http://127.0.0.1@evil.example/cb",
    "http://localhost.evil.example/cb",
    "http://localhost@evil.example/cb",
    "http://localhost./cb",
    "http://LOCALHOST/cb",
    "http://evil.example#@localhost/cb",
    "http://evil.example\\@localhost/cb",
    "http://0.0.0.0/cb",
    "http://0/cb",
    "http://127.1/cb",
    "http://0x7f.0.0.1/cb",
    "http://0177.0.0.1/cb",
    "http://2130706433/cb",
    "http://[::ffff:127.0.0.1]/cb",
    "http://[0:0:0:0:0:0:0:1]/cb",
    "http://[::]/cb",
    "http://10.0.0.1/cb",
    "http://169.254.169.254/latest/meta-data",
    "http://metadata.google.internal/",
    "http://127.0.0.1:0/cb",
    "http://127.0.0.1:65536/cb",
    "http://127.0.0.1:x/cb",
    "http://127.0.0.1:/cb",
    "http://127.0.0.1:80/cb",
    "http:/127.0.0.1/cb",
    "http:127.0.0.1/cb",
    "http:///127.0.0.1/cb",
    // What one parser reads differently than another.
    "https://app.example.com\\@evil.example/cb",
    "https://app.example.com/cb\\..\\x",
    "https:\\\\evil.example/cb",
    "https:/evil.example/cb",
    "https:evil.example",
    "https:///evil.example/cb",
    "https://",
    "https:///",
    "HTTPS://app.example.com/cb",
    "https://APP.example.com/cb",
    "https://app.example.com:443/cb",
    "https://app.example.com./cb",
    "https://app.example.com/a/../cb",
    "https://app.example.com/./cb",
    "https://app.example.com/%2e%2e/cb",
    "https://app.example.com/cb ",
    " https://app.example.com/cb",
    "https://app.example.com/c b",
    "https://app.example.com/cb\n",
    "https://app.example.com/\tcb",
    "https://app.example.com/cb\r\nSet-Cookie:x=1",
    "https://app.example.com/cb\u{0}",
    "https://app.example.com/\u{202e}cb",
    "https://аpp.example.com/cb",
    "https://app。example.com/cb",
    "https://exam\u{ad}ple.com/cb",
    "https://app.example.com/ü",
    "https://user@app.example.com/cb",
    "https://user:password@app.example.com/cb",
    "https://:@app.example.com/cb",
    "https://app.example.com%2f@evil.example/cb",
    "https://app.example.com%00.evil.example/cb",
    "https://*.example.com/cb",
    "https://app.example.com/*",
    "https://app.example.com/cb#fragment",
    "https://app.example.com/cb#",
    "https://app.example.com/<script>",
    "https://app.example.com/\"onload=",
    "https://app.example.com/{x}",
    "https://app.example.com/cb?code=stolen",
    "https://app.example.com/cb?state=x",
    "https://app.example.com/cb?iss=https://evil.example",
    "https://app.example.com/cb?a=1&%63ode=stolen",
    "https://app.example.com/cb?error=x",
    "https://0x7f000001/cb",
    "https://[::1",
    "https://1.2.3.4.5/cb",
    "https://app.example.com:99999/cb",
    "com.example.app:",
    "com.example.app:#x",
    "com.example.app://user@x/cb",
    "com..example:/cb",
    "cursor://x@evil/cb",
    "cursor:",
];

#[tokio::test]
async fn the_redirect_corpus() {
    assert!(BAD.len() >= 100, "{}", BAD.len());
    let flow = Flow::open().await;
    let server = &flow.house.a;
    for good in GOOD {
        let metadata = json!({"redirect_uris": [good], "token_endpoint_auth_method": "none"});
        let client = register(server, &flow.house, &metadata).await;
        let client = client.unwrap_or_else(|e| panic!("{good}: {e}"));
        assert_eq!(client["redirect_uris"], json!([good]));
    }
    let long = format!("https://app.example.com/{}", "a".repeat(2048));
    for bad in BAD.iter().copied().chain([long.as_str()]) {
        // Also beside a good one.
        for uris in [json!([bad]), json!([REDIRECT, bad])] {
            let metadata = json!({"redirect_uris": uris, "token_endpoint_auth_method": "none"});
            let error = register(server, &flow.house, &metadata).await;
            let error = error.err().unwrap_or_else(|| panic!("{bad:?} was registered"));
            assert_eq!(error.code, ErrorCode::InvalidRedirectUri, "{bad:?}");
        }
        // At a request of a client that registered something else, nothing goes there.
        match flow.ask(&[("redirect_uri", bad)]).await {
            Err(Unasked::Page(_)) => {}
            // Without a redirect URI the only one that the client has is used.
            Ok(asked) if bad.is_empty() => assert_eq!(asked.redirect_uri, REDIRECT),
            other => panic!("{bad:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_uri_matches_exactly_and_only_loopback_ports_are_free() {
    let flow = Flow::open().await;
    let uris = ["http://127.0.0.1/callback", "https://app.example.com/cb", "http://[::1]:1/cb?x=1"];
    let metadata = json!({"redirect_uris": uris, "token_endpoint_auth_method": "none"});
    let client = register(&flow.house.a, &flow.house, &metadata).await.unwrap();
    let id = client["client_id"].as_str().unwrap();
    for (uri, taken) in [
        ("http://127.0.0.1/callback", true),
        ("http://127.0.0.1:1/callback", true),
        ("http://127.0.0.1:65535/callback", true),
        ("http://[::1]/cb?x=1", true),
        ("http://[::1]:9/cb?x=1", true),
        ("https://app.example.com/cb", true),
        ("http://localhost/callback", false),
        ("http://127.0.0.2/callback", false),
        ("http://127.0.0.1:0/callback", false),
        ("http://127.0.0.1:65536/callback", false),
        ("http://127.0.0.1:80x/callback", false),
        ("http://127.0.0.1:80@evil.example/callback", false),
        ("http://127.0.0.1:@evil.example/callback", false),
        ("http://127.0.0.1.evil.example/callback", false),
        ("http://127.0.0.1/callback/", false),
        ("http://127.0.0.1/callback/../x", false),
        ("http://127.0.0.1/Callback", false),
        ("http://127.0.0.1/callback?x", false),
        ("http://127.0.0.1/callback#x", false),
        ("https://127.0.0.1/callback", false),
        ("HTTP://127.0.0.1/callback", false),
        ("http://[::1]:9/cb?x=2", false),
        ("http://[::1]:9/cb", false),
        ("https://app.example.com:8443/cb", false),
        ("https://app.example.com/cb/", false),
        ("https://app.example.com/cb?x", false),
        ("https://APP.example.com/cb", false),
        ("https://evil.example/https://app.example.com/cb", false),
        ("", false),
    ] {
        let got = flow.ask(&[("client_id", id), ("redirect_uri", uri)]).await;
        assert_eq!(got.is_ok(), taken, "{uri}");
        if !taken {
            assert!(matches!(got, Err(Unasked::Page(_))), "{uri}: nothing goes there");
        }
    }
}

#[tokio::test]
async fn errors_go_to_the_client_only_once_it_is_known() {
    let flow = Flow::open().await;
    for change in [
        &[("client_id", "")][..],
        &[("client_id", "nobody")],
        &[("client_id", "https://evil.example/client.json")],
        &[("redirect_uri", "https://evil.example/")],
        &[("redirect_uri", "https://evil.example/"), ("response_type", "token")],
    ] {
        assert!(matches!(flow.ask(change).await, Err(Unasked::Page(_))), "{change:?}");
    }
    let server = flow.house.a.governance.oauth();
    let doubled = format!("{}&state=other", flow.query(&[]));
    for query in [doubled.as_str(), "%", "a=%zz", "client_id=%ff", "a=%00", ""] {
        assert!(matches!(server.ask(query, &BROWSER).await, Err(Unasked::Page(_))), "{query}");
    }
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", "code id_token"), "unsupported_response_type"),
        (("response_type", ""), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("request", "eyJ"), "request_not_supported"),
        (("request_uri", "https://evil.example"), "request_uri_not_supported"),
    ] {
        let Err(Unasked::Redirect(url)) = flow.ask(&[change]).await else { panic!("{change:?}") };
        assert!(url.starts_with("http://127.0.0.1:49152/callback?"), "{url}");
        let answer = parameters(&url);
        assert_eq!(value(&answer, "error").as_deref(), Some(error), "{change:?}");
        assert_eq!(value(&answer, "state").as_deref(), Some("s t&=ü"));
        assert_eq!(value(&answer, "iss").as_deref(), Some(GATEWAY));
    }
}
