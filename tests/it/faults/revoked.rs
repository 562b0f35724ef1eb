//! What is taken back is over on every replica, for calls and for streams that are open: told by the notify
//! channel, and found by looking where that channel is cut (security.md C8). How long it took is printed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gateway_tests::browser::Browser;
use gateway_tests::client::Client;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{POLICIES, Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use super::RECOVERY;

pub(super) const SCIM_TOKEN: &str = "scim-Vd7rKp2nXq9wTz4hLb6yJc1mGf8sNa3e";
const POLICY: &str = r#"
[[policies]]
name = "the indexer echoes"
effect = "allow"
principals = ["agent:indexer"]
server = "fake"
tools = ["echo"]
"#;
/// The catalogue counts as ever and says nothing.
const CUT: &str = r#"
create or replace function catalogue_changed() returns trigger language plpgsql as $$
begin
    update catalogue_version set version = version + 1, changed_by = pg_current_xact_id()
     where changed_by <> pg_current_xact_id();
    return null;
end
$$"#;

/// Three replicas of one gateway, known to their clients by the first one's address.
struct Replicas {
    rig: Rig,
    others: [Gateway; 2],
}

impl Replicas {
    async fn start() -> Replicas {
        let config = format!("[sign_in]\nlocal = true\n[scim]\ntoken = \"{SCIM_TOKEN}\"\n");
        let policies = format!("{POLICIES}{POLICY}");
        let mut rig = Rig::start(Setup { config, policies, ..Setup::default() }).await;
        rig.secrets.push(SCIM_TOKEN.into());
        let config = format!("server.public_url = \"{}\"\n", rig.gateway.base);
        let config = format!("{config}{}", rig.gateway.options.config);
        let options = Options { state: None, config, ..rig.gateway.options.clone() };
        let others = [Gateway::start(options.clone()).await, Gateway::start(options).await];
        let hello = r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
        let hello = vec![(Duration::ZERO, format!("{hello}\n\n"))];
        rig.upstream.answer("subscriptions/listen", Answer::Open(hello));
        Replicas { rig, others }
    }

    /// The same client at each replica.
    fn clients(&self, credential: &str) -> [Client; 3] {
        let a = self.rig.stranger("fake", Some(credential));
        let [b, c] = self.others.each_ref().map(|other| a.at(&other.proxy_url("fake")));
        [a, b, c]
    }

    async fn rest(&self, key: &str, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.rig.gateway.base);
        let request = self.rig.client("bob").http.request(method.parse().unwrap(), url);
        let request = request.bearer_auth(key).header("content-type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status();
        let body = answer.json().await.unwrap_or(Value::Null);
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        body
    }

    async fn token(&mut self, form: &[(&str, &str)]) -> String {
        let url = format!("{}/api/v1/oauth/token", self.rig.gateway.base);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.rig.client("bob").http.post(url).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
        self.rig.secrets.push(token.to_owned());
        token.to_owned()
    }

    /// Takes back what `credential` rests on; waits until each replica has ended calls and an open stream.
    async fn revoke(&self, what: &str, credential: &str, revocation: impl Future<Output = ()>) {
        let clients = self.clients(credential);
        let mut streams = Vec::new();
        for client in &clients {
            eventually(&format!("{what}: it works before"), RECOVERY, async || {
                (client.call("echo", json!({})).await.status == 200).then_some(())
            })
            .await;
            streams.push(open_stream(client).await);
        }
        let revoking = async {
            revocation.await;
            Instant::now()
        };
        let calls = join_all(clients.iter().map(|client| refused(what, client)));
        let ends = join_all(streams.into_iter().map(|stream| ended(what, stream)));
        let (from, calls, ends) = tokio::join!(revoking, calls, ends);
        let lag = |at: Instant| at.saturating_duration_since(from).as_millis();
        let (calls, ends) =
            (calls.into_iter().map(lag).collect::<Vec<_>>(), ends.into_iter().map(lag));
        let ends: Vec<_> = ends.collect();
        println!("{what}: ms until refused {calls:?}, until streams ended {ends:?}");
    }

    /// Each kind of revocation, one after the other. All of it was valid before.
    async fn revoke_all(&mut self) {
        let bob = self.rig.key("bob").to_owned();
        let key = self.rig.gateway.key("carol@example.com");
        self.rig.secrets.push(key.clone());
        let mut browser = Browser::signed_in(&self.rig.gateway, "bob@example.com").await;
        let given = browser.authorize(&[]).await;
        let session = given["access_token"].as_str().unwrap_or_else(|| panic!("{given}"));
        let refresh = given["refresh_token"].as_str().map(str::to_owned);
        self.rig.secrets.extend([session.to_owned()].into_iter().chain(refresh));

        let path = "/api/v1/agent-accounts";
        let agent = self.rest(&bob, "POST", path, json!({"name": "indexer"})).await;
        let text = |name: &str| agent[name].as_str().unwrap().to_owned();
        let (id, secret) = (text("client_id"), text("client_secret"));
        self.rig.secrets.push(secret.clone());
        let credentials = [("client_id", &*id), ("client_secret", &*secret)];
        let own = [&[("grant_type", "client_credentials")], &credentials[..]].concat();
        let own = self.token(&own).await;
        let leave = json!({"agent": "indexer", "servers": ["fake"]});
        let leave = self.rest(&bob, "POST", "/api/v1/delegations", leave).await;
        let exchange = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:runlayer:token-type:user-email"),
            ("subject_token", "bob@example.com"),
        ];
        let behalf = self.token(&[&exchange, &credentials[..]].concat()).await;

        self.revoke("API key", &key, async {
            let id = super::replicas::key_id(&self.rig.gateway, &key);
            let output = self.rig.gateway.cli(&["key", "revoke"], &[&id]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        })
        .await;
        self.revoke("OAuth session", session, async {
            let listed = self.rest(&bob, "GET", "/api/v1/sessions", Value::Null).await;
            let rows = listed["data"].as_array().unwrap();
            let row = rows.iter().find(|row| row["client_name"] == "rig").unwrap();
            let path = format!("/api/v1/sessions/{}", row["id"].as_str().unwrap());
            self.rest(&bob, "DELETE", &path, Value::Null).await;
        })
        .await;
        self.revoke("delegation", &behalf, async {
            let path = format!("/api/v1/delegations/{}", leave["id"].as_str().unwrap());
            self.rest(&bob, "DELETE", &path, Value::Null).await;
        })
        .await;
        self.revoke("agent account", &own, async {
            let off = json!({"enabled": false});
            self.rest(&bob, "PUT", "/api/v1/agent-accounts/indexer/status", off).await;
        })
        .await;
        self.revoke("person", self.rig.key("carol"), async {
            let filter = "/scim/v2/Users?filter=userName%20eq%20%22carol%40example.com%22";
            let found = self.rest(SCIM_TOKEN, "GET", filter, Value::Null).await;
            let path = format!("/scim/v2/Users/{}", found["Resources"][0]["id"].as_str().unwrap());
            let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "path": "active", "value": false}]});
            self.rest(SCIM_TOKEN, "PATCH", &path, patch).await;
        })
        .await;
        for client in self.clients(&bob) {
            assert_eq!(client.call("echo", json!({})).await.status, 200, "Bob lost nothing");
        }
    }

    async fn finish(self) {
        for mut other in self.others {
            assert!(other.terminate().success());
        }
        super::chains_are_whole(&self.rig);
        self.rig.finish().await;
    }
}

