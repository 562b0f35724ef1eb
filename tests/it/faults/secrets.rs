//! No secret gets where it does not belong (A6): canaries in every place where a client, an upstream or an issuer can
//! put a credential, good and bad ones, on every path that ends in an error; then every sink is searched: tables,
//! payloads, logs, metrics, traces, what other clients are told, CSV. What secrets in messages become is `scanning`'s.

use gateway_tests::client::Client;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup, UPSTREAM_SECRET};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use http::{HeaderMap, Method};
use serde_json::json;

use super::RECOVERY;
use crate::telemetry::Collector;

/// Begins every canary; the search is for this.
const CANARY: &str = "canarya6";

/// Canaries, and what clients were told.
#[derive(Default)]
struct Cage {
    made: Vec<String>,
    told: Vec<(String, String)>,
}

impl Cage {
    /// A new one, as long as real secrets are.
    fn next(&mut self) -> String {
        let canary = format!("{CANARY}{:02}Zk3vQ9mT7xW2pL5n", self.made.len());
        self.made.push(canary.clone());
        canary
    }

    /// Sends a request and keeps the answer.
    async fn send(&mut self, what: &str, request: reqwest::RequestBuilder) -> u16 {
        let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.unwrap_or_default();
        self.told.push((what.to_owned(), format!("{}{body}", text(&headers))));
        status
    }
}

fn text(headers: &HeaderMap) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

/// A call without a credential.
fn call(client: &Client) -> reqwest::RequestBuilder {
    let nobody = Client { key: None, ..client.clone() };
    let body = nobody.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
    nobody.modern_request(&body)
}

/// How a credential is written.
type Form = fn(&str) -> String;

/// Credentials of strangers, and what stands beside good ones, on every face.
async fn in_headers(rig: &Rig, cage: &mut Cage) {
    let bob = rig.client("bob");
    let faces = ["/api/v1/servers", "/api/v1/auditlogs", "/scim/v2/Users", "/account", "/nowhere"];
    let urls = faces.map(|path| format!("{}{path}", rig.gateway.base));
    let forms: [(&str, Form); 8] = [
        ("authorization", |c| format!("Bearer {c}")),
        ("authorization", |c| format!("Bearer rl_{c}{c}")),
        ("authorization", |c| format!("Bearer eyJhbGciOiJFZERTQSJ9.{c}.{c}")),
        ("authorization", |c| format!("Basic {c}")),
        ("authorization", |c| format!("{c} x")),
        ("x-runlayer-api-key", |c| format!("rl_{c}")),
        ("x-api-key", |c| c.to_owned()),
        ("cookie", |c| format!("__Host-session={c}; session={c}")),
    ];
    for (name, form) in forms {
        let canary = cage.next();
        cage.send(name, call(&bob).header(name, form(&canary))).await;
        for url in &urls {
            cage.send(name, bob.http.get(url).header(name, form(&canary))).await;
        }
    }
    // Beside a good credential: refused for something else, or not at all.
    for name in [
        "proxy-authorization",
        "x-upstream-key",
        "mcp-session-id",
        "cookie",
        "x-forwarded-for",
        "traceparent",
        "last-event-id",
    ] {
        let canary = cage.next();
        let mut request = call(&bob).bearer_auth(rig.key("bob")).header(name, &canary);
        cage.send(name, request).await;
        request = bob.post("{").header(name, &canary);
        cage.send(name, request).await;
    }
    // In the address, where no credential belongs.
    for name in ["access_token", "api_key", "token", "code"] {
        let canary = cage.next();
        for url in [bob.url.clone()].iter().chain(&urls) {
            let url = format!("{url}?{name}={canary}");
            cage.send(name, bob.http.post(&url).body("{}")).await;
            cage.send(name, bob.http.get(&url)).await;
        }
    }
}

