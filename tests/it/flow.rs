//! The flow rule end to end, over two replicas and both eras: what was read by the one is known to the other before
//! the client has it, and a call that could carry it out goes once, after somebody has agreed.

use std::time::Duration;

use gateway_tests::client::{Client, Reply};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

use crate::confirm::elicited;

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
