//! Devices without a browser: they wait, a person decides, and only then there are tokens, once.

use serde_json::Value;

use super::{Flow, GATEWAY, form, refused, text};
use crate::Face;
use crate::oauth::{ErrorCode, Form, OauthError, TokenRequest};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Flow {
    async fn start(&self, more: &[(&str, &str)]) -> Result<Value, OauthError> {
        let mut pairs = vec![("client_id", self.client.as_str())];
        pairs.extend_from_slice(more);
        let form = Form::parse(form(&pairs).as_bytes())?;
        let origin = self.house.origin(Face::Rest);
        let request = TokenRequest { form: &form, authorization: None, origin: &origin };
        let started = self.house.a.governance.oauth().start_device(request).await?;
        Ok(serde_json::from_str(&started.json()).unwrap())
    }

    async fn poll(&self, started: &Value) -> Result<Value, OauthError> {
        let pairs = [
            ("grant_type", GRANT),
            ("client_id", self.client.as_str()),
            ("device_code", text(started, "device_code")),
        ];
        self.token(&self.house.b, &form(&pairs)).await
    }

    async fn decide(&self, code: &str, name: &str, approve: bool) -> Result<(), OauthError> {
        let user = self.house.caller(name).user;
        let origin = self.house.origin(Face::Rest);
        self.house.b.governance.oauth().decide_device(code, &user, approve, &origin).await
    }
}

#[tokio::test]
async fn a_device_gets_tokens_once_its_person_has_agreed() {
    let flow = Flow::open().await;
    let started = flow.start(&[]).await.unwrap();
    assert_eq!(started["verification_uri"], format!("{GATEWAY}/device"));
    assert_eq!(refused(flow.poll(&started).await), ErrorCode::AuthorizationPending);
    assert_eq!(refused(flow.poll(&started).await), ErrorCode::SlowDown);
    let code = text(&started, "user_code");
    let spelled = code.replace('-', " ").to_lowercase();
    let asked = flow.house.b.governance.oauth().device_asked(&spelled).await.unwrap();
    assert_eq!((asked.user_code.as_str(), asked.client_name.as_str()), (code, "Test client"));
    flow.decide(&spelled, "bob", true).await.unwrap();
    flow.house.later(5).await;
    let tokens = flow.poll(&started).await.unwrap();
    let caller = flow.at(&flow.house.a, text(&tokens, "access_token"), GATEWAY).await.unwrap();
    assert_eq!(caller.user.email, "bob@example.com");
    flow.refresh(&flow.house.a, text(&tokens, "refresh_token"), &[]).await.unwrap();
    flow.house.later(5).await;
    assert_eq!(refused(flow.poll(&started).await), ErrorCode::InvalidGrant, "once");
    let again = flow.decide(code, "bob", true).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::ExpiredToken);
}

#[tokio::test]
async fn a_device_gets_nothing_otherwise() {
    let flow = Flow::open().await;
    let refusal = flow.start(&[]).await.unwrap();
    flow.decide(text(&refusal, "user_code"), "bob", false).await.unwrap();
    assert_eq!(refused(flow.poll(&refusal).await), ErrorCode::AccessDenied);
    let late = flow.start(&[]).await.unwrap();
    flow.house.later(601).await;
    let decided = flow.decide(text(&late, "user_code"), "bob", true).await;
    assert_eq!(decided.unwrap_err().code, ErrorCode::ExpiredToken);
    assert_eq!(refused(flow.poll(&late).await), ErrorCode::ExpiredToken);
    let unknown = serde_json::json!({"device_code": "x"});
    assert_eq!(refused(flow.poll(&unknown).await), ErrorCode::InvalidGrant);
    let oauth = flow.house.a.governance.oauth();
    for code in ["", "ABCD-EFGH", "BBBB-BBBB", "BBBBBBBBB", "ÄÖÜ", "' or 1=1"] {
        assert!(oauth.device_asked(code).await.is_none(), "{code}");
        let decided = flow.decide(code, "bob", true).await;
        assert_eq!(decided.unwrap_err().code, ErrorCode::ExpiredToken, "{code}");
    }
    for (more, expected) in [
        (("scope", "admin"), ErrorCode::InvalidScope),
        (("resource", "https://evil.example"), ErrorCode::InvalidTarget),
    ] {
        assert_eq!(flow.start(&[more]).await.unwrap_err().code, expected);
    }
    // Somebody who may not use the server cannot let a device use it.
    let proxy = format!("{GATEWAY}/api/v1/proxy/tickets/mcp");
    let started = flow.start(&[("resource", &proxy)]).await.unwrap();
    let decided = flow.decide(text(&started, "user_code"), "carol", true).await;
    assert_eq!(decided.unwrap_err().code, ErrorCode::InvalidTarget);
    assert_eq!(refused(flow.poll(&started).await), ErrorCode::AuthorizationPending);
}
