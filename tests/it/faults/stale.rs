//! A replica that cannot learn what was taken back: once its catalogue is older than `catalogue.max_age` it lets
//! nobody in, whatever the credential, and ends the streams that are open. The others go on.

use std::time::{Duration, Instant};

use gateway_tests::breaker::{Breaker, Mode};
use gateway_tests::browser::Browser;
use gateway_tests::client::Client;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

use super::RECOVERY;
use super::revoked::{ended, open_stream};

/// Replica A, and B whose way to Postgres can be frozen.
struct Pair {
    rig: Rig,
    b: Gateway,
    breaker: Breaker,
    _postgres: Postgres,
}

impl Pair {
    async fn start() -> Pair {
        let postgres = Postgres::start();
        let database = postgres.database().await;
        let target = format!("127.0.0.1:{}", postgres.port()).parse().unwrap();
        let breaker = Breaker::start(target).await;
        let through = database.url_through(breaker.address.port());
        let config = "[sign_in]\nlocal = true\n".to_owned();
        let options = Options { config, ..Options::new(&database.url) };
        let rig = Rig::start_with(Setup::default(), database, options).await;
        let config = format!(
            "server.public_url = \"{}\"\ncatalogue.poll = \"200ms\"\ncatalogue.max_age = \"2s\"\n{}",
            rig.gateway.base, rig.gateway.options.config
        );
        let options = rig.gateway.options.clone();
        let options = Options { state: None, config, database_url: Some(through), ..options };
        let b = Gateway::start(options).await;
        let hello = r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
        let hello = vec![(Duration::ZERO, format!("{hello}\n\n"))];
        rig.upstream.answer("subscriptions/listen", Answer::Open(hello));
        Pair { rig, b, breaker, _postgres: postgres }
    }

    async fn ready(&self) -> u16 {
        let answer = reqwest::get(format!("{}/health/ready", self.b.admin)).await.unwrap();
        answer.status().as_u16()
    }

    /// Ends the session of Bob's program, at A.
    async fn end_session(&self) {
        let send = async |method: http::Method, path: &str| -> Value {
            let client = self.rig.client("bob").at(&format!("{}{path}", self.rig.gateway.base));
            let reply = client.send(client.request(method)).await;
            assert_eq!(reply.status, 200, "{:?}", reply.body);
            reply.json()
        };
        let listed = send(http::Method::GET, "/api/v1/sessions").await;
        let id = listed["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}"));
        send(http::Method::DELETE, &format!("/api/v1/sessions/{id}")).await;
    }
}

async fn works(client: &Client) {
    eventually("it works", RECOVERY, async || {
        (client.call("echo", json!({})).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_refresh_lets_nobody_in() {
    let mut pair = Pair::start().await;
    let mut browser = Browser::signed_in(&pair.rig.gateway, "bob@example.com").await;
    let given = browser.authorize(&[]).await;
    let token = given["access_token"].as_str().unwrap_or_else(|| panic!("{given}")).to_owned();
    let refresh = given["refresh_token"].as_str().map(str::to_owned);
    pair.rig.secrets.extend([token.clone()].into_iter().chain(refresh));
    let by_token = pair.rig.stranger("fake", Some(&token));
    let by_key = pair.rig.client("bob");
    let at_b = |client: &Client| client.at(&pair.b.proxy_url("fake"));
    let [token_at_b, key_at_b] = [at_b(&by_token), at_b(&by_key)];
    let mut streams = Vec::new();
    for client in [&by_token, &by_key, &token_at_b, &key_at_b] {
        works(client).await;
    }
    for client in [&token_at_b, &key_at_b] {
        streams.push(open_stream(client).await);
    }

    pair.breaker.set(Mode::Stall);
    let from = Instant::now();
    pair.end_session().await;
    for client in [&token_at_b, &key_at_b] {
        eventually("B knows that it knows nothing", RECOVERY, async || {
            let reply = client.call("echo", json!({})).await;
            (reply.reason() == "catalogue_stale").then(|| assert_eq!(reply.status, 503))
        })
        .await;
    }
    println!("calls at the frozen replica: catalogue_stale after {:?}", from.elapsed());
    for stream in streams {
        println!("its streams ended after {:?}", ended("stale", stream).await - from);
    }
    let before = pair.rig.upstream.receipts().len();
    for client in [&token_at_b, &key_at_b] {
        for method in ["tools/list", "tools/call", "subscriptions/listen", "server/discover"] {
            let params = json!({"name": "echo", "arguments": {}, "notifications": {}});
            let reply = client.modern(method, params).await;
            assert_eq!((reply.status, reply.reason()), (503, "catalogue_stale".into()), "{method}");
        }
        let rest = client.at(&format!("{}/api/v1/servers", pair.b.base));
        let reply = rest.send(rest.request(http::Method::GET)).await;
        assert_eq!((reply.status, &reply.json()["reason"]), (503, &json!("catalogue_stale")));
    }
    assert_eq!(pair.rig.upstream.receipts().len(), before, "nothing went upstream");
    assert_eq!(pair.ready().await, 503);
    works(&by_key).await;

    // Back again it knows what happened meanwhile before it lets anybody in.
    pair.breaker.set(Mode::Pass);
    eventually("B refuses the ended session", RECOVERY, async || {
        let reply = token_at_b.call("echo", json!({})).await;
        assert_ne!(reply.status, 200, "the session was ended");
        (reply.status == 401).then_some(())
    })
    .await;
    works(&key_at_b).await;
    assert_eq!(by_token.call("echo", json!({})).await.status, 401);
    assert!(pair.b.terminate().success());
    pair.rig.finish().await;
}
