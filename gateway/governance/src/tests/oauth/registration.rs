//! Clients that register themselves: what is taken, what is abuse, and how they prove themselves afterwards.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::house::House;
use super::{Flow, REDIRECT, changed, register, text};
use crate::Face;
use crate::oauth::{ErrorCode, Form, TokenRequest};

#[tokio::test]
async fn metadata_that_is_not_taken() {
    let house = House::open().await;
    let server = house.a.governance.oauth();
    let uris = json!([REDIRECT]);
    let many: Vec<String> = (0..21).map(|n| format!("http://127.0.0.1/{n}")).collect();
    for (body, expected) in [
        (String::new(), ErrorCode::InvalidClientMetadata),
        ("[]".into(), ErrorCode::InvalidClientMetadata),
        ("{".into(), ErrorCode::InvalidClientMetadata),
        (
            r#"{"redirect_uris":["https://a.example/"],"redirect_uris":["https://evil.example/"]}"#
                .into(),
            ErrorCode::InvalidClientMetadata,
        ),
        (
            format!("{{\"client_name\":\"{}\"}}", "a".repeat(20_000)),
            ErrorCode::InvalidClientMetadata,
        ),
        ("{}".into(), ErrorCode::InvalidRedirectUri),
        (json!({"redirect_uris": []}).to_string(), ErrorCode::InvalidRedirectUri),
        (json!({"redirect_uris": many}).to_string(), ErrorCode::InvalidRedirectUri),
        (json!({"redirect_uris": REDIRECT}).to_string(), ErrorCode::InvalidClientMetadata),
        (json!({"redirect_uris": [1]}).to_string(), ErrorCode::InvalidClientMetadata),
        (
            json!({"redirect_uris": uris, "token_endpoint_auth_method": "private_key_jwt"})
                .to_string(),
            ErrorCode::InvalidClientMetadata,
        ),
        (
            json!({"redirect_uris": uris, "grant_types": ["client_credentials"]}).to_string(),
            ErrorCode::InvalidClientMetadata,
        ),
        (
            json!({"redirect_uris": uris, "grant_types": ["implicit"]}).to_string(),
            ErrorCode::InvalidClientMetadata,
        ),
        (
            json!({"redirect_uris": uris, "response_types": ["token"]}).to_string(),
            ErrorCode::InvalidClientMetadata,
        ),
    ] {
        let origin = house.origin(Face::Rest);
        let error = server.register(body.as_bytes(), &origin).await.err();
        let shown = &body[..body.len().min(100)];
        assert_eq!(error.map(|error| error.code), Some(expected), "{shown}");
    }
}

#[tokio::test]
async fn registrations_from_one_address_are_limited() {
    let house = House::open().await;
    let server = house.a.governance.oauth();
    let body = json!({"redirect_uris": [REDIRECT]}).to_string();
    let mut origin = house.origin(Face::Rest);
    let (mut taken, mut last) = (0, None);
    for _ in 0..62 {
        match server.register(body.as_bytes(), &origin).await {
            Ok(_) => taken += 1,
            Err(error) => last = Some(error.code),
        }
    }
    // The hour goes on while the test runs.
    assert!((60..62).contains(&taken), "{taken}");
    assert_eq!(last, Some(ErrorCode::TooMuch));
    // Others are not hurt.
    origin.client_ip = "192.0.2.1".parse().unwrap();
    assert!(server.register(body.as_bytes(), &origin).await.is_ok());
    house.later(60).await;
    origin.client_ip = house.origin(Face::Rest).client_ip;
    assert!(server.register(body.as_bytes(), &origin).await.is_ok());
}

#[tokio::test]
async fn a_client_that_is_not_used_is_forgotten() {
    let flow = Flow::open().await;
    let tokens = flow.tokens(&[]).await;
    flow.house.later(89 * 86_400).await;
    assert!(flow.ask(&[]).await.is_ok(), "used 89 days ago");
    assert!(flow.refresh(&flow.house.a, text(&tokens, "refresh_token"), &[]).await.is_err());
    assert!(flow.ask(&[]).await.is_ok());
    flow.house.later(91 * 86_400).await;
    assert!(flow.ask(&[]).await.is_err());
    let tried = flow.refresh(&flow.house.a, text(&tokens, "refresh_token"), &[]).await;
    assert_eq!(super::refused(tried), ErrorCode::InvalidClient);
}

