//! What a token is for: one whose audience is right and whose scope is not is told so (403), one for another
//! audience is no credential here (401), and neither learns which servers there are.

use std::time::Duration;

use gateway_tests::browser::Browser;
use gateway_tests::client::Reply;
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn setup() -> Setup {
    Setup { config: "[sign_in]\nlocal = true\n".into(), ..Setup::default() }
}

async fn token(rig: &mut Rig, asked: &[(&str, &str)]) -> String {
    let mut browser = Browser::signed_in(&rig.gateway, "bob@example.com").await;
    let given = browser.authorize(asked).await;
    let token = given["access_token"].as_str().unwrap_or_else(|| panic!("{given}")).to_owned();
    let refresh = given["refresh_token"].as_str().map(str::to_owned);
    rig.secrets.extend([token.clone()].into_iter().chain(refresh));
    token
}

async fn server_id(rig: &Rig, slug: &str) -> String {
    let (_, listed) = rest(rig, rig.key("bob"), "/api/v1/servers").await;
    let rows = listed["data"].as_array().unwrap();
    let found = rows.iter().find(|row| row["slug"] == slug).unwrap_or_else(|| panic!("{listed}"));
    found["id"].as_str().unwrap().to_owned()
}

/// The challenge, if any, and the body.
async fn rest(rig: &Rig, credential: &str, path: &str) -> ((u16, String), Value) {
    let client = rig.stranger("fake", Some(credential)).at(&format!("{}{path}", rig.gateway.base));
    let reply = client.send(client.request(http::Method::GET)).await;
    ((reply.status, reply.header("www-authenticate").to_owned()), reply.json())
}

fn told(reply: &Reply) -> (u16, String, &str) {
    (reply.status, reply.reason(), reply.header("www-authenticate"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_that_does_not_reach_is_403_and_names_the_one_that_would() {
    check(setup(), async |rig| {
        let scope = format!("mcp:proxy:{}", server_id(rig, "fake").await);
        let narrow = token(rig, &[("scope", &scope)]).await;
        assert_eq!(rig.stranger("fake", Some(&narrow)).call("echo", json!({})).await.status, 200);
        let metadata = format!("{}/.well-known/oauth-protected-resource", rig.gateway.base);
        for server in ["runlayer", "nothing-here"] {
            let client = rig.stranger(server, Some(&narrow));
            let expected = format!(
                "Bearer resource_metadata=\"{metadata}/api/v1/proxy/{server}/mcp\", \
                 error=\"insufficient_scope\", scope=\"mcp:proxy\""
            );
            for reply in [
                client.call("list_servers", json!({})).await,
                client.modern("tools/list", json!({})).await,
            ] {
                assert_eq!(told(&reply), (403, "insufficient_scope".into(), &*expected));
            }
        }
        for path in ["/api/v1/servers", "/api/v1/auditlogs", "/api/v1/sessions"] {
            let ((status, challenge), body) = rest(rig, &narrow, path).await;
            assert_eq!((status, &body["reason"]), (403, &json!("insufficient_scope")), "{path}");
            let start =
                format!("Bearer resource_metadata=\"{metadata}\", error=\"insufficient_scope\"");
            assert!(challenge.starts_with(&start), "{challenge}");
            assert!(challenge.ends_with(", scope=\"mcp:proxy\""), "{challenge}");
        }
        // What it asks for does.
        let wide = token(rig, &[("scope", "mcp:proxy")]).await;
        assert_eq!(rest(rig, &wide, "/api/v1/servers").await.0.0, 200);
        let listed = rig.stranger("runlayer", Some(&wide)).call("list_servers", json!({})).await;
        assert_eq!(listed.status, 200);
        let failed = json!({"action_type": ["auth_failed"]});
        eventually("the trail knows it", PATIENCE, async || {
            let rows = rig.ask("alice", "list_audit_logs", failed.clone()).await;
            let rows = rows["data"].as_array()?.clone();
            rows.iter().any(|row| row["reason"] == "insufficient_scope").then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_one_server_is_no_credential_elsewhere_whatever_its_scope() {
    check(setup(), async |rig| {
        let resource = rig.gateway.proxy_url("fake");
        let of_fake = format!("mcp:proxy:{}", server_id(rig, "fake").await);
        for scope in ["mcp:proxy", &of_fake] {
            let token = token(rig, &[("resource", &resource), ("scope", scope)]).await;
            let there = rig.stranger("fake", Some(&token)).call("echo", json!({})).await;
            assert_eq!(there.status, 200, "{scope}");
            for server in ["runlayer", "nothing-here"] {
                let refused = rig.stranger(server, Some(&token)).call("echo", json!({})).await;
                assert_eq!((refused.status, refused.reason()), (401, "credential_invalid".into()));
                assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
            }
            let ((status, challenge), body) = rest(rig, &token, "/api/v1/servers").await;
            assert_eq!((status, &body["reason"]), (401, &json!("credential_invalid")));
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    })
    .await;
}
