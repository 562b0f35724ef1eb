//! The organisation's own scanner, end to end: asked about what goes out and what comes back, heard as the built-in
//! one is, and not being there as the settings say. The gateway's own server does without it. And sessions that a block
//! ends.

use std::time::Duration;

use gateway_tests::client::{Client, Reply};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::scanner::{Behaviour, ReferenceScanner, SCANNER_TOKEN};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
/// What the scanner finds.
const WORD: &str = "pineapple pizza";

async fn world(settings: &str) -> (Rig, ReferenceScanner) {
    patient_world(settings, 1000).await
}

/// The scanner has so many milliseconds.
async fn patient_world(settings: &str, deadline: u32) -> (Rig, ReferenceScanner) {
    let scanner = ReferenceScanner::start().await;
    scanner.finds("injection", WORD);
    let setup = Setup {
        config: scanner.config().replace("1000", &deadline.to_string()),
        state: format!("[scanners]\n{settings}\n"),
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

/// The questions about definitions so far: of each, how many definitions.
fn batches(scanner: &ReferenceScanner) -> Vec<usize> {
    let asked = scanner.asked().into_iter().filter(|question| question["guard"] == "tool_list");
    let last = |question: Value| {
        let text = question["texts"].as_array()?.last()?["path"].as_str()?.to_owned();
        text.split('/').nth(1)?.parse::<usize>().ok()
    };
    asked.filter_map(last).map(|last| last + 1).collect()
}

async fn listed(client: &Client) -> Vec<String> {
    client.modern("tools/list", json!({})).await.names("tools")
}

/// Calls a tool that is new: the gateway looks for it once in a while.
async fn called(client: &Client, tool: &str) -> Reply {
    eventually("it is known", PATIENCE, async || {
        let reply = client.call(tool, json!({})).await;
        (reply.reason() != "target_not_found").then_some(reply)
    })
    .await
}

fn saying(text: &str) -> Value {
    json!({"description": format!("Lists. {text}")})
}

#[tokio::test]
async fn definitions_are_read_once_and_before_they_are_shown() {
    let settings = "external = \"fail_closed\"\nmodes.tool_list.injection = \"block\"";
    let (rig, scanner) = world(settings).await;
    let bob = rig.client("bob");
    for n in 0..200 {
        rig.upstream.tool(&format!("list_{n}"), json!({}));
    }
    let whole = listed(&bob).await;
    assert_eq!(whole.len(), 203, "{whole:?}");
    assert_eq!(batches(&scanner), [50, 50, 50, 50, 4]);
    let asked = scanner.asked();
    let first = asked.iter().find(|question| question["guard"] == "tool_list").unwrap();
    assert_eq!((&first["method"], &first["server"]), (&json!("tools/list"), &json!("fake")));
    let said = json!({"path": "/0/description", "text": "The tool echo"});
    assert!(first["texts"].as_array().unwrap().contains(&said), "{first}");
    // What has been read is not asked about again, in neither era nor by anybody; nor when a tool of it is called.
    assert_eq!(listed(&bob).await, whole);
    let session = bob.legacy().await;
    assert_eq!(session.ask("tools/list", Value::Null).await.names("tools"), whole);
    assert_eq!(listed(&rig.client("carol")).await, ["echo"]);
    assert_eq!(bob.call("echo", says("hello")).await.result()["isError"], false);
    let introduced = batches(&scanner).split_off(5);
    assert_eq!(introduced, [1], "of the server's introduction");

    // One that it stops is not shown, in whatever form the listing comes, and cannot be called.
    let before = batches(&scanner).len();
    rig.upstream.tool("list_bad", saying(WORD));
    assert_eq!(listed(&bob).await, whole);
    assert_eq!(batches(&scanner).split_off(before), [1]);
    let stopped = called(&bob, "list_bad").await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);
    assert!(rig.upstream.calls("list_bad").is_empty());
    let found = findings(&rig, "security_violation").await;
    let shown =
        rig.ask("bob", "list_server_tools", json!({"server_id": "fake", "limit": 200})).await;
    assert!(!shown.to_string().contains("list_bad"), "{shown}");
    let flagged = eventually("it is recorded", PATIENCE, async || {
        let asked = json!({"action_type": ["security_violation"], "limit": 50});
        let rows = rig.ask("alice", "list_audit_logs", asked).await;
        let of_listing = |row: &&Value| row["method"].is_null() && row["resource_id"] == "list_bad";
        Some(rows["data"].as_array()?.iter().find(of_listing)?["id"].clone())
    })
    .await;
    let flagged = rig.ask("alice", "get_audit_log", json!({"id": flagged})).await;
    let finding = &flagged["findings"][0];
    assert_eq!(
        (&finding["guard"], &finding["rule"]),
        (&json!("tool_list"), &json!("reference.word"))
    );
    assert_eq!((&finding["path"], &finding["mode"]), (&json!("/description"), &json!("block")));
    assert!(!flagged["findings"].to_string().contains(WORD), "{flagged} {found}");

    // A verdict on many is about one of them: it is asked which.
    scanner.blocks("anchovies");
    for n in 0..7 {
        let text = if n == 3 { "With anchovies." } else { "" };
        rig.upstream.tool(&format!("list_more_{n}"), saying(text));
    }
    let more = listed(&bob).await;
    assert_eq!(more.len(), 203 + 6, "{more:?}");
    assert!(!more.contains(&"list_more_3".to_owned()), "{more:?}");
    let stopped = called(&bob, "list_more_3").await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);

    // In an event; and what a server says of itself.
    let event = format!(
        r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"tools":[{{"name":"echo","description":"{WORD}!","inputSchema":{{"type":"object"}}}},{{"name":"list_items","inputSchema":{{"type":"object"}}}}]}}}}"#
    );
    rig.upstream.answer("tools/list", Answer::events(&[&event]));
    let reply = session.ask("tools/list", Value::Null).await;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("list_items") && !text.contains("\"echo\""), "{text}");
    let introduction = format!(
        r#"{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"f","version":"1"}},"instructions":"{WORD}"}}"#
    );
    rig.upstream.answer("initialize", Answer::Result(introduction));
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "rig", "version": "1"}});
    let body = gateway_tests::client::legacy_body("initialize", params);
    let reply = bob.send(bob.post(body.to_string())).await;
    assert_eq!(reply.result()["instructions"], "", "{:?}", reply.body);
    // What stands beside the definitions is read like any other answer.
    let beside = format!(r#"{{"tools":[],"note":"{WORD}"}}"#);
    rig.upstream.answer("tools/list", Answer::Result(beside));
    assert_eq!(bob.modern("tools/list", json!({})).await.status, 200);
    let found = findings(&rig, "listing_read").await;
    assert_eq!(
        (&found[0]["guard"], &found[0]["path"]),
        (&json!("tool_call"), &json!("/result/note"))
    );
    rig.finish().await;
}

