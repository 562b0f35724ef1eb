//! The built-in sign-in, and browsers.

use gateway_core::record::ActionType;
use gateway_store::audit::EventFilter;
use serde_json::json;

use super::house::House;
use crate::sign_in::NotSignedIn;
use crate::testing::settings;
use crate::{Face, GovernanceSettings, Offline, SignInSettings};

const PASSWORD: &str = "correct horse battery";

async fn house() -> House {
    let sign_in = SignInSettings { local: true, ..SignInSettings::default() };
    let settings = GovernanceSettings { sign_in, ..settings() };
    House::open_with(&settings, std::sync::Arc::new(Offline)).await
}

async fn give_password(house: &House, email: &str) {
    let arguments = json!({"user": email, "password": PASSWORD});
    let operation = (crate::operations::spec("set_local_password").unwrap().read)(arguments);
    house.operate(operation.unwrap()).await.unwrap();
}

async fn link(house: &House, email: &str) -> String {
    let operation =
        (crate::operations::spec("create_sign_in_link").unwrap().read)(json!({ "user": email }));
    let answer = house.operate(operation.unwrap()).await.unwrap();
    let url = answer.value["url"].as_str().unwrap().to_owned();
    url.strip_prefix("https://gw.example.com/sign-in/link?token=").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_signs_in_and_a_wrong_one_says_nothing() {
    let house = house().await;
    give_password(&house, "bob@example.com").await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    let opened = sign_in.by_password(" Bob@example.com ", PASSWORD.into(), &origin).await.unwrap();
    // On the other replica too.
    let elsewhere = house.b.governance.sign_in();
    let (user, session) = elsewhere.signed_in(&opened.name).await.unwrap().unwrap();
    assert_eq!((user.email.as_str(), session.id), ("bob@example.com", opened.session));
    let wrong = [
        ("bob@example.com", "correct horse batterY"),
        ("bob@example.com", ""),
        ("nobody@example.com", PASSWORD),
        ("carol@example.com", PASSWORD),
        ("", ""),
    ];
    for (email, password) in wrong {
        let refused = sign_in.by_password(email, password.into(), &origin).await.unwrap_err();
        assert_eq!(refused, NotSignedIn::Wrong, "{email} {password}");
    }
    let long = "x".repeat(100_000);
    let refused = sign_in.by_password("bob@example.com", long.into(), &origin).await.unwrap_err();
    assert_eq!(refused, NotSignedIn::Wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_for_people_and_for_nobody_alike() {
    let house = house().await;
    give_password(&house, "bob@example.com").await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    for email in ["bob@example.com", "nobody@example.com"] {
        for _ in 0..10 {
            let refused = sign_in.by_password(email, "wrong".into(), &origin).await.unwrap_err();
            assert_eq!(refused, NotSignedIn::Wrong);
        }
        let refused = sign_in.by_password(email, PASSWORD.into(), &origin).await.unwrap_err();
        assert_eq!(refused, NotSignedIn::TooMany, "{email}");
    }
    house.clock.advance(700);
    sign_in.by_password("bob@example.com", PASSWORD.into(), &origin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signs_in_once_and_not_late() {
    let house = house().await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    let token = link(&house, "bob@example.com").await;
    for _ in 0..3 {
        assert_eq!(sign_in.link(&token, &origin).await.unwrap().email, "bob@example.com");
    }
    let other = house.b.governance.sign_in();
    let (one, two) = tokio::join!(sign_in.by_link(&token, &origin), other.by_link(&token, &origin));
    assert!(one.is_ok() != two.is_ok(), "one of two at once: {one:?} {two:?}");
    assert_eq!(sign_in.by_link(&token, &origin).await.unwrap_err(), NotSignedIn::LinkOver);
    let late = link(&house, "bob@example.com").await;
    house.clock.advance(15 * 60);
    assert_eq!(sign_in.by_link(&late, &origin).await.unwrap_err(), NotSignedIn::LinkOver);
    for forged in ["", "x", &late[1..], &late.to_uppercase()] {
        let refused = sign_in.by_link(forged, &origin).await.unwrap_err();
        assert_eq!(refused, NotSignedIn::LinkOver, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_nobody_signs_in_by_password_or_link() {
    let house = House::open().await;
    give_password(&house, "bob@example.com").await;
    let token = link(&house, "bob@example.com").await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    let refused = sign_in.by_password("bob@example.com", PASSWORD.into(), &origin).await;
    assert_eq!(refused.unwrap_err(), NotSignedIn::NoSuchWay);
    assert_eq!(sign_in.by_link(&token, &origin).await.unwrap_err(), NotSignedIn::NoSuchWay);
    assert_eq!(sign_in.link(&token, &origin).await.unwrap_err(), NotSignedIn::NoSuchWay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_time_with_its_person_and_with_a_new_password() {
    let house = house().await;
    give_password(&house, "bob@example.com").await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    let enter = async || {
        sign_in.by_password("bob@example.com", PASSWORD.into(), &origin).await.unwrap().name
    };
    let is_in = async |name: &str| {
        let here = sign_in.signed_in(name).await.unwrap().is_some();
        let there = house.b.governance.sign_in().signed_in(name).await.unwrap().is_some();
        assert_eq!(here, there);
        here
    };
    let old = enter().await;
    assert!(is_in(&old).await);
    give_password(&house, "bob@example.com").await;
    assert!(!is_in(&old).await, "a new password signs out");
    let aging = enter().await;
    house.clock.advance(12 * 3600 - 5);
    assert!(is_in(&aging).await);
    house.clock.advance(6);
    assert!(!is_in(&aging).await);
    let last = enter().await;
    let gone = super::house::STATE
        .replace("email = \"bob@example.com\"", "email = \"bob@example.com\"\nactive = false");
    house.apply(&gone).await;
    assert!(!is_in(&last).await, "a deactivated person is out at once, whatever snapshots say");
    let refused = sign_in.by_password("bob@example.com", PASSWORD.into(), &origin).await;
    assert_eq!(refused.unwrap_err(), NotSignedIn::Wrong);
    for forged in ["", "x", &last[1..], &format!("{last}A"), &"A".repeat(43)] {
        assert!(!is_in(forged).await, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_ends_their_own_sessions_and_no_others() {
    let house = house().await;
    let origin = house.origin(Face::Rest);
    let sign_in = house.a.governance.sign_in();
    let token = link(&house, "bob@example.com").await;
    let bob = sign_in.by_link(&token, &origin).await.unwrap();
    let id = json!({"id": bob.session.to_string(), "confirm": true});
    for other in ["carol", "root"] {
        let refused = house.perform(other, Face::Rest, "revoke_browser_session", id.clone()).await;
        assert_eq!(refused.unwrap_err().reason.as_str(), "entity_not_found", "{other}");
        let listed = house.perform(other, Face::Rest, "list_browser_sessions", json!({})).await;
        assert_eq!(listed.unwrap()["data"], json!([]), "{other}");
    }
    assert!(sign_in.signed_in(&bob.name).await.unwrap().is_some());
    let listed =
        house.perform("bob", Face::Rest, "list_browser_sessions", json!({})).await.unwrap();
    assert_eq!(listed["data"][0]["id"], bob.session.to_string());
    house.perform("bob", Face::Rest, "revoke_browser_session", id.clone()).await.unwrap();
    assert!(sign_in.signed_in(&bob.name).await.unwrap().is_none());
    assert!(house.perform("bob", Face::Rest, "revoke_browser_session", id).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_and_failures_are_recorded_without_a_secret() {
    let house = house().await;
    give_password(&house, "bob@example.com").await;
    let origin = house.origin(Face::Rest);
    let sign_in = house.a.governance.sign_in();
    let token = link(&house, "bob@example.com").await;
    let opened = sign_in.by_link(&token, &origin).await.unwrap();
    for _ in 0..3 {
        let wrong = sign_in.by_password("bob@example.com", "canary-password".into(), &origin).await;
        assert!(wrong.is_err());
    }
    let wrong = sign_in.by_password("canary-address", "canary-password".into(), &origin).await;
    assert!(wrong.is_err());
    let rows = house.all_rows(&EventFilter::default()).await;
    let count = |action: ActionType| {
        rows.iter()
            .filter(|row| row.action_type == action.as_str())
            .map(|row| row.count)
            .sum::<i64>()
    };
    assert_eq!(count(ActionType::AuthSuccess), 1);
    assert_eq!(count(ActionType::AuthFailed), 4);
    assert_eq!(count(ActionType::LocalPasswordSet), 1);
    let text = format!("{rows:?}");
    assert!(text.contains(&opened.session.to_string()));
    for secret in ["canary-password", "canary-address", PASSWORD, &token, &opened.name] {
        assert!(!text.contains(secret), "{secret} in the trail");
    }
}
