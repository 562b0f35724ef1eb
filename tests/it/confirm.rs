//! People's agreement to single calls, by each way in which it can be asked for.

use std::time::Duration;

use gateway_tests::client::{Client, Reply, Session, legacy_body};
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const APPROVER: &str = r#"
[[policies]]
name = "engineers delete"
effect = "allow"
principals = ["group:engineering"]
server = "fake"
tools = ["delete_item"]

[[policies]]
name = "deleting needs an admin"
effect = "confirm"
by = "user:alice@example.com"
principals = ["everyone"]
server = "fake"
tools = ["delete_item"]
message = "May Bob delete it?"
"#;

fn can_elicit(client: Client) -> Client {
    Client { capabilities: json!({"elicitation": {}}), ..client }
}

fn delete(id: u32) -> Value {
    json!({"name": "delete_item", "arguments": {"id": id}})
}

/// The request again, with what our question wants to know.
fn with_answer(params: &Value, asked: &Reply, answer: Value) -> Value {
    let mut params = params.clone();
    params["requestState"] = asked.result()["requestState"].clone();
    params["inputResponses"] = json!({"rl-confirm": answer});
    params
}

fn yes() -> Value {
    json!({"action": "accept", "content": {"confirm": true}})
}

#[tokio::test]
async fn a_modern_client_asks_its_user_and_the_call_goes_out_once() {
    check(Setup::default(), async |rig| {
        let bob = can_elicit(rig.client("bob"));
        let asked = bob.modern("tools/call", delete(1)).await;
        assert_eq!(asked.result()["resultType"], "input_required", "{:?}", asked.body);
        let request = &asked.result()["inputRequests"]["rl-confirm"];
        assert_eq!(request["method"], "elicitation/create");
        assert_eq!(request["params"]["message"], "Delete the item?");
        assert!(rig.upstream.calls("delete_item").is_empty());

        let again = with_answer(&delete(1), &asked, yes());
        let done = bob.modern("tools/call", again.clone()).await;
        assert_eq!(done.status, 200);
        assert_eq!(done.result()["isError"], false, "{:?}", done.body);
        let calls = rig.upstream.calls("delete_item");
        assert_eq!(calls.len(), 1);
        let params = &calls[0].json["params"];
        assert!(params.get("requestState").is_none() && params.get("inputResponses").is_none());
        assert_eq!(params["arguments"], json!({"id": 1}));

        // Replayed, it is worth nothing.
        let replayed = bob.modern("tools/call", again).await;
        assert_eq!(replayed.reason(), "confirmation_expired", "{:?}", replayed.body);
        assert_eq!(rig.upstream.calls("delete_item").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_agreement_is_for_exactly_one_call_of_one_person() {
    check(Setup::default(), async |rig| {
        let bob = can_elicit(rig.client("bob"));
        let asked = bob.modern("tools/call", delete(1)).await;
        let not_yes = [
            json!({"action": "accept", "content": {"confirm": "true"}}),
            json!({"action": "accept", "content": {"confirm": 1}}),
            json!({"action": "accept"}),
            json!({"action": "cancel"}),
        ];
        // Another argument, by one byte.
        let other = bob.modern("tools/call", with_answer(&delete(2), &asked, yes())).await;
        assert_eq!(other.reason(), "confirmation_expired");
        // A forged state, and somebody else's.
        let mut forged = with_answer(&delete(1), &asked, yes());
        let state = forged["requestState"].as_str().unwrap_or_default().replace('A', "B");
        forged["requestState"] = json!(format!("{state}x"));
        let forged = bob.modern("tools/call", forged).await;
        assert_eq!(forged.reason(), "confirmation_expired");
        let carol = can_elicit(rig.client("carol"));
        let foreign = carol.modern("tools/call", with_answer(&delete(1), &asked, yes())).await;
        assert_ne!(foreign.result()["isError"], false, "{:?}", foreign.body);
        // The definition changes between question and answer.
        rig.upstream.tool("delete_item", json!({"description": "Deletes everything"}));
        for answer in not_yes {
            let asked = bob.modern("tools/call", delete(3)).await;
            let declined = with_answer(&delete(3), &asked, answer);
            let declined = bob.modern("tools/call", declined).await;
            assert_eq!(declined.reason(), "confirmation_declined", "{:?}", declined.body);
        }
        assert!(rig.upstream.calls("delete_item").is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_asks_for_input_itself_gets_its_own_state_back() {
    check(Setup::default(), async |rig| {
        let bob = can_elicit(rig.client("bob"));
        rig.upstream.answer(
            "delete_item",
            Answer::Result(
                r#"{"resultType":"input_required","inputRequests":{"why":{"method":"elicitation/create","params":{"message":"Why?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"up \u0041"}"#
                    .into(),
            ),
        );
        let asked = bob.modern("tools/call", delete(1)).await;
        let theirs = bob.modern("tools/call", with_answer(&delete(1), &asked, yes())).await;
        assert_eq!(theirs.result()["requestState"], "up A", "{:?}", theirs.body);
        rig.upstream.answer("delete_item", Answer::text("gone"));
        let mut second = delete(1);
        second["requestState"] = theirs.result()["requestState"].clone();
        second["inputResponses"] = json!({"why": {"action": "accept", "content": {}}});
        let asked = bob.modern("tools/call", second.clone()).await;
        assert_eq!(asked.result()["resultType"], "input_required", "every round is confirmed");
        let done = bob.modern("tools/call", with_answer(&second, &asked, yes())).await;
        assert_eq!(done.result()["isError"], false, "{:?}", done.body);
        let calls = rig.upstream.calls("delete_item");
        assert_eq!(calls.len(), 2);
        let params = &calls[1].json["params"];
        assert_eq!(params["requestState"], "up A");
        assert_eq!(params["inputResponses"], second["inputResponses"]);
    })
    .await;
}

/// Makes a legacy call that is asked about on its own stream, and answers `answer`.
pub(crate) async fn elicited(session: &Session, params: Value, answer: Value) -> (Value, String) {
    let call = legacy_body("tools/call", params);
    let mut stream = session.request(&call).send().await.expect("the gateway answers");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut question = Value::Null;
    while let Some(chunk) = stream.chunk().await.expect("the stream goes on") {
        text.push_str(&String::from_utf8_lossy(&chunk));
        let messages = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let asked = messages.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let asked = asked.into_iter().find(|m| m["method"] == "elicitation/create");
        if let (Some(asked), true) = (asked, question.is_null()) {
            let response = json!({"jsonrpc": "2.0", "id": asked["id"], "result": answer});
            let accepted = session.client.send(session.request(&response)).await;
            assert_eq!(accepted.status, 202, "{:?}", accepted.body);
            question = asked;
        }
    }
    (question, text)
}

#[tokio::test]
async fn a_legacy_client_is_asked_on_the_calls_own_stream() {
    check(Setup::default(), async |rig| {
        let session = can_elicit(rig.client("bob")).legacy().await;
        let (question, text) = elicited(&session, delete(1), yes()).await;
        assert_eq!(question["params"]["message"], "Delete the item?");
        assert!(text.contains(r#""isError":false"#), "{text}");
        assert_eq!(rig.upstream.calls("delete_item").len(), 1);
        let (_, text) = elicited(&session, delete(2), json!({"action": "decline"})).await;
        assert!(text.contains("confirmation_declined"), "{text}");
        assert_eq!(rig.upstream.calls("delete_item").len(), 1);
    })
    .await;
}

/// Decides a confirmation by REST; gives the status.
pub(crate) async fn decide(rig: &Rig, name: &str, url: &str, approve: Value) -> u16 {
    // The link is a page for people; programs decide by REST.
    let url = url.replace("/confirmations/", "/api/v1/confirmations/");
    let client = rig.client_of(name, "fake").at(&format!("{url}/decision"));
    client.send(client.post(json!({"approve": approve}).to_string())).await.status
}

pub(crate) fn link(reply: &Reply) -> String {
    let link = &reply.result()["_meta"]["com.runlayer/refusal"]["approval_url"];
    link.as_str().unwrap_or_else(|| panic!("no link in {:?}", reply.body)).to_owned()
}

#[tokio::test]
async fn a_client_that_cannot_ask_gets_a_link_and_the_same_call_goes_through_once() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let refused = bob.call("delete_item", json!({"id": 1})).await;
        assert_eq!(refused.reason(), "confirmation_required");
        let link = link(&refused);
        assert_eq!(decide(rig, "carol", &link, json!(true)).await, 404, "not hers");
        assert_eq!(decide(rig, "bob", &link, json!("true")).await, 400, "not a boolean");
        assert_eq!(decide(rig, "bob", &link, json!(true)).await, 200);
        let other = bob.call("delete_item", json!({"id": 2})).await;
        assert_eq!(other.reason(), "confirmation_required", "another call");
        let done = bob.call("delete_item", json!({"id": 1})).await;
        assert_eq!(done.result()["isError"], false, "{:?}", done.body);
        let again = bob.call("delete_item", json!({"id": 1})).await;
        assert_eq!(again.reason(), "confirmation_required", "used up");
        assert_eq!(rig.upstream.calls("delete_item").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_approver_decides_out_of_band_and_never_the_caller() {
    let setup = Setup { policies: APPROVER.into(), ..Setup::default() };
    check(setup, async |rig| {
        // Even a client that can ask its user does not get asked: it is not its user's to say.
        let bob = can_elicit(rig.client("bob"));
        let refused = bob.call("delete_item", json!({"id": 1})).await;
        assert_eq!(refused.reason(), "confirmation_required");
        let link = link(&refused);
        assert_ne!(decide(rig, "bob", &link, json!(true)).await, 200, "his own call");
        let id = link.rsplit('/').next().unwrap_or_default().to_owned();
        let pending = rig.ask("alice", "list_confirmations", json!({})).await;
        assert!(pending.to_string().contains(&id), "{pending}");
        let unconfirmed = json!({"id": id, "approve": true});
        rig.ask("alice", "decide_confirmation", unconfirmed).await;
        let still = bob.call("delete_item", json!({"id": 1})).await;
        assert_eq!(still.reason(), "confirmation_required", "confirm=true was missing");
        rig.ask(
            "alice",
            "decide_confirmation",
            json!({"id": id, "approve": true, "confirm": true}),
        )
        .await;
        let done = bob.call("delete_item", json!({"id": 1})).await;
        assert_eq!(done.result()["isError"], false, "{:?}", done.body);
        assert_eq!(rig.upstream.calls("delete_item").len(), 1);
    })
    .await;
}

/// A person's yes is not used up by a call that a limit does not let pass.
#[tokio::test]
async fn a_limit_leaves_the_agreement_to_the_call_that_passes() {
    let limit = r#"
[[limits]]
name = "few deletions"
principals = ["user:bob@example.com"]
server = "fake"
tools = ["delete_item"]
budget = { calls = 1 }
"#;
    check(Setup { state: limit.into(), ..Setup::default() }, async |rig| {
        let elicits = can_elicit(rig.client("bob"));
        let agreed = async |params: Value| {
            let asked = elicits.modern("tools/call", params.clone()).await;
            let again = with_answer(&params, &asked, yes());
            (elicits.modern("tools/call", again.clone()).await, again)
        };
        let (first, _) = agreed(delete(1)).await;
        assert_eq!(first.result()["isError"], false, "{:?}", first.body);
        let (limited, again) = agreed(delete(2)).await;
        assert_eq!((limited.status, &*limited.reason()), (429, "budget_exhausted"));
        let still = elicits.modern("tools/call", again.clone()).await;
        assert_eq!(
            still.reason(),
            "budget_exhausted",
            "the same answer counts on: {:?}",
            still.body
        );
        assert_eq!(rig.upstream.calls("delete_item").len(), 1);
        // More is let pass: the same call, without asking anybody again, once.
        rig.gateway.apply(&limit.replace("calls = 1", "calls = 50"));
        let passed = eventually("the limit is another", Duration::from_secs(10), async || {
            let passed = rig.client("bob").modern("tools/call", delete(2)).await;
            (passed.status != 429).then_some(passed)
        });
        let passed = passed.await;
        assert_eq!(passed.result()["isError"], false, "{:?}", passed.body);
        assert_eq!(rig.upstream.calls("delete_item").len(), 2);
        let used = elicits.modern("tools/call", again).await;
        assert_eq!(used.reason(), "confirmation_expired", "{:?}", used.body);
        assert_eq!(rig.upstream.calls("delete_item").len(), 2);
    })
    .await;
}
