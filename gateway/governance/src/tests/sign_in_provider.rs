//! Signing in with a provider: who gets in, and every way in which an answer is not to be trusted.

use std::sync::Arc;

use serde_json::{Value, json};

use super::house::{House, STATE, eventually};
use super::provider::{Idp, Providers};
use crate::sign_in::{NotSignedIn, Opened};
use crate::testing::{provider, settings};
use crate::{Face, GovernanceSettings, Provider, SignInSettings};

const BROWSER: [u8; 32] = [1; 32];
const ISSUER: &str = "https://idp.example.com";

async fn house(providers: Vec<Provider>, idps: Vec<Arc<Idp>>) -> House {
    let sign_in = SignInSettings { local: false, providers };
    let settings = GovernanceSettings { sign_in, ..settings() };
    House::open_with(&settings, Arc::new(Providers(idps))).await
}

async fn with(provider: Provider) -> (House, Arc<Idp>) {
    let idp = Idp::new(ISSUER);
    (house(vec![provider], vec![idp.clone()]).await, idp)
}

/// There and back.
async fn journey(house: &House, idp: &Idp) -> Result<(Opened, String), NotSignedIn> {
    let sign_in = house.a.governance.sign_in();
    let url = sign_in.begin("Example", "/device", &BROWSER).await?;
    // Back at the other replica.
    let back = idp.agree(&url);
    house.b.governance.sign_in().finish(&back, &BROWSER, &house.origin(Face::Rest)).await
}

