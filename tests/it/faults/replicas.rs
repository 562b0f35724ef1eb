//! Two replicas that share nothing but Postgres (and the root key): what one has begun the other finishes.

use gateway_tests::client::{Client, Reply, Session, legacy_body};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

use super::{RECOVERY, chains_are_whole};

/// A rig whose gateway is replica A, and B beside it.
struct Pair {
    rig: Rig,
    b: Gateway,
}

impl Pair {
    async fn start() -> Pair {
        let rig = Rig::start(Setup::default()).await;
        let options = Options { state: None, ..rig.gateway.options.clone() };
        let b = Gateway::start(options).await;
        Pair { rig, b }
    }

    /// A person's client of either replica.
    fn clients(&self, name: &str, capabilities: Value) -> (Client, Client) {
        let mut a = self.rig.client(name);
        a.capabilities = capabilities;
        let b = a.at(&self.b.proxy_url("fake"));
        (a, b)
    }

    fn deletions(&self) -> usize {
        self.rig.upstream.calls("delete_item").len()
    }

    /// B stops first: what it owes is audited with the rest.
    async fn finish(mut self) {
        assert!(self.b.terminate().success());
        chains_are_whole(&self.rig);
        self.rig.finish().await;
    }
}

/// The same session, said to the other replica.
fn elsewhere(session: &Session, client: &Client) -> Session {
    Session { client: client.clone(), id: session.id.clone() }
}

/// The first message of a stream that stays open.
async fn first_message(response: &mut reqwest::Response) -> Value {
    let mut text = String::new();
    loop {
        let chunk = response.chunk().await.unwrap().expect("the stream stays open");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        let data = text.split_inclusive('\n').find_map(|line| line.strip_prefix("data:"));
        if let Some(data) = data.filter(|data| data.ends_with('\n')) {
            return serde_json::from_str(data.trim()).unwrap();
        }
    }
}

/// The last message of what is left of a stream.
async fn last_message(mut response: reqwest::Response) -> Value {
    let mut text = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    serde_json::from_str(data.next_back().expect("a message").trim()).unwrap()
}

