//! Programs and provisioning, end to end, over two replicas of one gateway: an agent account from its creation
//! to its call and its record, on its own and on a person's behalf; and a person who is deactivated while a
//! stream of theirs is open.

use std::time::{Duration, Instant};

use gateway_tests::client::Client;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{POLICIES, Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const SCIM_TOKEN: &str = "scim-Zk3v0Qw8Jr5tYx2Lb7Nc1Md4Hf6Gs9Pa";
/// Both replicas are one gateway to their clients.
const CONFIG: &str = r#"
server.public_url = "http://mcp.example.test:8080"
scim.token = "scim-Zk3v0Qw8Jr5tYx2Lb7Nc1Md4Hf6Gs9Pa"
"#;
const AGENT_POLICIES: &str = r#"
[[policies]]
name = "the indexer echoes and deletes"
effect = "allow"
principals = ["agent:indexer"]
server = "fake"
tools = ["echo", "delete_item"]
"#;

struct Pair {
    rig: Rig,
    b: Gateway,
}

impl Pair {
    async fn start() -> Pair {
        let policies = format!("{POLICIES}{AGENT_POLICIES}");
        let setup = Setup { config: CONFIG.into(), policies, ..Setup::default() };
        let mut rig = Rig::start(setup).await;
        rig.secrets.push(SCIM_TOKEN.into());
        let options = Options { state: None, ..rig.gateway.options.clone() };
        let b = Gateway::start(options).await;
        Pair { rig, b }
    }

    /// Replica A as a person or an agent.
    async fn rest(&self, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.rig.gateway.base);
        let client = self.rig.client("bob").http;
        let request = client.request(method.parse().unwrap(), url).bearer_auth(key);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    async fn token(&self, pairs: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/api/v1/oauth/token", self.rig.gateway.base);
        let body: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.rig.client("bob").http.post(url).body(body.join("&"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    fn agent(&self, token: &Value) -> (Client, Client) {
        let a = self.rig.stranger("fake", token["access_token"].as_str());
        let b = a.at(&self.b.proxy_url("fake"));
        (a, b)
    }

    async fn finish(mut self) {
        assert!(self.b.terminate().success());
        self.rig.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_calls_for_itself_and_for_a_person_and_the_trail_says_so() {
    let mut pair = Pair::start().await;
    let bob = pair.rig.key("bob").to_owned();
    let (status, made) =
        pair.rest(&bob, "POST", "/api/v1/agent-accounts", json!({"name": "indexer"})).await;
    assert_eq!(status, 200, "{made}");
    let (id, secret) =
        (made["client_id"].as_str().unwrap(), made["client_secret"].as_str().unwrap());
    pair.rig.secrets.push(secret.to_owned());
    let credentials = [("client_id", id), ("client_secret", secret)];
    let own = [("grant_type", "client_credentials"), credentials[0], credentials[1]];
    let (status, token) = pair.token(&own).await;
    assert_eq!((status, &token["expires_in"]), (200, &json!(3600)), "{token}");
    let (a, b) = pair.agent(&token);
    for client in [&a, &b] {
        eventually("the agent calls", PATIENCE, async || {
            (client.call("echo", json!({})).await.status == 200).then_some(())
        })
        .await;
        let hidden = client.call("hidden", json!({})).await;
        assert_eq!(hidden.reason(), "target_not_found");
    }
    // Its client says that it can ask somebody; a program is not asked.
    let mut able = a.clone();
    able.capabilities = json!({"elicitation": {}});
    let delete = json!({"name": "delete_item", "arguments": {"item": "one"}});
    let asked = able.modern("tools/call", delete.clone()).await.result();
    let refusal = &asked["_meta"]["com.runlayer/refusal"];
    assert_eq!(refusal["reason"], "confirmation_required", "{asked}");
    let link = refusal["approval_url"].as_str().unwrap();
    let id_of_call = link.strip_prefix("http://mcp.example.test:8080/confirmations/").unwrap();
    let decision = format!("/api/v1/confirmations/{id_of_call}/decision");
    let yes = json!({"approve": true});
    let agent = token["access_token"].as_str().unwrap();
    for (key, status) in [(agent, 403), (pair.rig.key("carol"), 404), (bob.as_str(), 200)] {
        let (seen, body) = pair.rest(key, "POST", &decision, yes.clone()).await;
        assert_eq!(seen, status, "{body}");
    }
    let done = able.modern("tools/call", delete).await.result();
    assert_eq!(done["isError"], false, "its owner has agreed: {done}");

    // For Bob: not before he says so; then there, and in his name.
    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        credentials[0],
        credentials[1],
        ("subject_token_type", "urn:runlayer:token-type:user-email"),
        ("subject_token", "bob@example.com"),
    ];
    let (status, refused) = pair.token(&exchange).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_grant")));
    let leave = json!({"agent": "indexer", "servers": ["fake"]});
    let (status, given) = pair.rest(&bob, "POST", "/api/v1/delegations", leave).await;
    assert_eq!(status, 200, "{given}");
    let (status, behalf) = pair.token(&exchange).await;
    assert_eq!(status, 200, "{behalf}");
    let (for_bob, for_bob_at_b) = pair.agent(&behalf);
    for client in [&for_bob, &for_bob_at_b] {
        eventually("the agent calls for Bob", PATIENCE, async || {
            (client.call("echo", json!({})).await.status == 200).then_some(())
        })
        .await;
    }
    let elsewhere = pair.rig.stranger("runlayer", behalf["access_token"].as_str());
    let nowhere = elsewhere.call("list_servers", json!({})).await;
    assert_eq!((nowhere.status, nowhere.reason().as_str()), (404, "server_not_found"));
    let listed = for_bob.modern("tools/list", json!({})).await.result();
    let names = listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone());
    let names: Vec<Value> = names.collect();
    assert!(
        names.iter().all(|name| ["echo", "delete_item"].contains(&name.as_str().unwrap())),
        "{names:?}"
    );

    let rows = eventually("the trail knows it", PATIENCE, async || {
        let found = pair.rig.ask("alice", "list_audit_logs", json!({"agent_id": "indexer"})).await;
        let rows = found["data"].as_array()?.clone();
        rows.iter().any(|row| row["on_behalf_of"] == "bob@example.com").then_some(rows)
    })
    .await;
    let of =
        |behalf: bool| rows.iter().filter(move |row| row["on_behalf_of"].is_string() == behalf);
    assert!(of(true).all(|row| row["actor_kind"] == "person" && row["act"]["name"] == "indexer"));
    assert!(of(false).all(|row| row["actor_kind"] == "agent" && row["actor_email"] == id));
    assert!(of(false).any(|row| row["action_type"] == "tool_call_success"));

    // Withdrawn, and then switched off: over, on both.
    let target = format!("/api/v1/delegations/{}", given["id"].as_str().unwrap());
    assert_eq!(pair.rest(&bob, "DELETE", &target, Value::Null).await.0, 200);
    let off = json!({"enabled": false});
    assert_eq!(pair.rest(&bob, "PUT", "/api/v1/agent-accounts/indexer/status", off).await.0, 200);
    for client in [&a, &b, &for_bob, &for_bob_at_b] {
        eventually("it is refused", PATIENCE, async || {
            (client.call("echo", json!({})).await.status == 401).then_some(())
        })
        .await;
    }
    let (status, refused) = pair.token(&own).await;
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")));
    pair.finish().await;
}

/// Form-encoded.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let byte = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}

/// A subscription that the upstream never ends.
async fn open_stream(rig: &Rig, client: &Client) -> reqwest::Response {
    let hello = r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
    let hello = vec![(Duration::ZERO, format!("{hello}\n\n"))];
    rig.upstream.answer("subscriptions/listen", Answer::Open(hello));
    let body = client.modern_body("subscriptions/listen", json!({"notifications": {}}));
    let mut response = client.modern_request(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some(), "the stream has begun");
    response
}

/// Reads a stream to its end; gives when that was.
async fn ended(mut response: reqwest::Response) -> Instant {
    let reading = async {
        while response.chunk().await.expect("the stream was cut").is_some() {}
        Instant::now()
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_deactivated_by_scim_is_out_on_both_replicas_streams_included() {
    let pair = Pair::start().await;
    let a = pair.rig.client("bob");
    let b = a.at(&pair.b.proxy_url("fake"));
    for client in [&a, &b] {
        assert_eq!(client.call("echo", json!({})).await.status, 200);
    }
    let streams = [open_stream(&pair.rig, &a).await, open_stream(&pair.rig, &b).await];
    let filter = "/scim/v2/Users?filter=userName%20eq%20%22bob%40example.com%22";
    for key in ["", "scim", pair.rig.key("alice"), &SCIM_TOKEN[1..]] {
        assert_eq!(pair.rest(key, "GET", filter, Value::Null).await.0, 401);
    }
    let (status, found) = pair.rest(SCIM_TOKEN, "GET", filter, Value::Null).await;
    assert_eq!((status, &found["totalResults"]), (200, &json!(1)), "{found}");
    let target = format!("/scim/v2/Users/{}", found["Resources"][0]["id"].as_str().unwrap());
    let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "Replace", "path": "active", "value": "False"}]});
    let (status, changed) = pair.rest(SCIM_TOKEN, "PATCH", &target, patch).await;
    assert_eq!((status, &changed["active"]), (200, &json!(false)), "{changed}");
    let from = Instant::now();
    for client in [&a, &b] {
        eventually("Bob is refused", PATIENCE, async || {
            (client.call("echo", json!({})).await.status == 401).then_some(())
        })
        .await;
    }
    let refused = from.elapsed();
    let mut lags = Vec::new();
    for stream in streams {
        lags.push(ended(stream).await.saturating_duration_since(from));
    }
    eprintln!("refused on both after {refused:?}; streams ended after {lags:?}");
    assert_eq!(pair.rig.client("carol").call("echo", json!({})).await.status, 200);
    pair.finish().await;
}
