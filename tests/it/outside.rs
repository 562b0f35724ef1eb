//! The organisation's own scanner, end to end: asked about what goes out and what comes back, heard as the built-in
//! one is, and not being there as the settings say. And sessions that a block ends.

use std::time::Duration;

use gateway_tests::client::Client;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::scanner::{Behaviour, ReferenceScanner, SCANNER_TOKEN};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
/// What the scanner finds.
const WORD: &str = "pineapple pizza";

/// The gateway's own answers about calls say what was in them: the tests read those.
const OWN: &str = "[[servers]]\nslug = \"runlayer\"\nscanners = { external = \"off\" }\n";

async fn world(settings: &str) -> (Rig, ReferenceScanner) {
    let scanner = ReferenceScanner::start().await;
    scanner.finds("injection", WORD);
    let setup = Setup {
        config: scanner.config(),
        state: format!("{OWN}[scanners]\n{settings}\n"),
        ..Setup::default()
    };
    let mut rig = Rig::start(setup).await;
    rig.secrets.push(SCANNER_TOKEN.into());
    (rig, scanner)
}

/// The findings of the last record of that action, once it is there.
async fn findings(rig: &Rig, action: &str) -> Value {
    eventually("it is recorded", PATIENCE, async || {
        let rows = rig.ask("alice", "list_audit_logs", json!({"action_type": [action]})).await;
        let id = rows["data"][0]["id"].as_str()?.to_owned();
        let row = rig.ask("alice", "get_audit_log", json!({"id": id})).await;
        Some(row["findings"].clone())
    })
    .await
}

fn says(text: &str) -> Value {
    json!({"text": text})
}

#[tokio::test]
async fn it_is_asked_about_both_ways_and_heard() {
    let block = "external = \"fail_closed\"\nmodes.tool_intent.injection = \"block\"\n\
                 modes.tool_call.injection = \"block\"\n\
                 modes.tool_intent.personal_data = \"mask\"\nmodes.tool_call.personal_data = \"mask\"";
    let (rig, scanner) = world(block).await;
    let bob = rig.client("bob");
    let calls = || rig.upstream.calls("echo").len();

    let passes = bob.call("echo", says("äpple \u{1f355}")).await;
    assert_eq!(passes.result()["isError"], false, "{:?}", passes.body);
    let asked = scanner.asked();
    let of_guard = |guard: &str| asked.iter().filter(|q| q["guard"] == guard).collect::<Vec<_>>();
    let (out, back) = (of_guard("tool_intent"), of_guard("tool_call"));
    assert_eq!((out.len(), back.len()), (1, 1), "{asked:?}");
    for question in [out[0], back[0]] {
        assert_eq!((&question["version"], &question["server"]), (&json!(1), &json!("fake")));
        assert_eq!(
            (&question["method"], &question["tool"]),
            (&json!("tools/call"), &json!("echo"))
        );
    }
    assert_eq!(out[0]["correlation_id"], back[0]["correlation_id"]);
    let said = json!({"path": "/params/arguments/text", "text": "äpple \u{1f355}"});
    assert!(out[0]["texts"].as_array().unwrap().contains(&said), "{}", out[0]);

    // What is found on the way out does not leave.
    let before = calls();
    let stopped = bob.call("echo", says(&format!("I like ä {WORD} a lot"))).await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);
    assert_eq!(calls(), before);
    let found = findings(&rig, "security_violation").await;
    assert_eq!(found[0]["rule"], "reference.word", "{found}");
    assert_eq!((&found[0]["class"], &found[0]["mode"]), (&json!("injection"), &json!("block")));
    assert_eq!(found[0]["path"], "/params/arguments/text");
    assert!(!found.to_string().contains(WORD), "{found}");

    // What is found on the way back does not arrive: as JSON, in an event, in the last event of several.
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{WORD}"}}],"isError":false}}}}"#
    );
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"step"}}"#;
    let whole = Answer::text(WORD);
    let event = Answer::events(&[answer.as_str()]);
    let many = Answer::events(&[progress, progress, answer.as_str()]);
    // Without the blank line that ends an event.
    let cut = Answer::Events(vec![(Duration::ZERO, format!("data: {answer}"))]);
    for (how, told, steps) in
        [("whole", whole, 0), ("event", event, 0), ("many", many, 2), ("cut", cut, 0)]
    {
        rig.upstream.answer("echo", told);
        let withheld = bob.call("echo", says(how)).await;
        assert_eq!(withheld.reason(), "scanner_blocked", "{how}: {:?}", withheld.body);
        let text = String::from_utf8_lossy(&withheld.body).into_owned();
        assert!(!text.contains(WORD), "{how}: {text}");
        assert_eq!(text.matches("\"step\"").count(), steps, "{how}: {text}");
    }
    // What is to be masked is, and nothing else, both ways.
    scanner.finds("personal_data", "Jane Dö");
    rig.upstream.answer("echo", Answer::text("for Jane D\u{f6}, \"now\""));
    let masked = bob.call("echo", says("\"Jane D\u{f6}\" \u{1f355}")).await;
    assert_eq!(masked.result()["content"][0]["text"], "for [masked:reference.word], \"now\"");
    let sent = rig.upstream.calls("echo").pop().unwrap();
    let arguments = &sent.json["params"]["arguments"];
    assert_eq!(arguments["text"], "\"[masked:reference.word]\" \u{1f355}", "{sent:?}");

    // Its own verdict counts, whatever was found.
    scanner.blocks("anchovies");
    rig.upstream.answer("echo", Answer::text("ok"));
    let stopped = bob.call("echo", says("anchovies")).await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);
    assert_eq!(findings(&rig, "security_violation").await[0]["rule"], "external_verdict");
    let passes = bob.call("echo", says("olives")).await;
    assert_eq!(passes.result()["isError"], false, "{:?}", passes.body);
    rig.finish().await;
}

