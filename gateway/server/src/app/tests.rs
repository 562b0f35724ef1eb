//! Whole gateways in this process, over a private Postgres that they share.

use std::path::{Path, PathBuf};

use gateway_governance::operations::api_keys::CreateApiKey;
use gateway_governance::{Operation, command_line};

use super::{App, AppError};
use crate::config::{Config, make_root_key};

/// A folder that the private Postgres can live in, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("gateway-app-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        // Started by root, Postgres runs as another user and must pass through here.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711)).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.server.admin_listen = "127.0.0.1:0".parse().unwrap();
    config.server.drain = std::time::Duration::from_secs(2);
    config.database.data_dir = folder.join("data");
    config.keys.root_file = folder.join("root.key");
    config
}

fn random(bytes: &mut [u8]) {
    use gateway_governance::{Random, SystemRandom};
    SystemRandom::new().fill(bytes);
}

async fn get(url: &str, key: Option<&str>) -> (u16, serde_json::Value) {
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(url);
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_root_key_nothing_starts() {
    let folder = Folder::new();
    let Err(AppError::Config(problem)) = App::start(config(&folder.0)).await else {
        panic!("it started without a root key");
    };
    assert_eq!(problem.key, "keys.root_file");
    assert!(!folder.0.join("data").exists(), "nothing was made before the key was looked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_in_one_process_serve_and_stop() {
    let folder = Folder::new();
    make_root_key(&folder.0.join("root.key"), &random).unwrap();
    let first = Box::pin(App::start(config(&folder.0))).await.unwrap();
    let second = Box::pin(App::start(config(&folder.0))).await.unwrap();
    assert_ne!(first.address(), second.address());
    for app in [&first, &second] {
        let admin = format!("http://{}", app.admin_address());
        let (status, ready) = get(&format!("{admin}/health/ready"), None).await;
        assert_eq!((status, ready["ready"].as_bool()), (200, Some(true)), "{ready}");
        let (status, live) = get(&format!("{admin}/health/live"), None).await;
        assert_eq!((status, live["live"].as_bool()), (200, Some(true)));
        let servers = format!("{}api/v1/servers", app.public_url());
        let (status, refused) = get(&servers, None).await;
        assert_eq!((status, refused["reason"].as_str()), (401, Some("credential_missing")));
    }
    let mut taken = config(&folder.0);
    taken.server.listen = first.address();
    let refused = Box::pin(App::start(taken)).await;
    assert!(matches!(refused, Err(AppError::Listen(_))), "a taken address is told");
    first.stop().await;
    // The private Postgres goes on while the second one uses it.
    let ready = format!("http://{}/health/ready", second.admin_address());
    assert_eq!(get(&ready, None).await.0, 200);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_the_operator_is_refused_for_unknown_people() {
    let folder = Folder::new();
    make_root_key(&folder.0.join("root.key"), &random).unwrap();
    let app = Box::pin(App::start(config(&folder.0))).await.unwrap();
    let governance = app.governance().clone();
    let create =
        CreateApiKey { user: Some("nobody@example.com".into()), ..CreateApiKey::default() };
    let origin = governance.command_line_origin();
    let refused =
        governance.perform(&command_line(), &origin, Operation::CreateApiKey(create)).await;
    assert_eq!(refused.unwrap_err().reason.as_str(), "entity_not_found");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_origin_reach_what_takes_no_cookie_under_our_own_name_alone() {
    let folder = Folder::new();
    make_root_key(&folder.0.join("root.key"), &random).unwrap();
    let app = Box::pin(App::start(config(&folder.0))).await.unwrap();
    let base = app.public_url().as_str().trim_end_matches('/').to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |method: &str, path: &str, host: Option<&str>| {
        let method = method.parse().unwrap();
        let mut request = client.request(method, format!("{base}{path}"));
        request = request.header("origin", "https://inspector.example");
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = request.send().await.unwrap();
        let origin = answer.headers().get("access-control-allow-origin").cloned();
        (answer.status().as_u16(), origin.is_some_and(|origin| origin == "*"))
    };
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/api/v1/proxy/x/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/api/v1/oauth/jwks",
    ] {
        assert_eq!(send("GET", path, None).await, (200, true), "{path}");
        assert_eq!(send("OPTIONS", path, None).await, (204, true), "{path}");
        assert_eq!(send("GET", path, Some("evil.example")).await.0, 403, "{path}");
        assert_eq!(send("OPTIONS", path, Some("evil.example")).await.0, 403, "{path}");
    }
    for path in ["/api/v1/oauth/token", "/api/v1/oauth/register", "/api/v1/oauth/revoke"] {
        let (status, open) = send("POST", path, None).await;
        assert!(status < 500 && status != 403 && open, "{path}: {status}");
        assert_eq!(send("OPTIONS", path, None).await, (204, true), "{path}");
        assert_eq!(send("POST", path, Some("evil.example")).await.0, 403, "{path}");
    }
    // Everything else stays closed to them.
    for path in ["/api/v1/servers", "/api/v1/oauth/authorize", "/api/v1/proxy/x/mcp"] {
        assert_eq!(send("GET", path, None).await, (403, false), "{path}");
        assert_eq!(send("OPTIONS", path, None).await, (403, false), "{path}");
    }
    let (_, document) = get(&format!("{base}/.well-known/oauth-protected-resource"), None).await;
    assert_eq!(document["authorization_servers"], serde_json::json!([base]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_there_is_no_authorization_server() {
    let folder = Folder::new();
    make_root_key(&folder.0.join("root.key"), &random).unwrap();
    let mut config = config(&folder.0);
    config.oauth.enabled = false;
    let app = Box::pin(App::start(config)).await.unwrap();
    let base = app.public_url().as_str().trim_end_matches('/').to_owned();
    for path in ["/.well-known/oauth-authorization-server", "/api/v1/oauth/jwks"] {
        assert_eq!(get(&format!("{base}{path}"), None).await.0, 404, "{path}");
    }
    let (_, document) = get(&format!("{base}/.well-known/oauth-protected-resource"), None).await;
    assert!(document.get("authorization_servers").is_none(), "{document}");
    app.stop().await;
}
