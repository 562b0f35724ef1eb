//! rmcp's own auth client against our authorization server: from nothing but a 401 to governed calls, by our sign-in and
//! consent pages, and on with refresh tokens until the person takes back what they gave.

use gateway_tests::browser::Browser;
use gateway_tests::rig::{Rig, Setup, check};
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationManager, AuthorizationRequest, CredentialStore,
    InMemoryCredentialStore, OAuthState, StoredCredentials,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

const PASSWORD: &str = "canary-password-of-bobs-8d21";
/// Nobody listens: the browser hands the answer over itself.
const REDIRECT: &str = "http://127.0.0.1:33418/callback";
const AUTHORIZE: &str = "/api/v1/oauth/authorize";

/// A browser in which Bob signs in with his password and agrees; gives the address that the client waits for.
async fn agree(rig: &Rig, address: &str) -> String {
    let mut browser = Browser::new(&rig.gateway);
    let asked = browser.open(address).await;
    let sign_in = browser.follow(asked).await;
    assert!(sign_in.html.contains("Password"), "{}", sign_in.html);
    let person = [("email", "bob@example.com"), ("password", PASSWORD)];
    let sent = browser.fill(&sign_in, "/sign-in", &person).await;
    let consent = browser.follow(sent).await;
    for named in ["rmcp of Bob's", "127.0.0.1", "Fake", "bob@example.com"] {
        let named = named.replace('\'', "&#39;");
        assert!(consent.html.contains(&named), "{named} in {}", consent.html);
    }
    let agreed = browser.fill(&consent, AUTHORIZE, &[("decision", "approve")]).await;
    agreed.location.unwrap_or_else(|| panic!("{}", agreed.html))
}

/// What the client keeps.
async fn kept(store: &InMemoryCredentialStore) -> (StoredCredentials, Value) {
    let kept = store.load().await.unwrap().unwrap();
    let token = json!(kept.token_response);
    (kept, token)
}

type Running = RunningService<RoleClient, ()>;

async fn connected(url: &str, client: &AuthClient<reqwest::Client>, legacy: bool) -> Running {
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let transport = StreamableHttpClientTransport::with_client(client.clone(), config);
    let modern = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match legacy {
        true => ClientLifecycleMode::Initialize,
        false => ClientLifecycleMode::Discover { preferred_versions: modern },
    };
    ().serve_with_lifecycle(transport, lifecycle).await.unwrap()
}

/// Calls `echo`; its text, or what went wrong.
async fn echo(running: &Running, text: &str) -> Result<String, String> {
    let arguments = json!({"text": text}).as_object().cloned().unwrap();
    let params = CallToolRequestParams::new("echo").with_arguments(arguments);
    let result = running.call_tool(params).await.map_err(|error| error.to_string())?;
    let text = result.content.iter().find_map(|block| block.as_text()).unwrap().text.clone();
    if result.is_error == Some(true) { Err(text) } else { Ok(text) }
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcps_auth_client_gets_from_a_401_to_governed_calls_and_renews() {
    let setup = Setup { config: "[sign_in]\nlocal = true\n".into(), ..Setup::default() };
    check(setup, async |rig| {
        rig.secrets.push(PASSWORD.into());
        rig.gateway.set_password("bob@example.com", PASSWORD);
        let url = rig.gateway.proxy_url("fake");
        let refused = rig.stranger("fake", None).modern("tools/list", json!({})).await;
        assert_eq!(refused.status, 401);

        // Discovery from the challenge, registration, the browser, the code for tokens.
        let store = InMemoryCredentialStore::new();
        let mut manager = AuthorizationManager::new(&url).await.unwrap();
        manager.set_credential_store(store.clone());
        let mut state = OAuthState::Unauthorized(manager);
        let request = AuthorizationRequest::new(REDIRECT).with_client_name("rmcp of Bob's");
        let request = request.with_challenge(refused.header("www-authenticate"));
        state.start_authorization(request).await.unwrap();
        let back = agree(rig, &state.get_authorization_url().await.unwrap()).await;
        assert!(back.starts_with(REDIRECT) && back.contains("iss="), "{back}");
        state.handle_callback_url(&back).await.unwrap();
        let (first, tokens) = kept(&store).await;
        assert_eq!(first.issuer.as_deref(), Some(rig.gateway.base.as_str()));
        for token in ["access_token", "refresh_token"] {
            rig.secrets.push(tokens[token].as_str().unwrap().to_owned());
        }

        // Renewed when the client asks for it.
        state.refresh_token().await.unwrap();
        let (second, renewed) = kept(&store).await;
        assert_ne!(renewed["access_token"], tokens["access_token"]);
        assert_ne!(renewed["refresh_token"], tokens["refresh_token"], "it rotates");
        assert_eq!(second.client_id, first.client_id);

        // Governed calls, in both eras: what Bob may see and do, by policy.
        let client =
            AuthClient::new(reqwest::Client::new(), state.into_authorization_manager().unwrap());
        let mut running = connected(&url, &client, true).await;
        for legacy in [true, false] {
            if !legacy {
                running.cancel().await.unwrap();
                running = connected(&url, &client, false).await;
            }
            let tools = running.list_all_tools().await.unwrap();
            let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
            assert_eq!(names, ["echo", "list_items", "delete_item"]);
            assert_eq!(echo(&running, "hello").await.unwrap(), r#"echo {"text":"hello"}"#);
            let denied = echo(&running, "forbidden").await.unwrap_err();
            assert!(denied.contains("That word is forbidden"), "{denied}");
        }
        let received = rig.upstream.calls("echo");
        assert_eq!(received.len(), 2, "the denied ones never left");
        assert_eq!(received[0].header("authorization"), "", "the client's token never leaves");

        // The token has grown old: the client renews it by itself, under a call.
        let old = StoredCredentials::new(
            second.client_id.clone(),
            second.token_response.clone(),
            second.granted_scopes.clone(),
            Some(1),
        );
        store.save(old.with_issuer(second.issuer.clone())).await.unwrap();
        assert!(echo(&running, "again").await.is_ok());
        let (_, third) = kept(&store).await;
        assert_ne!(third["access_token"], renewed["access_token"]);

        // Bob takes back what he gave: the token is worth nothing any more, and neither is its successor.
        let sessions = format!("{}/api/v1/sessions", rig.gateway.base);
        let bob = rig.client("bob");
        let found = bob.http.get(&sessions).bearer_auth(rig.key("bob")).send().await.unwrap();
        let found: Value = found.json().await.unwrap();
        assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["data"][0]["client_name"], "rmcp of Bob's");
        let session = format!("{sessions}/{}", found["data"][0]["id"].as_str().unwrap());
        let ended = bob.http.delete(session).bearer_auth(rig.key("bob")).send().await.unwrap();
        assert!(ended.status().is_success(), "{}", ended.status());
        assert!(echo(&running, "too late").await.is_err());
        let renewal = client.auth_manager.lock().await.refresh_token().await;
        assert!(matches!(renewal, Err(AuthError::TokenRefreshRejected(_))), "{renewal:?}");
        assert_eq!(rig.upstream.calls("echo").len(), 3);
        let _ = running.cancel().await;
    })
    .await;
}