#[tokio::test]
async fn a_client_with_a_secret_proves_itself_in_one_way() {
    let flow = Flow::open().await;
    let metadata = json!({"redirect_uris": [REDIRECT], "client_name": "Bad\u{202e}\n  name"});
    let client = register(&flow.house.a, &flow.house, &metadata).await.unwrap();
    assert_eq!(client["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(client["client_name"], "Bad name");
    let (id, secret) = (text(&client, "client_id"), text(&client, "client_secret"));
    let basic =
        |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let good = basic(id, secret);
    type Case<'a> = (&'a str, Option<&'a str>, &'a [(&'a str, &'a str)], Option<ErrorCode>);
    let cases: &[Case<'_>] = &[
        ("basic", Some(&good), &[], None),
        ("basic and the same id", Some(&good), &[("client_id", id)], None),
        ("post", None, &[("client_id", id), ("client_secret", secret)], None),
        ("nothing", None, &[("client_id", id)], Some(ErrorCode::InvalidClient)),
        ("no id", None, &[], Some(ErrorCode::InvalidClient)),
        ("wrong", Some(&basic(id, "x")), &[], Some(ErrorCode::InvalidClient)),
        ("empty", Some(&basic(id, "")), &[], Some(ErrorCode::InvalidClient)),
        ("unknown", Some(&basic("x", secret)), &[], Some(ErrorCode::InvalidClient)),
        (
            "the public client's id",
            Some(&basic(&flow.client, secret)),
            &[],
            Some(ErrorCode::InvalidClient),
        ),
        ("another scheme", Some("Bearer x"), &[], Some(ErrorCode::InvalidClient)),
        ("no base64", Some("Basic %%%"), &[], Some(ErrorCode::InvalidClient)),
        ("no colon", Some("Basic eA=="), &[], Some(ErrorCode::InvalidClient)),
        ("both", Some(&good), &[("client_secret", secret)], Some(ErrorCode::InvalidRequest)),
        ("two ids", Some(&good), &[("client_id", "x")], Some(ErrorCode::InvalidRequest)),
        (
            "an assertion besides",
            Some(&good),
            &[("client_assertion", "x"), ("client_assertion_type", "y")],
            Some(ErrorCode::InvalidRequest),
        ),
        (
            "half an assertion",
            None,
            &[("client_id", id), ("client_assertion", "x")],
            Some(ErrorCode::InvalidRequest),
        ),
        (
            "a URL with a secret",
            None,
            &[("client_id", "https://app.example.com/client"), ("client_secret", "x")],
            Some(ErrorCode::InvalidClient),
        ),
    ];
    for (name, authorization, more, expected) in cases {
        let code = flow.code(&[("client_id", id)]).await;
        let mut base = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", super::VERIFIER),
        ];
        base.extend_from_slice(more);
        let form = Form::parse(changed(&base, &[]).as_bytes()).unwrap();
        let origin = flow.house.origin(Face::Rest);
        let request = TokenRequest { form: &form, authorization: *authorization, origin: &origin };
        let got = flow.house.a.governance.oauth().token(request).await;
        assert_eq!(got.err().map(|error| error.code), *expected, "{name}");
    }
}

#[tokio::test]
async fn requests_that_can_be_read_in_two_ways_are_refused() {
    let flow = Flow::open().await;
    let tokens = flow.tokens(&[]).await;
    let good = changed(
        &[
            ("grant_type", "refresh_token"),
            ("client_id", &flow.client),
            ("refresh_token", text(&tokens, "refresh_token")),
        ],
        &[],
    );
    for (body, expected) in [
        (format!("{good}&grant_type=refresh_token"), ErrorCode::InvalidRequest),
        (format!("{good}&client_id=x"), ErrorCode::InvalidRequest),
        (format!("{good}&%67rant_type=x"), ErrorCode::InvalidRequest),
        (format!("{good}&scope=%"), ErrorCode::InvalidRequest),
        (format!("{good}&scope=%ff"), ErrorCode::InvalidRequest),
        (format!("{good}&scope=a%0ab"), ErrorCode::InvalidRequest),
        (format!("{good}{}", "&a=1&b=2".repeat(40)), ErrorCode::InvalidRequest),
        (good.replace("refresh_token&", "password&"), ErrorCode::UnsupportedGrantType),
        (good.replace("refresh_token&", "implicit&"), ErrorCode::UnsupportedGrantType),
        (good.replace("refresh_token&", "Refresh_Token&"), ErrorCode::UnsupportedGrantType),
        (good.replace("grant_type=refresh_token&", ""), ErrorCode::InvalidRequest),
        (String::new(), ErrorCode::InvalidRequest),
    ] {
        assert_eq!(super::refused(flow.token(&flow.house.a, &body).await), expected, "{body}");
    }
    // None of it used the token up.
    let given: Value = flow.token(&flow.house.a, &good).await.unwrap();
    assert!(given["refresh_token"].is_string());
}

#[tokio::test]
async fn a_client_gives_its_own_tokens_back_and_nobody_elses() {
    let flow = Flow::open().await;
    let metadata = json!({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"});
    let other = register(&flow.house.a, &flow.house, &metadata).await.unwrap();
    let server = flow.house.a.governance.oauth();
    let revoke = async |client: &str, token: &str| {
        let body = super::form(&[("client_id", client), ("token", token)]);
        let form = Form::parse(body.as_bytes()).unwrap();
        let origin = flow.house.origin(Face::Rest);
        server.revoke(TokenRequest { form: &form, authorization: None, origin: &origin }).await
    };
    for kind in ["refresh_token", "access_token"] {
        let tokens = flow.tokens(&[]).await;
        let access = text(&tokens, "access_token");
        revoke(text(&other, "client_id"), text(&tokens, kind)).await.unwrap();
        revoke(&flow.client, "no token at all").await.unwrap();
        flow.at(&flow.house.a, access, super::GATEWAY).await.unwrap();
        revoke(&flow.client, text(&tokens, kind)).await.unwrap();
        assert!(flow.at(&flow.house.a, access, super::GATEWAY).await.is_err(), "{kind}");
        let dead = async || flow.at(&flow.house.b, access, super::GATEWAY).await.is_err();
        super::super::house::eventually("dead on the other replica", dead).await;
        let tried = flow.refresh(&flow.house.b, text(&tokens, "refresh_token"), &[]).await;
        assert_eq!(super::refused(tried), ErrorCode::InvalidGrant, "{kind}");
    }
    let error = revoke("nobody", "x").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidClient);
}
