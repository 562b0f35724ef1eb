//! Access that is asked for by whoever was denied, granted by somebody else, used by the same client, and
//! over by itself.

use std::time::Duration;

use gateway_tests::client::Session;
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use gateway_tests::webhook::{Receiver, WEBHOOK_SECRET};
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(30);
const CHANGED: &str = "notifications/tools/list_changed";

/// A stream that the client keeps open, and what has come on it.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    /// Reads until the client has been told `times` times that its tools have changed.
    async fn told(&mut self, times: usize) {
        while self.text.matches(CHANGED).count() < times {
            let chunk = tokio::time::timeout(BOUND, self.response.chunk()).await;
            let chunk = chunk.expect("something comes").expect("the stream goes on");
            self.text.push_str(&String::from_utf8_lossy(&chunk.expect("it stays open")));
        }
        assert_eq!(self.text.matches(CHANGED).count(), times, "{}", self.text);
    }
}

async fn open(rig: &Rig, session: &Session) -> Stream {
    rig.upstream.answer("", Answer::Open(vec![(Duration::ZERO, ": hello\n\n".into())]));
    let get = session.client.request(http::Method::GET).header("accept", "text/event-stream");
    let get = get.header("mcp-session-id", session.id.as_deref().unwrap_or_default());
    let response = get.send().await.expect("it opens");
    assert_eq!(response.status(), 200);
    Stream { response, text: String::new() }
}

async fn tools(session: &Session) -> Vec<String> {
    session.ask("tools/list", Value::Null).await.names("tools")
}

async fn listen(rig: &Rig, notifications: Value) -> Stream {
    let hello =
        r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
    let hello = format!("data: {hello}\n\n");
    rig.upstream.answer("subscriptions/listen", Answer::Open(vec![(Duration::ZERO, hello)]));
    let carol = rig.client("carol");
    let body = carol.modern_body("subscriptions/listen", json!({"notifications": notifications}));
    let response = carol.modern_request(&body).send().await.expect("it opens");
    Stream { response, text: String::new() }
}

#[tokio::test]
async fn a_denied_call_names_the_way_and_the_way_leads_there_and_ends() {
    let receiver = Receiver::start(&[500]).await;
    let setup = Setup { config: receiver.config(), ..Setup::default() };
    check(setup, async |rig| {
        rig.secrets.push(WEBHOOK_SECRET.into());
        let session = rig.client("carol").legacy().await;
        assert_eq!(tools(&session).await, ["echo"]);
        let mut stream = open(rig, &session).await;
        let mut modern = listen(rig, json!({"toolsListChanged": true})).await;
        let mut deaf = listen(rig, json!({})).await;

        // Denied by a rule, and not allowed at all: both name the way, in words and for machines.
        let denied = session.call("echo", json!({"text": "forbidden"})).await;
        let text = denied.result()["content"][0]["text"].to_string();
        assert!(text.contains("call request_access of the Runlayer MCP"), "{text}");
        let unknown = session.call("no_such_tool", json!({})).await.error();
        let hidden = session.call("hidden", json!({})).await.error();
        assert_eq!(hidden["message"], unknown["message"], "what is withheld looks absent");
        let message = hidden["message"].to_string();
        assert!(message.contains("call request_access of the Runlayer MCP"), "{message}");
        let mut arguments = hidden["data"]["request_access"].clone();
        assert_eq!(arguments, json!({"server_id": "fake", "tools": ["hidden"]}));

        // Its own arguments, a reason, and consent are all that it takes.
        arguments["reason"] = json!("on call tonight");
        arguments["confirm"] = json!(true);
        let asked = rig.ask("carol", "request_access", arguments).await;
        assert_eq!((&asked["status"], &asked["server"]), (&json!("pending"), &json!("fake")));
        let id = asked["id"].clone();
        // The receiver failed at first: the same notice comes again.
        eventually("the notice arrives", BOUND, async || {
            receiver.events("access_request.created").pop()
        })
        .await;
        let received = receiver.received();
        assert_eq!((received[0].status, received[1].status), (500, 204));
        assert_eq!((&received[0].id, &received[0].event), (&received[1].id, &received[1].event));
        assert!(received.iter().all(|received| received.signed), "{received:?}");
        assert_eq!(received[1].event["data"]["id"], id);

        // Not by whoever asked; by somebody else, and for a while.
        let ends = time::OffsetDateTime::now_utc() + time::Duration::seconds(12);
        let ends = ends.format(&time::format_description::well_known::Rfc3339).expect("a time");
        let ruling = json!({"id": id, "decision": "approve", "expires_at": ends, "confirm": true});
        let own = rig.client_of("carol", "runlayer");
        let own = own.call("decide_access_request", ruling.clone()).await;
        assert_eq!(own.reason(), "role_missing", "{:?}", own.body);
        let granted = rig.ask("alice", "decide_access_request", ruling).await;
        assert_eq!((&granted["status"], &granted["in_force"]), (&json!("approved"), &json!(true)));

        // The same client is told, sees the tool and calls it.
        stream.told(1).await;
        modern.told(1).await;
        let tagged = modern.text.contains("\"io.modelcontextprotocol/subscriptionId\":\"rig-");
        assert!(tagged, "{}", modern.text);
        assert!(tools(&session).await.contains(&"hidden".to_owned()));
        let called = session.call("hidden", json!({})).await;
        assert_eq!(called.result()["isError"], false, "{:?}", called.body);
        assert_eq!(rig.upstream.calls("hidden").len(), 1);

        // And it is over by itself.
        stream.told(2).await;
        modern.told(2).await;
        assert_eq!(tools(&session).await, ["echo"]);
        let over = session.call("hidden", json!({})).await;
        assert_eq!(over.reason(), "target_not_found", "{:?}", over.body);
        assert_eq!(rig.upstream.calls("hidden").len(), 1);
        eventually("its end is told", BOUND, async || {
            receiver.events("access_request.expired").pop()
        })
        .await;
        assert_eq!(receiver.events("access_request.approved").len(), 1);
        let rows = json!({"action_type": ["access_request_expired"]});
        eventually("and recorded", BOUND, async || {
            let rows = rig.ask("alice", "list_audit_logs", rows.clone()).await;
            (rows["data"].as_array().map(Vec::len) == Some(1)).then_some(())
        })
        .await;
        let mine = rig.ask("carol", "list_access_requests", json!({"status": "expired"})).await;
        assert_eq!(mine["data"][0]["id"], id);
        // Who did not want to know was not told.
        let quiet = tokio::time::timeout(Duration::from_millis(1), async {
            loop {
                let Ok(Some(chunk)) = deaf.response.chunk().await else { return };
                deaf.text.push_str(&String::from_utf8_lossy(&chunk));
            }
        });
        assert!(quiet.await.is_err(), "the stream stays open");
        assert!(!deaf.text.contains(CHANGED), "{}", deaf.text);
    })
    .await;
}
