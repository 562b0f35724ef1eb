//! Codes: the flow itself, replay, a race for one code over two replicas, and PKCE downgrades.

use gateway_core::caller::AuthMethod;
use gateway_core::record::ActionType;
use gateway_store::audit::EventFilter;

use super::super::house::eventually;
use super::{CHALLENGE, Flow, GATEWAY, VERIFIER, parameters, refused, register, text, value};
use crate::Face;
use crate::oauth::{ErrorCode, Unasked};

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
    let filter = EventFilter::default();
    let rows = flow.house.all_rows(&filter).await;
    let count =
        |action: ActionType| rows.iter().filter(|row| row.action_type == action.as_str()).count();
    assert_eq!(count(ActionType::OauthConsentGranted), 1);
    assert_eq!(count(ActionType::OauthClientRegistered), 1);
    assert_eq!(count(ActionType::AuthSuccess), 2);
}

#[tokio::test]
async fn a_code_that_comes_again_ends_everything_that_hangs_on_it() {
    let flow = Flow::open().await;
    let code = flow.code(&[]).await;
    let tokens = flow.redeem(&flow.house.a, &code, &[]).await.unwrap();
    assert_eq!(refused(flow.redeem(&flow.house.b, &code, &[]).await), ErrorCode::InvalidGrant);
    let refresh = text(&tokens, "refresh_token");
    assert_eq!(refused(flow.refresh(&flow.house.a, refresh, &[]).await), ErrorCode::InvalidGrant);
    for replica in [&flow.house.a, &flow.house.b] {
        let dead = async || flow.at(replica, text(&tokens, "access_token"), GATEWAY).await.is_err();
        eventually("the access token is dead", dead).await;
    }
    let filter = EventFilter {
        action_types: vec![ActionType::OauthReuseDetected.as_str().to_owned()],
        ..EventFilter::default()
    };
    assert_eq!(flow.house.all_rows(&filter).await.len(), 1);
}

#[tokio::test]
async fn of_a_hundred_that_redeem_one_code_on_two_replicas_one_gets_tokens() {
    let flow = std::sync::Arc::new(Flow::open().await);
    let code = flow.code(&[]).await;
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (flow, code) = (flow.clone(), code.clone());
        racing.spawn(async move {
            let replica = if number % 2 == 0 { &flow.house.a } else { &flow.house.b };
            flow.redeem(replica, &code, &[]).await.ok()
        });
    }
    let won: Vec<_> = racing.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    let refresh = text(&won[0], "refresh_token");
    assert_eq!(refused(flow.refresh(&flow.house.a, refresh, &[]).await), ErrorCode::InvalidGrant);
    for replica in [&flow.house.a, &flow.house.b] {
        let dead = async || flow.at(replica, text(&won[0], "access_token"), GATEWAY).await.is_err();
        eventually("the family is dead", dead).await;
    }
}

#[tokio::test]
async fn a_code_is_for_one_client_one_verifier_and_one_minute() {
    let flow = Flow::open().await;
    let metadata = serde_json::json!({"redirect_uris": [super::REDIRECT],
        "token_endpoint_auth_method": "none"});
    let other = register(&flow.house.a, &flow.house, &metadata).await.unwrap();
    let wrong = "another-verifier-of-43-characters-or-more--";
    for change in [
        ("client_id", text(&other, "client_id")),
        ("code_verifier", wrong),
        ("redirect_uri", "http://127.0.0.1:49153/callback"),
        ("redirect_uri", "http://localhost:49152/callback"),
    ] {
        let code = flow.code(&[]).await;
        let tried = flow.redeem(&flow.house.a, &code, &[change]).await;
        assert_eq!(refused(tried), ErrorCode::InvalidGrant, "{change:?}");
        // And nobody else can use it any more.
        let after = flow.redeem(&flow.house.b, &code, &[]).await;
        assert_eq!(refused(after), ErrorCode::InvalidGrant, "{change:?}");
    }
    let code = flow.code(&[]).await;
    flow.house.later(61).await;
    assert_eq!(refused(flow.redeem(&flow.house.a, &code, &[]).await), ErrorCode::InvalidGrant);
    for unknown in ["x", "", &"A".repeat(43)] {
        let expected =
            if unknown.is_empty() { ErrorCode::InvalidRequest } else { ErrorCode::InvalidGrant };
        assert_eq!(refused(flow.redeem(&flow.house.a, unknown, &[]).await), expected);
    }
}