/// What is sent to the authorization server and to the pages.
async fn in_forms(rig: &Rig, cage: &mut Cage) {
    let post = |path: &str, form: &[(&str, &str)]| {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = rig.client("bob").http.post(format!("{}{path}", rig.gateway.base));
        request.header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let grants = [
        ("authorization_code", vec!["code", "code_verifier", "client_secret"]),
        ("refresh_token", vec!["refresh_token", "client_secret"]),
        ("client_credentials", vec!["client_secret", "client_assertion"]),
        ("urn:ietf:params:oauth:grant-type:device_code", vec!["device_code"]),
        ("urn:ietf:params:oauth:grant-type:jwt-bearer", vec!["assertion"]),
        ("urn:ietf:params:oauth:grant-type:token-exchange", vec!["subject_token", "actor_token"]),
        ("password", vec!["password"]),
    ];
    for (grant, fields) in grants {
        for field in fields {
            let canary = cage.next();
            let form = [("grant_type", grant), ("client_id", "agent_unknown"), (field, &*canary)];
            assert!(cage.send(field, post("/api/v1/oauth/token", &form)).await >= 400);
        }
    }
    for path in ["/api/v1/oauth/revoke", "/api/v1/oauth/introspect"] {
        let canary = cage.next();
        cage.send(path, post(path, &[("token", &canary), ("client_secret", &canary)])).await;
    }
    let canary = cage.next();
    let form = [("email", "bob@example.com"), ("password", &*canary)];
    cage.send("a password", post("/sign-in", &form)).await;
}

/// What an upstream says when it fails, with our own credential for it in its mouth. (What it says in an answer that
/// is passed on are its own words.)
async fn from_upstreams(rig: &Rig, cage: &mut Cage) {
    let bob = rig.client("bob");
    for status in [401, 403, 407, 500, 502] {
        let canary = cage.next();
        let body =
            format!("{{\"error\":\"x-upstream-key {UPSTREAM_SECRET} {canary} is not good\"}}");
        let challenge = format!("Bearer error=\"{canary}\"");
        let answer = Answer::Json(status, body).with_header("www-authenticate", &challenge);
        let answer = answer.with_header("set-cookie", &format!("s={canary}"));
        rig.upstream.answer("list_items", answer);
        let body = bob.modern_body("tools/call", json!({"name": "list_items", "arguments": {}}));
        cage.send(&format!("an upstream's {status}"), bob.modern_request(&body)).await;
    }
    rig.upstream.answer("list_items", Answer::text("done"));
}

/// Commands that get a secret which is not good.
fn on_the_command_line(rig: &Rig, cage: &mut Cage) {
    let canary = cage.next();
    let url = format!("postgres://gateway:{canary}@127.0.0.1:9/none");
    let options = Options::new(&url);
    let broken = Gateway::prepare(options);
    let output = broken.cli(&["audit", "verify"], &[]);
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    cage.told.push(("a database that is not there".into(), String::from_utf8_lossy(&said).into()));
    let canary = cage.next();
    let output = rig.gateway.cli(&["key", "revoke"], &[&format!("rl_{canary}")]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).replace(&format!("rl_{canary}"), "");
    cage.told.push(("a key that is not there".into(), said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_canary_is_in_any_sink() {
    let collector = Collector::start().await;
    let config = format!(
        "telemetry.otlp_endpoint = \"{}\"\n[sign_in]\nlocal = true\n[scim]\ntoken = \"{}\"\n",
        collector.endpoint,
        super::revoked::SCIM_TOKEN
    );
    let database = Postgres::shared().database().await;
    let options = Options { config: config.clone(), ..Options::new(&database.url) };
    let mut rig = Rig::start_with(Setup { config, ..Setup::default() }, database, options).await;
    rig.secrets.push(super::revoked::SCIM_TOKEN.into());
    let mut cage = Cage::default();
    in_headers(&rig, &mut cage).await;
    in_forms(&rig, &mut cage).await;
    from_upstreams(&rig, &mut cage).await;
    on_the_command_line(&rig, &mut cage);
    assert!(cage.made.len() >= 35, "only {} canaries", cage.made.len());

    // What went right is in the sinks, too.
    assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
    let csv = rig.client("alice").at(&format!("{}/api/v1/auditlogs/export", rig.gateway.base));
    let csv = eventually("the export shows the failures", RECOVERY, async || {
        let text = csv.send(csv.request(Method::GET)).await;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        (text.contains("credential_invalid") && text.contains("upstream_invalid")).then_some(text)
    })
    .await;
    cage.told.push(("the CSV export".into(), csv));
    eventually("traces are exported", RECOVERY, async || {
        (collector.exported.lock().unwrap().len() > 1_000).then_some(())
    })
    .await;
    let traces = String::from_utf8_lossy(&collector.exported.lock().unwrap()).into_owned();
    cage.told.push(("traces".into(), traces));
    let secrets = [CANARY.to_owned(), UPSTREAM_SECRET.to_owned(), rig.key("bob").to_owned()];
    for (what, told) in &cage.told {
        for secret in &secrets {
            let line = told.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "{what} tells a secret: {line:?}");
        }
    }
    println!("{} canaries, {} answers searched", cage.made.len(), cage.told.len());
    // The Auditor searches tables, payloads, logs and metrics.
    rig.secrets.push(CANARY.into());
    rig.finish().await;
}