/// When calls were refused.
async fn refused(what: &str, client: &Client) -> Instant {
    eventually(&format!("{what}: it is refused"), RECOVERY, async || {
        let reply = client.call("echo", json!({})).await;
        (reply.status != 200).then(|| assert_eq!(reply.reason(), "credential_invalid", "{what}"))
    })
    .await;
    Instant::now()
}

/// A subscription that the upstream never ends.
pub(super) async fn open_stream(client: &Client) -> reqwest::Response {
    let body = client.modern_body("subscriptions/listen", json!({"notifications": {}}));
    let mut response = client.modern_request(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some(), "the stream has begun");
    response
}

/// Reads a stream to its end; gives when that was.
pub(super) async fn ended(what: &str, mut response: reqwest::Response) -> Instant {
    let reading = async {
        while response.chunk().await.expect("the stream was cut").is_some() {}
        Instant::now()
    };
    let read = tokio::time::timeout(RECOVERY, reading).await;
    read.unwrap_or_else(|_| panic!("{what}: the stream stays open"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_reach_every_replica() {
    let mut replicas = Replicas::start().await;
    replicas.revoke_all().await;
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_reach_every_replica_although_nothing_is_notified() {
    let mut replicas = Replicas::start().await;
    let pool = &replicas.rig.database.pool;
    sqlx::query(CUT).execute(pool).await.unwrap();
    let mut heard = PgListener::connect_with(pool).await.unwrap();
    heard.listen("gateway_catalogue").await.unwrap();
    replicas.revoke_all().await;
    // Nothing was said before this: it is the first that is heard.
    let last = "select pg_notify('gateway_catalogue', 'the last')";
    sqlx::query(last).execute(&replicas.rig.database.pool).await.unwrap();
    assert_eq!(heard.recv().await.unwrap().payload(), "the last");
    drop(heard);
    replicas.finish().await;
}
