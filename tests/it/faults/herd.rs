//! A thousand callers need the same thing at the same moment, when nobody has it: it is fetched once (B9).

use std::time::Duration;

use futures_util::future::join_all;
use gateway_tests::browser::Browser;
use gateway_tests::client::{Client, Reply};
use gateway_tests::idp::{Algorithm, IdentityProvider};
use gateway_tests::rig::{Setup, check};
use gateway_tests::upstream::Answer;
use serde_json::json;

use crate::connect::connecting;

const HERD: usize = 1_000;
/// Longer than it takes until all of the herd wait.
const SLOW: Duration = Duration::from_millis(1_500);
const AUDIENCE: &str = "https://mcp.example.com";

async fn herd(client: &Client, tool: &str) -> Vec<Reply> {
    // Some are refused because too much happens at once; that is not what this is about.
    let client = Client { sightings: Default::default(), ..client.clone() };
    let calls = (0..HERD).map(|_| client.call(tool, json!({})));
    let replies = join_all(calls).await;
    let answered = replies.iter().filter(|reply| reply.result()["isError"] == false).count();
    println!("{HERD} callers of {tool}, {answered} answered");
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuers_keys_are_fetched_once() {
    let provider = IdentityProvider::start().await;
    let issuer = provider.issuer();
    let config =
        format!("[[identity.issuers]]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n");
    check(Setup { config, ..Setup::default() }, async |rig| {
        assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
        provider.slow(SLOW);
        for fetches in [1, 2] {
            let token = provider.token(Algorithm::EdDsa, "bob@example.com", AUDIENCE);
            let replies = herd(&rig.stranger("fake", Some(&token)), "echo").await;
            assert_eq!(provider.fetches(), fetches, "once for all of them");
            let turned_away = replies.iter().find(|reply| reply.status == 401);
            assert!(turned_away.is_none(), "a valid token was refused: {turned_away:?}");
            rig.secrets.push(token);
            // The next herd comes with tokens of keys that nobody has seen.
            provider.rotate();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_nobody_knows_is_looked_up_once() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        assert_eq!(bob.call("echo", json!({})).await.status, 200);
        let listings = || rig.upstream.received_of("tools/list").len();
        let listed = json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public", "tools": [
            {"name": "echo", "inputSchema": {"type": "object"}},
            {"name": "list_new", "inputSchema": {"type": "object"}},
        ]});
        rig.upstream.tool("list_new", json!({}));
        let slow = Answer::Late(SLOW, Box::new(Answer::Result(listed.to_string())));
        rig.upstream.answer("tools/list", slow);
        for (tool, exists) in [("list_new", true), ("list_none", false)] {
            // At most one a second, whatever asks: what was read a moment ago is asked for again.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let before = listings();
            let replies = herd(&bob, tool).await;
            assert_eq!(listings() - before, 1, "{tool}: once for all of them");
            let unknown = replies.iter().filter(|r| r.reason() == "target_not_found").count();
            assert_eq!(unknown > 0, !exists, "{tool}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_once() {
    connecting(async |rig, guarded| {
        let bob = rig.client_of("bob", "wiki");
        let mut browser = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        browser.connect("wiki").await.unwrap();
        assert_eq!(bob.call("echo", json!({})).await.result()["isError"], false);
        let due = "update upstream_connection set expires_at = now() + interval '30 seconds'";
        sqlx::query(due).execute(&rig.database.pool).await.unwrap();
        guarded.inner().slow = SLOW;
        let replies = herd(&bob, "echo").await;
        assert_eq!(guarded.grants("refresh_token"), 1, "once for all of them");
        assert!(replies.iter().any(|reply| reply.result()["isError"] == false));
        let reconnect = replies.iter().find(|reply| reply.reason() == "connection_required");
        assert!(reconnect.is_none(), "a good connection was given up: {reconnect:?}");
    })
    .await;
}
