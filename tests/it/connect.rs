//! Accounts at upstream servers, from outside: a call without one gets the way to it, a person connects it in a browser,
//! calls carry its token, and the token is renewed once whatever asks for it.

use gateway_tests::browser::Browser;
use gateway_tests::client::Reply;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::guarded::{CANARY, Guarded};
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::upstream::Upstream;
use serde_json::{Value, json};

/// A world with a second server, `wiki`, at which everybody needs an account.
pub(crate) async fn connecting(test: impl AsyncFnOnce(&mut Rig, &Guarded)) {
    let behind = Upstream::start().await;
    let guarded = Guarded::start(behind.url()).await;
    let setup = Setup {
        config: "[sign_in]\nlocal = true\n".into(),
        state: format!(
            "[[servers]]\nslug = \"wiki\"\ntitle = \"Wiki\"\nurl = \"{}\"\nauth = {{ mode = \"oauth_user\" }}\n\
             [[policies]]\nname = \"engineers write\"\neffect = \"allow\"\nprincipals = [\"group:engineering\"]\n\
             server = \"wiki\"\ntools = [\"echo\", \"delete_item\"]\n\
             [[policies]]\nname = \"deleting in the wiki needs a person\"\neffect = \"confirm\"\n\
             principals = [\"everyone\"]\nserver = \"wiki\"\ntools = [\"delete_*\"]\nmessage = \"Sure?\"\n",
            guarded.url()
        ),
        ..Setup::default()
    };
    check(setup, async |rig| {
        rig.secrets.push(CANARY.into());
        test(rig, &guarded).await;
        rig.upstreams.push(behind);
    })
    .await;
}