#[tokio::test]
async fn definitions_that_nobody_has_read_are_shown_as_the_settings_say() {
    for (settings, closed) in
        [("external = \"fail_closed\"", true), ("external = \"fail_open\"", false)]
    {
        let (rig, scanner) = world(settings).await;
        let bob = rig.client("bob");
        let known = listed(&bob).await;
        // It would not answer about these, but everything in the listing has been read.
        scanner.behave(Behaviour::HangsAbout("The tool ".into()));
        assert_eq!(listed(&bob).await, known);
        scanner.behave(Behaviour::HangsAbout("Anew.".into()));
        rig.upstream.tool("list_new", saying("Anew."));
        let reply = bob.modern("tools/list", json!({})).await;
        let finding = json!({"guard": "tool_list", "rule": "external_unavailable"});
        let same =
            |found: &Value| found["guard"] == finding["guard"] && found["rule"] == finding["rule"];
        if closed {
            assert_eq!(reply.reason(), "scanner_unavailable", "{:?}", reply.body);
        } else {
            assert!(reply.names("tools").contains(&"list_new".to_owned()), "{:?}", reply.body);
            let found = findings(&rig, "listing_read").await;
            assert!(found.as_array().unwrap().iter().any(same), "{found}");
        }
        // A tool that was never listed here is read when it is called.
        rig.upstream.tool("list_unseen", json!({}));
        scanner.behave(Behaviour::HangsAbout("The tool list_unseen".into()));
        let reply = called(&bob, "list_unseen").await;
        assert_eq!(
            reply.reason(),
            if closed { "scanner_unavailable" } else { "" },
            "{:?}",
            reply.body
        );
        assert_eq!(rig.upstream.calls("list_unseen").len(), usize::from(!closed));
        scanner.behave(Behaviour::Answers);
        assert!(listed(&bob).await.contains(&"list_new".to_owned()));
        assert_eq!(bob.call("list_unseen", json!({})).await.result()["isError"], false);
        rig.finish().await;
    }
}

