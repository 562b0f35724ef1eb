//! The flow rule end to end, over two replicas and both eras: what was read by the one is known to the other before
//! the client has it, and a call that could carry it out goes once, after somebody has agreed.

use std::time::Duration;

use gateway_tests::client::{Client, Reply, Session};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

use crate::confirm::{decide, elicited, link};

const PATIENCE: Duration = Duration::from_secs(20);
const POLICIES: &str = r#"
[[policies]]
name = "everybody everywhere"
effect = "allow"
principals = ["everyone"]
server = "*"
"#;
/// The rule's id, as records have it.
const FLOW_RULE: &str = "d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c002";

/// Two replicas before one upstream, which they know by several names: `web` (untrusted), `crm` (private), `post`
/// (outward), `mail` (all of it).
struct Pair {
    rig: Rig,
    b: Gateway,
}

impl Pair {
    async fn start() -> Pair {
        let setup = Setup { policies: POLICIES.into(), secret_header: false, ..Setup::default() };
        let rig = Rig::start(setup).await;
        let options = Options { state: None, ..rig.gateway.options.clone() };
        let b = Gateway::start(options).await;
        let pair = Pair { rig, b };
        for (slug, labels) in [
            ("web", json!(["untrusted"])),
            ("crm", json!(["private"])),
            ("post", json!(["outward"])),
            ("mail", json!(["private", "outward", "untrusted"])),
        ] {
            let url = pair.rig.upstream.url();
            let new = json!({"slug": slug, "url": url, "labels": labels, "confirm": true});
            let made = pair.rig.ask("alice", "create_server", new).await;
            assert!(made["id"].is_string(), "{made}");
            eventually("both replicas know it", PATIENCE, async || {
                let (a, b) = pair.clients("alice", slug);
                let listed = async |client: &Client| {
                    client.modern("tools/list", Value::Null).await.status == 200
                };
                (listed(&a).await && listed(&b).await).then_some(())
            })
            .await;
        }
        pair
    }

    /// A person's clients of a server, on either replica; they can ask whoever uses them.
    fn clients(&self, name: &str, server: &str) -> (Client, Client) {
        let mut a = self.rig.client_of(name, server);
        a.capabilities = json!({"elicitation": {}});
        let b = a.at(&self.b.proxy_url(server));
        (a, b)
    }

    /// How often the text was sent to the upstream.
    fn sent(&self, text: &str) -> usize {
        let calls = self.rig.upstream.calls("echo");
        calls.iter().filter(|call| call.json["params"]["arguments"]["text"] == text).count()
    }

    async fn finish(mut self) {
        assert!(self.b.terminate().success());
        self.rig.finish().await;
    }
}

fn echo(text: &str) -> Value {
    json!({"name": "echo", "arguments": {"text": text}})
}

fn passed(reply: &Reply) {
    assert_eq!(reply.result()["isError"], false, "{:?}", reply.body);
}

/// The question that a modern client is asked to put to its user.
fn question(reply: &Reply) -> String {
    let result = reply.result();
    assert_eq!(result["resultType"], "input_required", "{:?}", reply.body);
    let message = &result["inputRequests"]["rl-confirm"]["params"]["message"];
    message.as_str().unwrap().to_owned()
}

