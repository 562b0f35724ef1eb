//! Codes: the flow itself, replay, a race for one code over two replicas, and PKCE downgrades.

use gateway_core::caller::AuthMethod;

use super::{Flow, text, value};

const GATEWAY: &str = "https://gw.example.com";

#[tokio::test]
async fn a_person_agrees_and_the_client_gets_tokens_that_work_on_every_replica() {
    let flow = Flow::open().await;
    let answer = flow.agreed(&[]).await;
    assert_eq!(value(&answer, "state").as_deref(), Some("s t&=ü"));
    assert_eq!(value(&answer, "iss").as_deref(), Some(GATEWAY));
    let code = value(&answer, "code").unwrap();
    let tokens = flow.redeem(&flow.house.b, &code, &[]).await.unwrap();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    assert_eq!(tokens["scope"], "mcp:proxy");
    for replica in [&flow.house.b, &flow.house.a] {
        let caller = flow.at(replica, text(&tokens, "access_token"), GATEWAY).await.unwrap();
        assert_eq!(caller.user.email, "bob@example.com");
        assert_eq!(caller.auth, AuthMethod::OauthToken);
    }
    let refreshed = flow.refresh(&flow.house.a, text(&tokens, "refresh_token"), &[]).await.unwrap();
    assert_ne!(refreshed["refresh_token"], tokens["refresh_token"]);
    flow.at(&flow.house.b, text(&refreshed, "access_token"), GATEWAY).await.unwrap();
}