async fn email(house: &House, opened: &Opened) -> String {
    let found = house.a.governance.sign_in().signed_in(&opened.name).await.unwrap();
    found.unwrap().0.email.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_found_by_address_first_and_by_subject_from_then_on() {
    let (house, idp) = with(provider()).await;
    let (opened, next) = journey(&house, &idp).await.unwrap();
    assert_eq!(
        (email(&house, &opened).await.as_str(), next.as_str()),
        ("bob@example.com", "/device")
    );
    // The provider gives him another address, which is somebody else's here: he stays himself.
    idp.says(json!({"sub": "bob-at-idp", "email": "carol@example.com", "email_verified": true}));
    let (opened, _) = journey(&house, &idp).await.unwrap();
    assert_eq!(email(&house, &opened).await, "bob@example.com");
    // Somebody new at the provider gets Bob's old address: that does not make them Bob.
    idp.says(json!({"sub": "new-at-idp", "email": "bob@example.com", "email_verified": true}));
    idp.tells(json!({"sub": "new-at-idp"}));
    let refused = journey(&house, &idp).await.unwrap_err();
    assert_eq!(refused, NotSignedIn::NoAccount("Example".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_or_not_vouched_for_stays_outside() {
    let (house, idp) =
        with(Provider { allowed_domains: vec!["example.com".into()], ..provider() }).await;
    let cases = [
        json!({"sub": "x", "email": "stranger@example.com", "email_verified": true}),
        json!({"sub": "x", "email": "bob@example.com", "email_verified": false}),
        json!({"sub": "x", "email": "bob@example.com", "email_verified": null}),
        json!({"sub": "x", "email": null, "email_verified": null}),
        json!({"sub": "x", "email": "bob@evil.example", "email_verified": true}),
    ];
    idp.tells(json!({"sub": "x"}));
    for claims in cases {
        idp.says(claims.clone());
        let refused = journey(&house, &idp).await.unwrap_err();
        assert_eq!(refused, NotSignedIn::NoAccount("Example".into()), "{claims}");
    }
    house
        .apply(&STATE.replace(
            "email = \"carol@example.com\"",
            "email = \"carol@example.com\"\nactive = false",
        ))
        .await;
    idp.says(json!({"sub": "x", "email": "carol@example.com", "email_verified": true}));
    assert!(journey(&house, &idp).await.is_err(), "a deactivated person");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_makes_people_only_where_the_operator_says_so() {
    let create = Provider {
        create_users: true,
        allowed_domains: vec!["example.com".into()],
        attributes: vec!["department".into()],
        ..provider()
    };
    let (house, idp) = with(create).await;
    idp.says(
        json!({"sub": "n", "email": "New@Example.com", "email_verified": true, "name": "Nora",
        "groups": ["engineering", "night shift"], "department": "sales"}),
    );
    idp.tells(json!({"sub": "n"}));
    let (opened, _) = journey(&house, &idp).await.unwrap();
    let (user, session) =
        house.a.governance.sign_in().signed_in(&opened.name).await.unwrap().unwrap();
    assert_eq!((user.email.as_str(), user.name.as_str()), ("new@example.com", "Nora"));
    assert_eq!(user.groups, ["engineering", "night shift"]);
    assert!(user.roles.is_empty(), "no role comes from a provider");
    assert_eq!(session.issuer, ISSUER);
    idp.says(json!({"sub": "m", "email": "mallory@evil.example", "email_verified": true}));
    idp.tells(json!({"sub": "m"}));
    assert!(journey(&house, &idp).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_takes_back_only_the_groups_that_a_sign_in_gave() {
    let (house, idp) = with(provider()).await;
    let groups = async |claimed: Value| {
        idp.says(json!({"sub": "bob-at-idp", "email": "bob@example.com", "email_verified": true,
            "groups": claimed}));
        journey(&house, &idp).await.unwrap();
        let snapshot = house.b.governance.refresh().await.unwrap();
        snapshot.user_by_email("bob@example.com").unwrap().groups.clone()
    };
    assert_eq!(groups(json!(["security", "new"])).await, ["engineering", "new", "security"]);
    // Applying the file again neither takes them away nor sees a difference.
    house.apply(STATE).await;
    assert_eq!(groups(Value::Null).await, ["engineering", "new", "security"], "nothing was said");
    assert_eq!(groups(json!(["new"])).await, ["engineering", "new"]);
    assert_eq!(groups(json!([])).await, ["engineering"], "the file's stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_of_people_decides_what_they_may() {
    let keeps = ["department", "teams"].map(String::from).to_vec();
    let (house, idp) = with(Provider { attributes: keeps, ..provider() }).await;
    let vault = r#"
[[policies]]
name = "finance and red"
effect = "allow"
principals = ["attribute:department=finance", "attribute:teams=red"]
server = "vault"
"#;
    house.apply(&format!("{STATE}{vault}")).await;
    let b = &house.b.governance;
    let enters = |name: &str| {
        let snapshot = b.snapshot();
        let user = snapshot.user_by_email(&format!("{name}@example.com")).unwrap();
        snapshot.policies.may_enter(user, snapshot.server("vault").unwrap())
    };
    assert!(!enters("bob"));
    let said = [
        (json!({"department": "finance"}), true),
        (json!({"department": "Finance"}), false),
        (json!({"teams": ["blue", "red"]}), true),
        (json!({"teams": [["red"]], "color": "red"}), false),
        (json!({"department": ["finance"]}), true),
        (json!({}), false),
    ];
    for (claims, may) in said {
        let mut all =
            json!({"sub": "bob-at-idp", "email": "bob@example.com", "email_verified": true});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        idp.says(all);
        journey(&house, &idp).await.unwrap();
        eventually(&format!("{claims}"), async || enters("bob") == may).await;
        assert!(!enters("carol"), "{claims}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_trusted_let_nobody_in() {
    let (house, idp) = with(provider()).await;
    let good = json!({"sub": "bob-at-idp", "email": "bob@example.com", "email_verified": true});
    let spoiled = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let cases = [
        spoiled("iss", json!("https://other.example.com")),
        spoiled("iss", json!("https://idp.example.com/")),
        spoiled("aud", json!("another-client")),
        spoiled("aud", json!(["gateway", "another-client"])),
        spoiled("nonce", json!("another-nonce")),
        spoiled("nonce", Value::Null),
        spoiled("exp", json!(1_000_000)),
        spoiled("exp", Value::Null),
        spoiled("sub", Value::Null),
        spoiled("sub", json!("")),
    ];
    let provider_failed = NotSignedIn::Provider("Example".into());
    for claims in cases {
        idp.says(claims.clone());
        assert_eq!(journey(&house, &idp).await.unwrap_err(), provider_failed, "{claims}");
    }
    idp.says(good);
    idp.tells(json!({"sub": "somebody-else"}));
    assert_eq!(journey(&house, &idp).await.unwrap_err(), provider_failed, "userinfo of another");
    idp.tells(json!({"sub": "bob-at-idp"}));
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "EdDSA", "kid": "unknown"}),
        json!({"alg": "RS256", "kid": "1"}),
    ] {
        idp.signs_with_header(header.clone());
        assert_eq!(journey(&house, &idp).await.unwrap_err(), provider_failed, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_browser_that_began_comes_back_and_only_in_time() {
    let (house, idp) = with(provider()).await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    let begin = async || idp.agree(&sign_in.begin("Example", "/", &BROWSER).await.unwrap());
    let back = begin().await;
    let other = sign_in.finish(&back, &[2; 32], &origin).await.unwrap_err();
    assert_eq!(other, NotSignedIn::Stale, "another browser");
    assert_eq!(idp.times("/token"), 0, "the code was not even tried");
    for bad in [
        back.replace("state=", "state=A"),
        back.replace("state=", "stat="),
        format!("{back}&state=x"),
        String::new(),
    ] {
        assert_eq!(
            sign_in.finish(&bad, &BROWSER, &origin).await.unwrap_err(),
            NotSignedIn::Stale,
            "{bad}"
        );
    }
    let again = begin().await;
    assert!(sign_in.finish(&again, &BROWSER, &origin).await.is_ok());
    assert!(sign_in.finish(&again, &BROWSER, &origin).await.is_err(), "a code works once");
    let late = begin().await;
    house.clock.advance(901);
    assert_eq!(sign_in.finish(&late, &BROWSER, &origin).await.unwrap_err(), NotSignedIn::Stale);
    assert_eq!(sign_in.begin("Nobody", "/", &BROWSER).await.unwrap_err(), NotSignedIn::NoSuchWay);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_providers_answer_is_never_anothers() {
    let evil = Idp::new("https://evil.example.com");
    let idp = Idp::new(ISSUER);
    let second =
        Provider { name: "Evil".into(), issuer: "https://evil.example.com".into(), ..provider() };
    let house = house(vec![provider(), second], vec![idp.clone(), evil.clone()]).await;
    let sign_in = house.a.governance.sign_in();
    let origin = house.origin(Face::Rest);
    // The person meant the evil one, which sent them on to the honest one with its own state.
    let mut to_evil = sign_in.begin("Evil", "/", &BROWSER).await.unwrap();
    let query = to_evil.query().unwrap().to_owned();
    to_evil = format!("{ISSUER}/authorize?{query}").parse().unwrap();
    let back = idp.agree(&to_evil);
    let refused = sign_in.finish(&back, &BROWSER, &origin).await.unwrap_err();
    assert_eq!(refused, NotSignedIn::Provider("Evil".into()));
    assert_eq!(evil.times("/token"), 0, "the honest one's code was not carried to the evil one");
    // A provider that promises to name itself, and an answer that does not.
    idp.promises_its_name();
    house.clock.advance(700);
    let url = sign_in.begin("Example", "/", &BROWSER).await.unwrap();
    let back = idp.agree(&url);
    let nameless: Vec<&str> = back.split('&').filter(|pair| !pair.starts_with("iss=")).collect();
    assert!(sign_in.finish(&nameless.join("&"), &BROWSER, &origin).await.is_err());
    assert_eq!(idp.times("/token"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_of_a_provider_are_read_but_not_for_every_unknown_one() {
    let (house, idp) = with(provider()).await;
    journey(&house, &idp).await.unwrap();
    house.clock.advance(31);
    idp.rotate();
    journey(&house, &idp).await.unwrap();
    let before = idp.times("/jwks");
    idp.signs_with_header(json!({"alg": "EdDSA", "kid": "unknown"}));
    for _ in 0..10 {
        assert!(journey(&house, &idp).await.is_err());
    }
    assert!(idp.times("/jwks") <= before + 2, "one read a replica");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_refusal_is_told_by_its_code_alone() {
    let (house, idp) = with(provider()).await;
    let sign_in = house.a.governance.sign_in();
    let url = sign_in.begin("Example", "/", &BROWSER).await.unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let back =
        format!("error=access_denied%3Cscript%3E&error_description=secret+things&state={state}");
    let refused = sign_in.finish(&back, &BROWSER, &house.origin(Face::Rest)).await.unwrap_err();
    assert_eq!(refused.to_string(), "Example did not sign you in (access_denied<script>).");
    assert_eq!(idp.times("/token"), 0);
}