fn refusal(reply: &Reply) -> Value {
    let json = reply.json();
    let meta = &json["result"]["_meta"]["com.runlayer/refusal"];
    if meta.is_null() { json["error"]["data"].clone() } else { meta.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_once_and_calls_carry_their_token() {
    connecting(async |rig, guarded| {
        let bob = rig.client_of("bob", "wiki");
        let link = format!("{}/connect/wiki", rig.gateway.base);
        let refused = bob.call("echo", json!({"text": "hi"})).await;
        assert_eq!(refused.reason(), "connection_required", "{:?}", refused.json());
        assert_eq!(refusal(&refused)["connect_url"], link);
        let said = refused.result()["content"][0]["text"].to_string();
        assert!(refused.result()["isError"] == true && said.contains(&link), "{said}");
        // Listings and other clients get the same in their own form.
        let listed = bob.modern("tools/list", json!({})).await;
        assert_eq!(listed.reason(), "connection_required");
        assert!(listed.error()["message"].to_string().contains(&link), "{:?}", listed.json());
        let mut able = bob.clone();
        able.capabilities = json!({"elicitation": {"form": {}, "url": {}}});
        let asked = able.call("echo", json!({"text": "hi"})).await.result();
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let params = &asked["inputRequests"]["rl-connect"]["params"];
        assert_eq!((params["mode"].as_str(), params["url"].as_str()), (Some("url"), Some(&*link)));
        // Nobody is asked about a call that could not be made.
        assert_eq!(bob.call("delete_item", json!({})).await.reason(), "connection_required");
        assert_eq!(guarded.inner().grants.len(), 0);

        let mut browser = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        let page = browser.connect("wiki").await.unwrap();
        assert!(page.html.contains("<strong>Connected</strong>"), "{}", page.html);
        assert!(!page.html.contains(CANARY));
        let done = bob.call("echo", json!({"text": "hi"})).await;
        assert_eq!(done.result()["isError"], false, "{:?}", done.json());
        assert_eq!(bob.modern("tools/list", json!({})).await.names("tools"), ["echo", "delete_item"]);
        // The request that answers our own question leaves without it.
        let again = json!({"name": "echo", "arguments": {"text": "hi"}, "requestState": asked["requestState"],
            "inputResponses": {"rl-connect": {"action": "accept"}}});
        assert!(able.modern("tools/call", again).await.result()["content"].is_array());
        // Legacy: the error that the specification has, before anything else is known of the client.
        let carol = rig.client_of("carol", "wiki");
        assert_eq!(carol.call("echo", json!({"text": "x"})).await.reason(), "server_not_found");
        let session = bob.legacy().await;
        assert!(session.call("echo", json!({"text": "hi"})).await.result()["content"].is_array());

        // Given back: the next call lacks it again.
        let page = browser.open("/connect/wiki").await;
        assert_eq!(browser.submit(&page, "/connect/wiki/disconnect").await.status, 303);
        let mut able = bob.clone();
        able.capabilities = json!({"elicitation": {"url": {}}});
        let body = gateway_tests::client::legacy_body("initialize", json!({
            "protocolVersion": "2025-11-25", "capabilities": able.capabilities,
            "clientInfo": {"name": "rig", "version": "1"},
        }));
        let refused = able.send(able.post(body.to_string())).await;
        assert_eq!(refused.error()["code"], -32042, "{:?}", refused.json());
        assert_eq!(refused.error()["data"]["elicitations"][0]["url"], link);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_refuses_is_renewed_and_no_call_is_sent_twice() {
    connecting(async |rig, guarded| {
        let bob = rig.client_of("bob", "wiki");
        let mut browser = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        browser.connect("wiki").await.unwrap();
        bob.call("echo", json!({"text": "1"})).await;
        // Not renewed a moment ago, as far as the database knows.
        let age = "update upstream_connection set refreshed_at = refreshed_at - interval '1 hour'";
        sqlx::query(age).execute(&rig.database.pool).await.unwrap();
        guarded.forget_access();
        let refused = bob.call("echo", json!({"text": "2"})).await;
        assert_eq!(refused.reason(), "connection_stale", "{:?}", refused.json());
        assert_eq!(guarded.inner().refused, 1, "the call left once");
        assert!(bob.call("echo", json!({"text": "3"})).await.result()["content"].is_array());
        assert_eq!(guarded.grants("refresh_token"), 1);
        // What has no effects is sent again by itself.
        sqlx::query(age).execute(&rig.database.pool).await.unwrap();
        guarded.forget_access();
        assert_eq!(bob.modern("tools/list", json!({})).await.names("tools").len(), 2);
        assert_eq!(guarded.grants("refresh_token"), 2);
        // The grant is over: only the person can do something about it.
        guarded.inner().refresh.clear();
        guarded.forget_access();
        sqlx::query(age).execute(&rig.database.pool).await.unwrap();
        assert_eq!(bob.call("echo", json!({"text": "4"})).await.reason(), "connection_stale");
        assert_eq!(bob.call("echo", json!({"text": "5"})).await.reason(), "connection_required");
        browser.connect("wiki").await.unwrap();
        // A server that asks for more gets the person asked for more.
        guarded.inner().demands_scope = Some("write".into());
        assert_eq!(bob.call("echo", json!({"text": "6"})).await.reason(), "connection_required");
        guarded.inner().demands_scope = None;
        // What the connection is good for goes on to work, and the page says what is missing.
        assert!(bob.call("echo", json!({"text": "7"})).await.result()["content"].is_array());
        let page = browser.open("/connect/wiki").await;
        assert!(page.html.contains("asks for more:</strong> write"), "{}", page.html);
        let consent = browser.submit(&page, "/connect/wiki").await.location.unwrap();
        assert!(consent.contains("scope=read+write"), "{consent}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_renew_at_once_ask_the_issuer_once() {
    connecting(async |rig, guarded| {
        let options = Options { state: None, ..rig.gateway.options.clone() };
        let mut second =
            Gateway::start(Options { root_key: rig.gateway.options.root_key, ..options }).await;
        let mut browser = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        browser.connect("wiki").await.unwrap();
        let bob = rig.client_of("bob", "wiki");
        bob.call("echo", json!({"text": "0"})).await;
        for round in 0..3 {
            let soon = "update upstream_connection set expires_at = now() + interval '5 seconds'";
            sqlx::query(soon).execute(&rig.database.pool).await.unwrap();
            let mut calling = tokio::task::JoinSet::new();
            for n in 0..20 {
                let gateway = if n % 2 == 0 { &rig.gateway } else { &second };
                let client = bob.at(&gateway.proxy_url("wiki"));
                calling.spawn(async move { client.call("echo", json!({"text": "x"})).await });
            }
            for reply in calling.join_all().await {
                assert!(reply.result()["content"].is_array(), "{:?}", reply.json());
            }
            assert_eq!(guarded.grants("refresh_token"), round + 1);
        }
        // It writes what it owes.
        second.terminate();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_at_the_issuer_reads_why_and_what_to_do() {
    connecting(async |rig, guarded| {
        let mut bob = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        let cases = [
            ("access_denied", "you, or the sign-in itself, said no"),
            ("temporarily_unavailable", "Connect again in some minutes"),
            ("login_required", "Sign in there first"),
            ("invalid_scope", "refused what the gateway asked for (invalid_scope)"),
            ("<b>x</b>", "refused what the gateway asked for (&#60;b&#62;x&#60;/b&#62;)"),
        ];
        for (error, words) in cases {
            let page = bob.open("/connect/wiki").await;
            let consent = bob.submit(&page, "/connect/wiki").await.location.unwrap();
            let consent: url::Url = consent.parse().unwrap();
            let state = consent.query_pairs().find(|(name, _)| name == "state").unwrap().1;
            let issuer = consent.origin().ascii_serialization();
            let back = [("state", &*state), ("iss", &issuer), ("error", error)];
            let back =
                url::form_urlencoded::Serializer::new(String::new()).extend_pairs(back).finish();
            let told = bob.come_back(&format!("/connect/callback?{back}")).await.unwrap_err();
            assert_eq!(told.status, 400, "{error}");
            for part in ["Your account at Wiki was not connected", words, "Nothing was connected"] {
                assert!(told.html.contains(part), "{error}: {part} in {}", told.html);
            }
            assert!(
                told.html.contains("<a href=\"/connect/wiki\">Connect again</a>"),
                "{}",
                told.html
            );
        }
        // From another issuer, or without a state of ours, it is nobody's word: the page names no server.
        let page = bob.open("/connect/wiki").await;
        let consent = bob.submit(&page, "/connect/wiki").await.location.unwrap();
        let state = consent.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        for forged in [
            format!("state={state}&iss=https://evil.test&error=access_denied"),
            "state=forged&error=access_denied".to_owned(),
            "error=access_denied".to_owned(),
        ] {
            let told = bob.come_back(&format!("/connect/callback?{forged}")).await.unwrap_err();
            assert!(!told.html.contains("Wiki"), "{forged}: {}", told.html);
        }
        assert_eq!(guarded.inner().grants.len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_begun_and_ended_by_its_person_in_one_browser() {
    connecting(async |rig, guarded| {
        let mut bob = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        let mut other = Browser::signed_in(&rig.gateway, "bob@example.com").await;
        let mut carol = Browser::signed_in(&rig.gateway, "carol@example.com").await;
        let mut stranger = Browser::new(&rig.gateway);
        // Who is not signed in is asked to; who may not enter the server sees none.
        let sent = stranger.open("/connect/wiki").await.location.unwrap();
        assert!(sent.contains("/sign-in?next="), "{sent}");
        for nothing in ["/connect/wiki", "/connect/nowhere", "/connect/runlayer"] {
            assert_eq!(carol.open(nothing).await.status, 404, "{nothing}");
        }
        // A forged form goes nowhere.
        assert_ne!(bob.post("/connect/wiki", &[]).await.status, 303);
        let forged = [("form_token".to_owned(), "x".repeat(43))];
        assert_ne!(bob.post("/connect/wiki", &forged).await.status, 303);
        // The redirect with the code, in the wrong hands.
        for thief in [&mut other, &mut carol] {
            let page = bob.open("/connect/wiki").await;
            let consent = bob.submit(&page, "/connect/wiki").await.location.unwrap();
            let back = bob.open(&consent).await.location.unwrap();
            let page = thief.come_back(&back).await.unwrap_err();
            assert_eq!(page.status, 400, "{}", page.html);
        }
        assert_eq!(guarded.inner().grants.len(), 0, "no code was redeemed");
        let page = bob.open("/connect/wiki").await;
        let consent = bob.submit(&page, "/connect/wiki").await.location.unwrap();
        let back = bob.open(&consent).await.location.unwrap();
        assert!(stranger.open(&back).await.location.unwrap().contains("/sign-in"));
        bob.come_back(&back).await.unwrap();
        assert_eq!(bob.come_back(&back).await.unwrap_err().status, 400, "a replay");
    })
    .await;
}