#[tokio::test]
async fn pkce_cannot_be_downgraded() {
    let flow = Flow::open().await;
    let padded = format!("{}=", *CHALLENGE);
    for change in [
        &[("code_challenge_method", "plain")][..],
        &[("code_challenge_method", "s256")],
        &[("code_challenge_method", "none")],
        &[("code_challenge_method", "S512")],
        // Absent, it would mean plain.
        &[("code_challenge_method", "")],
        &[("code_challenge", "")],
        &[("code_challenge", ""), ("code_challenge_method", "")],
        &[("code_challenge", VERIFIER), ("code_challenge_method", "plain")],
        &[("code_challenge", "short")],
        &[("code_challenge", &padded)],
    ] {
        let Err(Unasked::Redirect(url)) = flow.ask(change).await else {
            panic!("{change:?} was asked about");
        };
        let answer = parameters(&url);
        assert_eq!(value(&answer, "error").as_deref(), Some("invalid_request"), "{change:?}");
        assert_eq!(value(&answer, "iss").as_deref(), Some(GATEWAY));
        assert_eq!(value(&answer, "code"), None);
    }
    for verifier in ["", "short", &CHALLENGE[..42], &"a".repeat(129), &format!("{VERIFIER}%")] {
        let code = flow.code(&[]).await;
        let tried = flow.redeem(&flow.house.a, &code, &[("code_verifier", verifier)]).await;
        assert_eq!(refused(tried), ErrorCode::InvalidRequest, "{verifier}");
    }
    // The challenge itself is no verifier.
    let code = flow.code(&[]).await;
    let tried = flow.redeem(&flow.house.a, &code, &[("code_verifier", &CHALLENGE)]).await;
    assert_eq!(refused(tried), ErrorCode::InvalidGrant);
}

#[tokio::test]
async fn a_request_is_decided_in_the_browser_that_made_it() {
    let flow = Flow::open().await;
    let server = flow.house.a.governance.oauth();
    let asked = flow.ask(&[]).await.unwrap();
    assert_eq!(server.ask_again(&asked.sealed, &super::BROWSER).unwrap(), asked);
    // On any replica.
    let other = flow.house.b.governance.oauth();
    assert_eq!(other.ask_again(&asked.sealed, &super::BROWSER).unwrap(), asked);
    assert!(server.ask_again(&asked.sealed, &[8; 32]).is_err());
    assert!(server.ask_again("", &super::BROWSER).is_err());
    assert!(server.ask_again(&asked.sealed[1..], &super::BROWSER).is_err());
    flow.house.later(601).await;
    assert!(server.ask_again(&asked.sealed, &super::BROWSER).is_err());
}

#[tokio::test]
async fn nobody_gets_a_code_who_is_not_there_or_may_not_use_the_server() {
    let flow = Flow::open().await;
    let server = flow.house.a.governance.oauth();
    let proxy = |slug: &str| format!("{GATEWAY}/api/v1/proxy/{slug}/mcp");
    // Carol may not use tickets; nobody may use a server that is not there: the two look alike.
    let mut answers = Vec::new();
    for slug in ["tickets", "absent"] {
        let asked = flow.ask(&[("resource", &proxy(slug))]).await.unwrap();
        assert_eq!(asked.server_slug.as_deref(), Some(slug));
        let carol = flow.house.caller("carol").user;
        let origin = flow.house.origin(Face::Rest);
        let url = server.grant(&asked, &carol, &origin).await.unwrap();
        assert_eq!(value(&parameters(&url), "code"), None);
        answers.push(url);
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("error=invalid_target"), "{}", answers[0]);
    let asked = flow.ask(&[]).await.unwrap();
    let mut gone = (*flow.house.caller("bob").user).clone();
    gone.id = gateway_core::ids::UserId(uuid::Uuid::from_u128(99));
    let url = server.grant(&asked, &gone, &flow.house.origin(Face::Rest)).await.unwrap();
    assert_eq!(value(&parameters(&url), "error").as_deref(), Some("access_denied"));
    let bob = flow.house.caller("bob").user;
    let url = server.refuse(&asked, &bob, &flow.house.origin(Face::Rest)).await;
    assert_eq!(value(&parameters(&url), "error").as_deref(), Some("access_denied"));
    assert_eq!(value(&parameters(&url), "iss").as_deref(), Some(GATEWAY));
}
