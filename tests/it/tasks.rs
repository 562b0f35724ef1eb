//! Tasks belong to whoever started them; those that a client runs for its server are the client's own.

use std::time::Duration;

use gateway_tests::rig::{Setup, check};
use gateway_tests::upstream::Answer;
use serde_json::json;

const RELATED: &str = "io.modelcontextprotocol/related-task";

#[tokio::test]
async fn a_task_belongs_to_whoever_started_it() {
    check(Setup::default(), async |rig| {
        let started = r#"{"resultType":"task","taskId":"t-1","status":"working","x":1E4}"#;
        rig.upstream.answer("echo", Answer::Result(started.into()));
        rig.upstream.answer("tasks/get", Answer::Result(started.into()));
        let mut bob = rig.client("bob");
        bob.capabilities = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        let reply = bob.call("echo", json!({})).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains("1E4}") && !text.contains("t-1"), "{text}");
        let handle = reply.result()["taskId"].as_str().unwrap_or_default().to_owned();
        let asked = bob.modern("tasks/get", json!({"taskId": handle})).await;
        assert_eq!(asked.result()["taskId"], json!(handle), "{:?}", asked.body);
        let received = rig.upstream.received_of("tasks/get");
        assert_eq!(received[0].json["params"]["taskId"], "t-1");
        assert_eq!(received[0].header("mcp-name"), "t-1");
        for (client, id) in [(rig.client("carol"), &*handle), (bob.clone(), "t-1"), (bob, "x")] {
            let refused = client.modern("tasks/get", json!({"taskId": id})).await;
            assert_eq!(refused.reason(), "task_unknown", "{id}");
        }
        assert_eq!(rig.upstream.received_of("tasks/get").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_legacy_task_is_started_asked_for_and_ended_by_its_own_person() {
    check(Setup::default(), async |rig| {
        let task = r#"{"task":{"taskId":"t-1","status":"working","ttl":null,"createdAt":"x"}}"#;
        rig.upstream.answer("echo", Answer::Result(task.into()));
        let session = rig.client("bob").legacy().await;
        let call = json!({"name": "echo", "arguments": {}, "task": {}});
        let handle = session.ask("tools/call", call).await.result()["task"]["taskId"].clone();
        assert_ne!(handle, "t-1");
        let carol = rig.client("carol").legacy().await;
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let status = Answer::Result(r#"{"taskId":"t-1","status":"working"}"#.into());
            rig.upstream.answer(method, status);
            for (session, id) in [(&carol, handle.clone()), (&session, json!("t-1"))] {
                let refused = session.ask(method, json!({"taskId": id})).await;
                assert_eq!((refused.status, &*refused.reason()), (200, "task_unknown"), "{method}");
            }
            let asked = session.ask(method, json!({"taskId": handle})).await;
            assert_eq!(asked.result()["taskId"], handle, "{method}: {:?}", asked.body);
            let received = rig.upstream.received_of(method);
            assert_eq!(received.len(), 1, "{method}: only the starter's leaves");
            assert_eq!(received[0].json["params"]["taskId"], "t-1");
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_would_become_a_task_is_refused_by_an_error() {
    check(Setup::default(), async |rig| {
        let session = rig.client("bob").legacy().await;
        let mut call = json!({"name": "echo", "arguments": {"text": "this is forbidden"}});
        assert_eq!(session.ask("tools/call", call.clone()).await.result()["isError"], true);
        call["task"] = json!({"ttl": 1000});
        let refused = session.ask("tools/call", call).await;
        assert_eq!((refused.status, &*refused.reason()), (200, "policy_denied"));
        let error = refused.error();
        assert_eq!(error["code"], -31403, "{error}");
        assert!(!error["data"]["policy_ids"].as_array().unwrap().is_empty(), "{error}");
        assert!(error["message"].as_str().unwrap().contains("That word is forbidden"), "{error}");
        assert!(rig.upstream.calls("echo").is_empty());
    })
    .await;
}

/// On the stream of a task's result the server asks on behalf of the task, and asks for a task of the
/// client's; both sides must recognise their own ids in what the other sends.
#[tokio::test]
async fn both_sides_recognise_their_own_tasks() {
    check(Setup::default(), async |rig| {
        let event = |text: &str| (Duration::ZERO, format!("data: {text}\n\n"));
        let of_theirs = r#"{"jsonrpc":"2.0","id":8,"method":"tasks/get","params":{"taskId":"c-1"}}"#;
        let of_ours = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{{"_meta":{{"{RELATED}":{{"taskId":"t-1"}}}}}}}}"#
        );
        let status = r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t-1"}}"#;
        let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#;
        let events = [event(of_theirs), event(&of_ours), event(status), event(result)];
        rig.upstream.answer("tasks/result", Answer::Events(events.to_vec()));
        rig.upstream.answer("echo", Answer::Result(r#"{"task":{"taskId":"t-1"}}"#.into()));
        let session = rig.client("bob").legacy().await;
        let call = json!({"name": "echo", "arguments": {}, "task": {}});
        let handle = session.ask("tools/call", call).await.result()["task"]["taskId"].clone();
        let told = session.ask("tasks/result", json!({"taskId": handle})).await.messages();
        assert_eq!(told[0]["params"]["taskId"], "c-1");
        assert_eq!(told[1]["params"]["_meta"][RELATED]["taskId"], handle);
        assert_eq!(told[2]["params"]["taskId"], handle);

        let answer = |id: &serde_json::Value| json!({"jsonrpc": "2.0", "id": 7, "result": {"action": "accept", "_meta": {RELATED: {"taskId": id}}}});
        let send = async |body| session.client.send(session.request(&body)).await;
        assert_eq!(send(answer(&handle)).await.status, 202);
        assert_eq!(send(answer(&json!("c-1"))).await.status, 202, "a task of the client's");
        let status = json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "c-1", "status": "completed"}});
        assert_eq!(send(status.clone()).await.status, 202);
        let received = rig.upstream.received();
        for sent in [answer(&json!("t-1")), answer(&json!("c-1")), status] {
            assert!(received.iter().any(|r| r.json == sent), "{sent}");
        }

        let theirs = rig.client("carol").legacy().await;
        let before = rig.upstream.received().len();
        for id in [handle, json!("rl-task.x")] {
            let reply = theirs.client.send(theirs.request(&answer(&id))).await;
            assert_eq!(reply.reason(), "task_unknown", "{id}");
            let call = json!({"name": "echo", "arguments": {}, "_meta": {RELATED: {"taskId": id}}});
            assert_eq!(theirs.ask("tools/call", call).await.reason(), "task_unknown", "{id}");
        }
        assert_eq!(rig.upstream.received().len(), before, "nothing was forwarded");
    })
    .await;
}