/// What the scanner is asked about for ever.
const NEVER: &str = "no end of it";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_although_the_scanner_is_asked_about_an_event() {
    // Longer than anybody here waits.
    let (mut rig, scanner) = patient_world("external = \"fail_closed\"", 30_000).await;
    scanner.behave(Behaviour::HangsAbout(NEVER.into()));
    let asked = async |count: usize| {
        eventually("it is asked", PATIENCE, async || {
            let asked = scanner.asked();
            let never = asked.iter().filter(|question| question.to_string().contains(NEVER));
            (never.count() == count).then_some(())
        })
        .await;
    };
    let note = format!(
        r#"data: {{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{NEVER}"}}}}"#
    );
    let event = vec![(Duration::ZERO, format!("{note}\n\n"))];

    // The key is revoked: of a stream that the client keeps open, and of a call.
    let key = rig.gateway.key("bob@example.com");
    rig.secrets.push(key.clone());
    let bob = rig.stranger("fake", Some(&key));
    let session = bob.legacy().await;
    rig.upstream.answer("", Answer::Open(event.clone()));
    let get = bob.request(http::Method::GET).header("accept", "text/event-stream");
    let get = get.header("mcp-session-id", session.id.clone().unwrap_or_default());
    let mut stream = get.send().await.unwrap();
    asked(1).await;
    rig.upstream.answer("echo", Answer::Open(event));
    let call = session.request(&gateway_tests::client::legacy_body(
        "tools/call",
        json!({"name": "echo", "arguments": {"text": "revoked"}}),
    ));
    let mut answer = call.send().await.unwrap();
    asked(2).await;
    let listed = rig.gateway.cli(&["key", "list"], &["--user", "bob@example.com"]).stdout;
    let listed = String::from_utf8(listed).unwrap();
    let row =
        listed.lines().find(|row| row.split_whitespace().nth(2) == Some(&key[key.len() - 4..]));
    let id = row.unwrap_or_else(|| panic!("{listed}")).split_whitespace().next().unwrap();
    assert!(rig.gateway.cli(&["key", "revoke"], &[id]).status.success());
    let mut told = String::new();
    let ends = async {
        while let Ok(Some(_)) = stream.chunk().await {}
        while let Ok(Some(chunk)) = answer.chunk().await {
            told.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(PATIENCE, ends).await.expect("both end before the scanner's deadline");
    assert!(told.contains("credential_invalid") && !told.contains(NEVER), "{told}");

    // The client leaves: its record is there long before the scanner's deadline.
    let bob = rig.client("bob");
    let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": says("left")}));
    let answer = bob.modern_request(&body).send().await.unwrap();
    asked(3).await;
    drop(answer);
    eventually("it is recorded", PATIENCE, async || {
        let query = json!({"action_type": ["tool_call_failure"], "outcome": "cancelled"});
        let rows = rig.ask("alice", "list_audit_logs", query).await;
        (!rows["data"].as_array()?.is_empty()).then_some(())
    })
    .await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_stream_end_with_their_session_on_every_replica() {
    let settings = "external = \"fail_closed\"\nend_session = true\n\
                    modes.tool_intent.injection = \"block\"";
    let (rig, _scanner) = world(settings).await;
    let options = Options { state: None, ..rig.gateway.options.clone() };
    let mut b = Gateway::start(options).await;
    let bob = rig.client("bob");
    let (session, other) = (bob.legacy().await, bob.legacy().await);
    let client = bob.at(&b.proxy_url("fake"));
    let there = gateway_tests::client::Session { client, id: session.id.clone() };
    let step = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"step"}}"#;
    // Steps without end: a stream that is never at rest has to end, too.
    let steps = (0..2000).map(|_| (Duration::from_millis(50), format!("data: {step}\n\n")));
    rig.upstream.answer("list_items", Answer::Open(steps.collect()));
    let mut calls = Vec::new();
    for session in [&session, &there, &other] {
        let call = json!({"name": "list_items", "arguments": {}});
        let call = session.request(&gateway_tests::client::legacy_body("tools/call", call));
        let mut answer = call.send().await.unwrap();
        let first = answer.chunk().await.unwrap().expect("it has begun");
        assert!(first.starts_with(b"data: "), "{first:?}");
        calls.push(answer);
    }
    let stopped = session.call("echo", says(WORD)).await;
    assert_eq!(stopped.reason(), "scanner_blocked", "{:?}", stopped.body);
    let mut goes_on = calls.pop().unwrap();
    for mut answer in calls {
        let mut told = String::new();
        let ends = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                told.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(PATIENCE, ends).await.expect("the call ends");
        assert!(told.contains("\"session_unknown\""), "{told}");
    }
    let next = tokio::time::timeout(PATIENCE, goes_on.chunk()).await.unwrap().unwrap();
    assert!(next.is_some(), "another session's call goes on");
    drop(goes_on);
    // They had left: nobody knows what they did.
    eventually("both are recorded", PATIENCE, async || {
        let query = json!({"action_type": ["tool_call_failure"], "outcome": "unknown"});
        let rows = rig.ask("alice", "list_audit_logs", query).await;
        let ended = |row: &&Value| row["reason"] == "session_unknown";
        (rows["data"].as_array()?.iter().filter(ended).count() == 2).then_some(())
    })
    .await;
    assert!(b.terminate().success());
    rig.finish().await;
}

#[tokio::test]
async fn the_gateways_own_server_does_without_it_unless_it_is_named() {
    let (rig, scanner) = world("external = \"fail_closed\"").await;
    scanner.behave(Behaviour::Hangs);
    let bob = rig.client("bob");
    assert_eq!(bob.call("echo", says("hello")).await.reason(), "scanner_unavailable");
    let read = async || {
        let alice = rig.client_of("alice", "runlayer");
        let params = json!({"name": "list_audit_logs", "arguments": {}});
        alice.modern("tools/call", params).await
    };
    let reply = read().await;
    assert!(reply.result()["structuredContent"]["data"].is_array(), "{:?}", reply.body);
    let shown =
        rig.ask("alice", "get_security_scanner_settings", json!({"server_id": "runlayer"})).await;
    assert_eq!(shown["effective"]["external"], "off", "{shown}");
    let named =
        json!({"server_id": "runlayer", "settings": {"external": "fail_closed"}, "confirm": true});
    rig.ask("alice", "update_security_scanner_settings", named).await;
    eventually("it holds", PATIENCE, async || {
        (read().await.reason() == "scanner_unavailable").then_some(())
    })
    .await;
    rig.finish().await;
}