fn delete(item: &str) -> Value {
    json!({"name": "delete_item", "arguments": {"item": item}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_on_one_replica_is_answered_on_the_other() {
    let pair = Pair::start().await;
    let (a, b) = pair.clients("bob", json!({"elicitation": {}}));
    let session = a.legacy().await;
    let there = elsewhere(&session, &b);
    for (item, action, ran) in [("one", "accept", true), ("two", "decline", false)] {
        let before = pair.deletions();
        let call = session.request(&legacy_body("tools/call", delete(item)));
        let mut stream = call.send().await.unwrap();
        let question = first_message(&mut stream).await;
        assert_eq!(question["method"], "elicitation/create", "{question}");
        assert_eq!(pair.deletions(), before, "nobody has agreed yet");
        let result = json!({"action": action, "content": {"confirm": true}});
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        let reply = b.send(there.request(&answer)).await;
        assert_eq!(reply.status, 202, "{:?}", reply.body);
        let answered = last_message(stream).await;
        assert_eq!(answered["result"]["isError"], !ran, "{answered}");
        assert_eq!(pair.deletions(), before + usize::from(ran));
    }
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modern_question_is_answered_on_the_other_and_only_once() {
    let pair = Pair::start().await;
    let (a, b) = pair.clients("bob", json!({"elicitation": {}}));
    let asked = a.modern("tools/call", delete("one")).await.result();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let requests = asked["inputRequests"].as_object().unwrap();
    let key = requests.keys().next().unwrap();
    let mut params = delete("one");
    params["requestState"] = asked["requestState"].clone();
    params["inputResponses"] = json!({key: {"action": "accept", "content": {"confirm": true}}});
    let again = async |client: &Client| client.modern("tools/call", params.clone()).await;
    let replies = tokio::join!(again(&b), again(&a));
    assert_one_ran(&replies);
    assert_eq!(again(&b).await.result()["isError"], true);
    assert_eq!(pair.deletions(), 1);
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_of_one_replica_is_decided_on_the_other_and_used_once() {
    let pair = Pair::start().await;
    let (a, b) = pair.clients("bob", json!({}));
    for round in 0..10 {
        let call = delete(&round.to_string());
        let asked = a.modern("tools/call", call.clone()).await.result();
        let refusal = &asked["_meta"]["com.runlayer/refusal"];
        assert_eq!(refusal["reason"], "confirmation_required", "{asked}");
        let link = refusal["approval_url"].as_str().unwrap();
        // The link is a page for people; programs decide by REST.
        let page = link.strip_prefix(&pair.rig.gateway.base).expect("a link to replica A");
        let path = format!("/api/v1{page}");
        let decision = b.at(&format!("{}{path}/decision", pair.b.base));
        let body = json!({"approve": true, "confirm": true}).to_string();
        let reply = decision.send(decision.post(body)).await;
        assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("agreed")));
        // The same agreed call, on both at once: there is one agreement.
        let replies = tokio::join!(
            a.modern("tools/call", call.clone()),
            b.modern("tools/call", call.clone())
        );
        assert_one_ran(&replies);
        assert_eq!(pair.deletions(), round + 1);
    }
    pair.finish().await;
}

fn assert_one_ran(replies: &(Reply, Reply)) {
    let ran = [&replies.0, &replies.1].map(|reply| reply.result()["isError"] == false);
    assert!(ran[0] != ran[1], "{:?} {:?}", replies.0.body, replies.1.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_one_replica_began_goes_on_at_the_other() {
    let pair = Pair::start().await;
    let (a, b) = pair.clients("bob", json!({}));
    for (begins, goes_on) in [(&a, &b), (&b, &a)] {
        let session = begins.legacy().await;
        let there = elsewhere(&session, goes_on);
        assert_eq!(session.call("echo", json!({})).await.result()["isError"], false);
        assert_eq!(there.call("echo", json!({})).await.result()["isError"], false);
    }
    let used: Vec<_> = pair.rig.upstream.calls("echo").iter().map(session_of).collect();
    assert_eq!((&used[0], &used[2]), (&used[1], &used[3]), "the upstream sees one session");
    assert_ne!(used[0], used[2]);
    pair.finish().await;
}

fn session_of(received: &gateway_tests::upstream::Received) -> String {
    received.header("mcp-session-id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_opens_no_replica() {
    let pair = Pair::start().await;
    let key = pair.rig.gateway.key("carol@example.com");
    let a = pair.rig.stranger("fake", Some(&key));
    let b = a.at(&pair.b.proxy_url("fake"));
    for client in [&a, &b] {
        eventually("the new key works", RECOVERY, async || {
            (client.call("echo", json!({})).await.status == 200).then_some(())
        })
        .await;
    }
    let id = key_id(&pair.rig.gateway, &key);
    let output = pair.rig.gateway.cli(&["key", "revoke"], &[&id]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for client in [&a, &b] {
        eventually("the key is refused", RECOVERY, async || {
            let reply = client.call("echo", json!({})).await;
            (reply.status == 401).then(|| assert_eq!(reply.reason(), "credential_invalid"))
        })
        .await;
    }
    // Her other key still works.
    assert_eq!(pair.rig.client("carol").call("echo", json!({})).await.status, 200);
    pair.finish().await;
}

/// By its last four characters, as an operator finds it.
pub(super) fn key_id(gateway: &Gateway, key: &str) -> String {
    let output = gateway.cli(&["key", "list"], &["--user", "carol@example.com"]);
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let ends = &key[key.len() - 4..];
    let line = listed.lines().find(|line| line.split_whitespace().nth(2) == Some(ends));
    let line = line.unwrap_or_else(|| panic!("{ends} is not in the list:\n{listed}"));
    line.split_whitespace().next().unwrap().to_owned()
}
