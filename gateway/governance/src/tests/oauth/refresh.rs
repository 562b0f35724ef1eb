//! Refresh tokens over two replicas: rotation, the grace, reuse, and what a refresh may ask for.

use super::super::house::eventually;
use super::{Flow, GATEWAY, refused, register, text};
use crate::oauth::ErrorCode;

#[tokio::test]
async fn honest_clients_that_refresh_at_once_get_the_same_successor() {
    let flow = std::sync::Arc::new(Flow::open().await);
    let tokens = flow.tokens(&[]).await;
    let first = text(&tokens, "refresh_token").to_owned();
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (flow, first) = (flow.clone(), first.clone());
        racing.spawn(async move {
            let replica = if number % 2 == 0 { &flow.house.a } else { &flow.house.b };
            flow.refresh(replica, &first, &[]).await.unwrap()
        });
    }
    let got = racing.join_all().await;
    let next = text(&got[0], "refresh_token").to_owned();
    assert_ne!(next, first);
    for tokens in &got {
        assert_eq!(text(tokens, "refresh_token"), next, "no second line of tokens begins");
        flow.at(&flow.house.a, text(tokens, "access_token"), GATEWAY).await.unwrap();
    }
    flow.house.later(9).await;
    flow.refresh(&flow.house.b, &first, &[]).await.unwrap();
    // And the line goes on.
    flow.refresh(&flow.house.b, &next, &[]).await.unwrap();
}

#[tokio::test]
async fn a_token_that_comes_back_later_ends_the_session_on_every_replica() {
    let flow = Flow::open().await;
    let tokens = flow.tokens(&[]).await;
    let first = text(&tokens, "refresh_token");
    let second = flow.refresh(&flow.house.a, first, &[]).await.unwrap();
    flow.house.later(11).await;
    assert_eq!(refused(flow.refresh(&flow.house.b, first, &[]).await), ErrorCode::InvalidGrant);
    for token in [first, text(&second, "refresh_token")] {
        for replica in [&flow.house.a, &flow.house.b] {
            let tried = flow.refresh(replica, token, &[]).await;
            assert_eq!(refused(tried), ErrorCode::InvalidGrant);
        }
    }
    for token in [&tokens, &second] {
        for replica in [&flow.house.a, &flow.house.b] {
            let dead =
                async || flow.at(replica, text(token, "access_token"), GATEWAY).await.is_err();
            eventually("the access token is dead", dead).await;
        }
    }
}

#[tokio::test]
async fn refresh_tokens_are_one_clients_and_end() {
    let flow = Flow::open().await;
    let metadata = serde_json::json!({"redirect_uris": [super::REDIRECT],
        "token_endpoint_auth_method": "none"});
    let other = register(&flow.house.a, &flow.house, &metadata).await.unwrap();
    let tokens = flow.tokens(&[]).await;
    let token = text(&tokens, "refresh_token");
    let stolen = [("client_id", text(&other, "client_id"))];
    let tried = flow.refresh(&flow.house.a, token, &stolen).await;
    assert_eq!(refused(tried), ErrorCode::InvalidGrant);
    for (wrong, expected) in [
        ("", ErrorCode::InvalidRequest),
        ("x", ErrorCode::InvalidGrant),
        (text(&tokens, "access_token"), ErrorCode::InvalidGrant),
    ] {
        assert_eq!(refused(flow.refresh(&flow.house.a, wrong, &[]).await), expected);
    }
    // None of that cost the owner anything.
    let next = flow.refresh(&flow.house.a, token, &[]).await.unwrap();
    flow.house.later(30 * 86_400 + 1).await;
    let late = flow.refresh(&flow.house.a, text(&next, "refresh_token"), &[]).await;
    assert_eq!(refused(late), ErrorCode::InvalidGrant);
}

#[tokio::test]
async fn a_refresh_may_ask_for_less_and_never_for_more() {
    let flow = Flow::open().await;
    let snapshot = flow.house.a.governance.snapshot();
    let id = snapshot.server("tickets").unwrap().id;
    let proxy = |name: &str| format!("{GATEWAY}/api/v1/proxy/{name}/mcp");
    let narrow = format!("mcp:proxy:{id}");
    let tokens = flow.tokens(&[]).await;
    let change = [("scope", narrow.as_str()), ("resource", &proxy("tickets"))];
    let less = flow.refresh(&flow.house.a, text(&tokens, "refresh_token"), &change).await.unwrap();
    assert_eq!(text(&less, "scope"), narrow);
    let token = text(&less, "access_token");
    flow.at(&flow.house.a, token, &proxy("tickets")).await.unwrap();
    assert!(flow.at(&flow.house.a, token, &proxy("vault")).await.is_err());
    let tokens = flow.tokens(&[("resource", &proxy("tickets")), ("scope", &narrow)]).await;
    for (change, expected) in [
        (("scope", "mcp:proxy"), ErrorCode::InvalidScope),
        (("scope", "admin"), ErrorCode::InvalidScope),
        (("resource", GATEWAY), ErrorCode::InvalidTarget),
        (("resource", &*proxy("vault")), ErrorCode::InvalidTarget),
        (("resource", "https://other.example.com"), ErrorCode::InvalidTarget),
    ] {
        let tried = flow.refresh(&flow.house.a, text(&tokens, "refresh_token"), &[change]).await;
        assert_eq!(refused(tried), expected, "{change:?}");
    }
}
