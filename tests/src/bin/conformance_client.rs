//! The client that the conformance suite's `client` mode runs against its scenarios: a person behind a gateway whose
//! one server is the scenario's. What is tested is the gateway's connector: the person only opens the link that a
//! refused call gives, agrees, and makes the call again.
//!
//! Usage: conformance-client URL. `MCP_CONFORMANCE_SCENARIO` names the scenario, `MCP_CONFORMANCE_CONTEXT` has what
//! was registered before. Exit 0: the calls went through; 1: they did not, which some scenarios want.

use std::process::ExitCode;

use gateway_tests::browser::Browser;
use gateway_tests::client::{Client, Reply};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::postgres::Postgres;
use serde_json::{Value, json};

/// The metadata document that the suite expects its client to name.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

/// How often a person agrees before they give up.
const PATIENCE: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: conformance-client URL");
        return ExitCode::from(2);
    };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let scenario = variable("MCP_CONFORMANCE_SCENARIO");
    let context: Value =
        serde_json::from_str(&variable("MCP_CONFORMANCE_CONTEXT")).unwrap_or(Value::Null);
    let database = Postgres::shared().database().await;
    let secret = context["client_secret"].as_str().or(context["private_key_pem"].as_str());
    let secret = secret.unwrap_or_default().to_owned();
    let options = Options {
        config: "[sign_in]\nlocal = true\n".into(),
        state: Some(state(&url, &scenario, &context)),
        environment: vec![("SCENARIO_SECRET".into(), secret)],
        ..Options::new(&database.url)
    };
    let gateway = Gateway::start(options).await;
    let key = gateway.key("pat@example.com");
    let client = Client::new(&gateway.proxy_url("scenario"), Some(&key), Default::default());
    let mut browser = Browser::signed_in(&gateway, "pat@example.com").await;
    let done = person(&client, &mut browser).await;
    if let Err(why) = &done {
        eprintln!("{scenario}: {why}");
        for line in gateway.logs().lines().filter(|line| line.contains("WARN")) {
            eprintln!("{line}");
        }
    }
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One person, who may do everything on the scenario's server.
fn state(url: &str, scenario: &str, context: &Value) -> String {
    let known = context["client_id"].as_str();
    let auth = match (scenario, known) {
        // A document that the operator keeps elsewhere: ours is at our own address.
        ("auth/basic-cimd", _) => format!(r#"mode = "oauth_user", client_id = "{DOCUMENT}""#),
        ("auth/client-credentials-jwt", Some(id)) => {
            format!(
                r#"mode = "oauth_shared", client_id = "{id}", private_key_env = "SCENARIO_SECRET""#
            )
        }
        ("auth/client-credentials-basic", Some(id)) => {
            format!(
                r#"mode = "oauth_shared", client_id = "{id}", client_secret_env = "SCENARIO_SECRET""#
            )
        }
        (_, Some(id)) if context["client_secret"].is_string() => {
            format!(
                r#"mode = "oauth_user", client_id = "{id}", client_secret_env = "SCENARIO_SECRET""#
            )
        }
        (_, Some(id)) => format!(r#"mode = "oauth_user", client_id = "{id}""#),
        (_, None) => r#"mode = "oauth_user""#.to_owned(),
    };
    format!(
        r#"
[[users]]
email = "pat@example.com"

[[servers]]
slug = "scenario"
url = "{url}"
auth = {{ {auth} }}

[[policies]]
name = "everything"
effect = "allow"
principals = ["everyone"]
server = "scenario"
"#
    )
}

/// Lists the tools and calls the first one; connects where that is what is missing.
async fn person(client: &Client, browser: &mut Browser) -> Result<(), String> {
    let mut connected = 0;
    loop {
        let answer = round(client).await;
        let reason = answer.reason();
        match reason.as_str() {
            "" if answer.result().is_object() => return Ok(()),
            "connection_stale" | "connection_required" if connected == PATIENCE => {
                return Err(format!("{reason} again, after {connected} rounds"));
            }
            "connection_stale" => connected += 1,
            "connection_required" => {
                browser.connect("scenario").await.map_err(|page| text(&page.html))?;
                connected += 1;
            }
            _ => return Err(format!("{} {}", answer.status, answer.json())),
        }
    }
}

/// In the era that the server speaks.
async fn round(client: &Client) -> Reply {
    let listed = client.modern("tools/list", json!({})).await;
    let modern = listed.result()["tools"].clone();
    if let Some(tool) = modern.get(0) {
        return client.call(tool["name"].as_str().unwrap_or_default(), json!({})).await;
    }
    if listed.error()["code"] != -32022 {
        return listed;
    }
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "conformance-client", "version": "1"}});
    let body = gateway_tests::client::legacy_body("initialize", params);
    let reply = client.send(client.post(body.to_string())).await;
    if !reply.result().is_object() {
        return reply;
    }
    let session = client.legacy().await;
    let listed = session.ask("tools/list", json!({})).await;
    match listed.result()["tools"].get(0) {
        Some(tool) => session.call(tool["name"].as_str().unwrap_or_default(), json!({})).await,
        None => listed,
    }
}

/// A page's words.
fn text(html: &str) -> String {
    let words =
        html.split('<').filter_map(|part| part.split_once('>')).map(|(_, words)| words.trim());
    words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
}