async fn agreed(client: &Client, params: &Value, asked: &Reply) -> Reply {
    let mut again = params.clone();
    again["requestState"] = asked.result()["requestState"].clone();
    let yes = json!({"action": "accept", "content": {"confirm": true}});
    again["inputResponses"] = json!({"rl-confirm": yes});
    client.modern("tools/call", again).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_on_both_replicas_does_not_leave_unasked() {
    let pair = Pair::start().await;
    let of = |server: &str| pair.clients("bob", server);
    let ((web, _), (_, crm), (post, post_at_b)) = (of("web"), of("crm"), of("post"));

    // Neither a listing nor one kind alone is enough; the legacy session and the modern call count alike.
    let session = crm.legacy().await;
    assert_eq!(session.ask("tools/list", Value::Null).await.status, 200);
    passed(&web.modern("tools/call", echo("a page")).await);
    passed(&post.modern("tools/call", echo("one")).await);
    passed(&session.call("echo", json!({"text": "a customer"})).await);
    let params = echo("both");
    for client in [&post, &post_at_b] {
        let asked = question(&client.modern("tools/call", params.clone()).await);
        for named in ["\"post\"", "\"web\" at ", "\"crm\" at "] {
            assert!(asked.contains(named), "{named}: {asked}");
        }
    }
    assert_eq!(pair.sent("both"), 0);
    // Asked by the one, agreed to at the other; once, and for this very call.
    let asked = post.modern("tools/call", params.clone()).await;
    let other = agreed(&post_at_b, &echo("another"), &asked).await;
    assert_eq!(other.reason(), "confirmation_expired", "{:?}", other.body);
    passed(&agreed(&post_at_b, &params, &asked).await);
    assert_eq!((pair.sent("both"), pair.sent("another")), (1, 0));
    let replayed = agreed(&post, &params, &asked).await;
    assert_eq!(replayed.reason(), "confirmation_expired", "{:?}", replayed.body);
    question(&post.modern("tools/call", params.clone()).await);

    // A legacy client is asked on the call's own stream.
    let session = post_at_b.legacy().await;
    let (asked, text) = elicited(&session, echo("legacy"), json!({"action": "decline"})).await;
    assert!(asked["params"]["message"].as_str().unwrap().contains("\"crm\" at "), "{asked}");
    assert!(text.contains("confirmation_declined"), "{text}");
    assert_eq!(pair.sent("legacy"), 0);
    let yes = json!({"action": "accept", "content": {"confirm": true}});
    let (_, text) = elicited(&session, echo("legacy"), yes).await;
    assert!(text.contains(r#""isError":false"#), "{text}");
    assert_eq!(pair.sent("legacy"), 1);

    // Whoever has read nothing is not asked, and neither is a server that carries nothing out.
    passed(&pair.clients("carol", "post").1.modern("tools/call", echo("hers")).await);
    passed(&web.modern("tools/call", echo("a second page")).await);
    assert_trail(&pair).await;
    pair.finish().await;
}

/// The trail names the rule, where it asked and where it was agreed to.
async fn assert_trail(pair: &Pair) {
    let asked = json!({"action_type": ["confirmation_requested"], "limit": 50});
    let rows = pair.rig.ask("alice", "list_audit_logs", asked).await;
    let rows = rows["data"].as_array().unwrap().clone();
    assert!(rows.len() >= 4, "{rows:?}");
    for row in &rows {
        let id = row["id"].as_str().unwrap();
        let detail = pair.rig.ask("alice", "get_audit_log", json!({"id": id})).await;
        assert!(detail.to_string().contains(FLOW_RULE), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_every_kind_and_resources_and_prompts_count_too() {
    let pair = Pair::start().await;
    let (mail, mail_at_b) = pair.clients("bob", "mail");
    passed(&mail.modern("tools/call", echo("the first letter")).await);
    for client in [&mail, &mail_at_b] {
        let asked = question(&client.modern("tools/call", echo("an answer")).await);
        assert!(asked.contains("\"mail\" at "), "{asked}");
    }
    assert_eq!(pair.sent("an answer"), 0);
    // The label is taken away: what was read counts no more, on either replica.
    let open = json!({"server_id": "mail", "labels": ["outward"], "confirm": true});
    let changed = pair.rig.ask("alice", "update_server", open).await;
    assert_eq!(changed["changed"], json!(["labels"]), "{changed}");
    for client in [&mail, &mail_at_b] {
        eventually("nobody is asked", PATIENCE, async || {
            let reply = client.modern("tools/call", echo("an answer")).await;
            (reply.result()["isError"] == false).then_some(())
        })
        .await;
    }

    let carol = |server: &str| pair.clients("carol", server);
    let ((_, web), (crm, _), (post, _)) = (carol("web"), carol("crm"), carol("post"));
    let resource = json!({"uri": "fake://open/readme"});
    let read = web.modern("resources/read", resource).await;
    assert_eq!(read.status, 200, "{:?}", read.body);
    passed(&post.modern("tools/call", echo("one kind")).await);
    let got = crm.modern("prompts/get", json!({"name": "greet", "arguments": {}})).await;
    assert_eq!(got.status, 200, "{:?}", got.body);
    let asked = question(&post.modern("tools/call", echo("both kinds")).await);
    assert!(asked.contains("\"web\" at ") && asked.contains("\"crm\" at "), "{asked}");
    pair.finish().await;
}

/// What a legacy client answers a question of the server's with.
fn answer(member: &str, value: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "q-1", member: value})
}

/// How often the upstream got that.
fn got(pair: &Pair, text: &str) -> usize {
    let all = pair.rig.upstream.received();
    all.iter().filter(|received| received.json.to_string().contains(text)).count()
}

fn stopped_by_the_rule(reply: &Reply) {
    assert_eq!(reply.reason(), "policy_denied", "{} {:?}", reply.status, reply.body);
    assert_eq!(reply.error()["data"]["policy_ids"], json!([FLOW_RULE]), "{:?}", reply.body);
    let message = reply.error()["data"]["message"].to_string();
    assert!(message.contains("web") && message.contains("crm"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_questions_and_completions_do_not_carry_out_what_calls_may_not() {
    let pair = Pair::start().await;
    let of = |server: &str| pair.clients("bob", server);
    let ((web, _), (_, crm), (post, post_at_b)) = (of("web"), of("crm"), of("post"));
    let (a, b) = (post.legacy().await, post_at_b.legacy().await);
    let complete = |text: &str| json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "who", "value": text}});
    let form =
        |text: &str| answer("result", json!({"action": "accept", "content": {"text": text}}));
    let sampled = |text: &str| {
        let content = json!({"type": "text", "text": text});
        answer("result", json!({"role": "assistant", "content": content, "model": "m"}))
    };
    let send =
        async |session: &Session, body: &Value| session.client.send(session.request(body)).await;
    pair.rig.upstream.answer(
        "completion/complete",
        Answer::Result(r#"{"completion":{"values":["x"]},"resultType":"complete"}"#.into()),
    );

    // One kind alone stops nothing. What a completion gives from a server is read, too.
    passed(&crm.modern("tools/call", echo("a customer")).await);
    assert_eq!(send(&a, &form("early form")).await.status, 202);
    assert_eq!(send(&b, &sampled("early sample")).await.status, 202);
    assert_eq!(post.modern("completion/complete", complete("early word")).await.status, 200);
    for early in ["early form", "early sample", "early word"] {
        assert_eq!(got(&pair, early), 1, "{early}");
    }
    assert_eq!(web.modern("completion/complete", complete("hello")).await.status, 200);

    // Now neither passes, on either replica, in either era.
    for session in [&a, &b] {
        let root = answer("result", json!({"roots": [{"uri": "file:///late-root"}]}));
        let told = answer("error", json!({"code": -1, "message": "no", "data": "late error"}));
        let long = answer("error", json!({"code": -1, "message": "late error ".repeat(20)}));
        let note = answer("result", json!({"action": "decline", "content": {"text": "late note"}}));
        for body in [form("late form"), sampled("late sample"), root, told, long, note] {
            let reply = send(session, &body).await;
            assert_eq!(reply.status, 403, "{body}: {:?}", reply.body);
            stopped_by_the_rule(&reply);
        }
        stopped_by_the_rule(&session.ask("completion/complete", complete("late word")).await);
    }
    stopped_by_the_rule(&post.modern("completion/complete", complete("late word")).await);
    assert_eq!(got(&pair, "late"), 0);
    // Who says no may say so, and other servers may be answered.
    for bare in [
        answer("result", json!({})),
        answer("result", json!({"action": "decline"})),
        answer("result", json!({"action": "cancel"})),
        answer("error", json!({"code": -1, "message": "User rejected the request"})),
    ] {
        assert_eq!(send(&b, &bare).await.status, 202, "{bare}");
    }
    let elsewhere = web.legacy().await;
    assert_eq!(send(&elsewhere, &form("a form for the web")).await.status, 202);
    assert_eq!(
        send(&pair.clients("carol", "post").0.legacy().await, &form("her form")).await.status,
        202
    );
    let denied = json!({"action_type": ["access_denied"], "limit": 50});
    let rows = pair.rig.ask("alice", "list_audit_logs", denied).await;
    assert_eq!(rows["data"].as_array().unwrap().len(), 15, "{rows}");
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agreement_to_a_call_is_for_the_answers_that_it_carries() {
    let pair = Pair::start().await;
    let of = |server: &str| pair.clients("bob", server);
    let ((web, _), (_, crm), (mut post, _)) = (of("web"), of("crm"), of("post"));
    let with = |text: &str| {
        let mut params = echo("with answers");
        params["requestState"] = json!("theirs");
        let content = json!({"action": "accept", "content": {"text": text}});
        params["inputResponses"] = json!({"why": content});
        params
    };
    passed(&web.modern("tools/call", echo("a page")).await);
    passed(&post.modern("tools/call", with("unasked")).await);
    passed(&crm.modern("tools/call", echo("a customer")).await);

    // In the client: the very answers that were there when it was asked go out.
    let asked = post.modern("tools/call", with("the agreed answer")).await;
    assert!(question(&asked).contains("\"web\" at "));
    assert_eq!(got(&pair, "the agreed answer"), 0);
    passed(&agreed(&post, &with("another answer"), &asked).await);
    assert_eq!((got(&pair, "the agreed answer"), got(&pair, "another answer")), (1, 0));

    // Elsewhere: whoever decides sees them, and other answers are another call.
    post.capabilities = json!({});
    let params = with("the shown answer");
    let asked = post.modern("tools/call", params.clone()).await;
    assert_eq!(asked.reason(), "confirmation_required", "{:?}", asked.body);
    let waiting = pair.rig.ask("bob", "list_confirmations", json!({})).await;
    assert!(waiting.to_string().contains("the shown answer"), "{waiting}");
    assert_eq!(decide(&pair.rig, "bob", &link(&asked), json!(true)).await, 200);
    let other = post.modern("tools/call", with("a late other answer")).await;
    assert_eq!(other.reason(), "confirmation_required", "{:?}", other.body);
    passed(&post.modern("tools/call", params.clone()).await);
    assert_eq!((got(&pair, "the shown answer"), got(&pair, "a late other answer")), (1, 0));
    assert_eq!(post.modern("tools/call", params).await.reason(), "confirmation_required");
    pair.finish().await;
}