#[tokio::test]
async fn where_it_does_not_answer_the_settings_decide() {
    let behaviours = [
        Behaviour::Hangs,
        Behaviour::Says("nonsense".into()),
        Behaviour::Says(
            r#"{"findings":[{"class":"injection","rule":"r","path":"/params/nowhere"}]}"#.into(),
        ),
    ];
    for (settings, closed) in
        [("external = \"fail_closed\"", true), ("external = \"fail_open\"", false)]
    {
        let (rig, scanner) = world(settings).await;
        let bob = rig.client("bob");
        for (count, behaviour) in behaviours.iter().enumerate() {
            scanner.behave(behaviour.clone());
            let sent = rig.upstream.calls("echo").len();
            let reply = bob.call("echo", says(&format!("call {count}"))).await;
            let (reason, leaves) = if closed { ("scanner_unavailable", 0) } else { ("", 1) };
            assert_eq!(reply.reason(), reason, "{behaviour:?}: {:?}", reply.body);
            assert_eq!(rig.upstream.calls("echo").len() - sent, leaves, "{behaviour:?}");
            scanner.behave(Behaviour::Answers);
            let passes = bob.call("echo", says("again")).await;
            assert_eq!(passes.result()["isError"], false, "{:?}", passes.body);
        }
        if !closed {
            scanner.behave(Behaviour::Says("[]".into()));
            let event = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[],"isError":false}}"#;
            rig.upstream.answer("echo", Answer::events(&[event]));
            assert_eq!(bob.call("echo", says("last")).await.result()["isError"], false);
            let found = findings(&rig, "tool_call_success").await;
            let rules: Vec<_> =
                found.as_array().unwrap().iter().map(|f| (&f["rule"], &f["guard"])).collect();
            let unavailable = json!("external_unavailable");
            let (out, back) = (json!("tool_intent"), json!("tool_call"));
            assert_eq!(rules, [(&unavailable, &out), (&unavailable, &back)], "{found}");
        }
        rig.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_ends_the_session_on_every_replica_and_its_streams() {
    let settings = "external = \"fail_closed\"\nend_session = true\n\
                    modes.tool_intent.injection = \"block\"";
    let (rig, _scanner) = world(settings).await;
    let options = Options { state: None, ..rig.gateway.options.clone() };
    let mut b = Gateway::start(options).await;
    let at_b = |client: &Client| client.at(&b.proxy_url("fake"));
    let bob = rig.client("bob");
    let (session, other) = (bob.legacy().await, bob.legacy().await);
    let there = gateway_tests::client::Session { client: at_b(&bob), id: session.id.clone() };
    assert_eq!(there.call("echo", says("hello")).await.status, 200);

    rig.upstream.answer("", Answer::Open(vec![(Duration::ZERO, ": hello\n\n".into())]));
    let open = |client: &Client, id: &Option<String>| {
        let get = client.request(http::Method::GET).header("accept", "text/event-stream");
        get.header("mcp-session-id", id.clone().unwrap_or_default())
    };
    let mut streams = Vec::new();
    for client in [&bob, &there.client] {
        let stream = open(client, &session.id).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let mut stays = open(&bob, &other.id).send().await.unwrap();

    let stopped = session.call("echo", says(WORD)).await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);
    let over = session.call("echo", says("hello")).await;
    assert_eq!((over.status, over.reason().as_str()), (404, "session_unknown"), "{:?}", over.body);
    eventually("it is over on the other replica", PATIENCE, async || {
        let reply = there.call("echo", says("hello")).await;
        (reply.status == 404).then(|| assert_eq!(reply.reason(), "session_unknown"))
    })
    .await;
    for mut stream in streams {
        let ends = async { while let Ok(Some(_)) = stream.chunk().await {} };
        tokio::time::timeout(PATIENCE, ends).await.expect("its stream ends");
    }

    // Another session of the same person goes on, and so do modern calls, which have none.
    assert_eq!(other.call("echo", says("hello")).await.status, 200);
    let first = tokio::time::timeout(PATIENCE, stays.chunk()).await.unwrap().unwrap();
    assert!(first.is_some(), "its stream is open");
    let stopped = bob.call("echo", says(WORD)).await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);
    assert_eq!(bob.call("echo", says("hello")).await.status, 200);
    // Whoever begins anew is let in.
    assert_eq!(bob.legacy().await.call("echo", says("hello")).await.status, 200);
    drop(stays);
    assert!(b.terminate().success());
    rig.finish().await;
}
