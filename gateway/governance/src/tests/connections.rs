//! Accounts at upstream servers: connected once, renewed once whoever asks, and worth nothing anywhere else.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::credential::Credential;
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use gateway_store::audit::{EventEntry, EventFilter};
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;

use super::house::{House, STATE};
use super::world::{CANARY, ISSUER, SERVER};
use crate::connections::{Refusing, Returned, Trouble, Unconnected};
use crate::{Face, Governance};

const WIKI: &str = r#"
[[servers]]
slug = "wiki"
url = "https://up.test/mcp"
auth = { mode = "oauth_user" }
"#;

/// A house with a server that needs accounts.
struct Connecting {
    house: House,
}

impl Connecting {
    async fn open() -> Connecting {
        Connecting::with(WIKI).await
    }

    async fn with(server: &str) -> Connecting {
        let house = House::open().await;
        let connecting = Connecting { house };
        connecting.apply(server).await;
        connecting
    }

    async fn apply(&self, server: &str) {
        self.house.apply(&format!("{STATE}{server}")).await;
        self.house.a.governance.refresh().await.unwrap();
        self.house.b.governance.refresh().await.unwrap();
    }

    fn a(&self) -> &Governance {
        &self.house.a.governance
    }

    fn server(&self) -> Arc<Server> {
        self.a().snapshot().server("wiki").unwrap().clone()
    }

    /// That person in a browser.
    fn browser(&self, name: &str, browser: &str) -> Caller {
        let caller = self.house.caller(name);
        Caller::new(caller.user, AuthMethod::Browser, browser)
    }

    async fn begin(&self, name: &str) -> Result<Returned, Trouble> {
        let caller = self.browser(name, "browser 1");
        let asked = self.a().connections().begin(&caller, &self.server()).await?;
        let query = self.house.world.agree(&asked.url);
        let take = |name: &str| query.get(name).cloned();
        Ok(Returned { state: take("state"), code: take("code"), iss: take("iss"), error: None })
    }

    async fn finish(&self, name: &str, browser: &str, back: Returned) -> Result<(), Trouble> {
        let origin = self.house.origin(Face::Rest);
        let caller = self.browser(name, browser);
        let done = self.a().connections().finish(&caller, &origin, back).await;
        done.map(drop).map_err(|unfinished| unfinished.trouble)
    }

    async fn connect(&self, name: &str) -> Result<(), Trouble> {
        let back = self.begin(name).await?;
        self.finish(name, "browser 1", back).await
    }

    async fn credential(&self, name: &str) -> Result<Credential, Unconnected> {
        let caller = self.house.caller(name);
        self.a().connections().credential(Some(&caller), &self.server()).await
    }

    async fn token(&self, name: &str) -> String {
        token(&self.credential(name).await.unwrap())
    }

    async fn rows(&self, action: &str) -> Vec<EventEntry> {
        let rows = self.house.all_rows(&EventFilter::default()).await;
        rows.into_iter().filter(|row| row.action_type == action).collect()
    }
}

fn token(credential: &Credential) -> String {
    let [(name, value)] = credential.headers() else { panic!("one header") };
    assert_eq!(name, "authorization");
    value.expose_secret().strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_connected_once_and_is_its_persons_alone() {
    let c = Connecting::open().await;
    let refused = c.credential("bob").await.unwrap_err();
    assert_eq!(refused.reason, Reason::ConnectionRequired);
    assert_eq!(refused.link.as_deref(), Some("https://gw.example.com/connect/wiki"));
    assert_eq!(c.house.world.times(""), 0, "nobody is asked for want of a connection");

    c.connect("bob").await.unwrap();
    assert!(c.token("bob").await.starts_with(CANARY));
    assert_eq!(c.credential("dora").await.unwrap_err().reason, Reason::ConnectionRequired);
    assert_eq!(c.house.world.times("POST https://as.test/register"), 1);
    c.connect("dora").await.unwrap();
    assert_ne!(c.token("bob").await, c.token("dora").await);
    assert_eq!(c.house.world.times("POST https://as.test/register"), 1, "the registration is kept");
    let asked = c.house.world.bend().asked.clone();
    let codes = asked.iter().filter(|(_, form)| form.get("code").is_some());
    for (_, form) in codes {
        assert_eq!(form["resource"], SERVER);
        assert!(form["code_verifier"].len() >= 43);
    }
    let rows = c.rows("oauth_connected").await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.outcome == "ok"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_counts_once_for_its_person_and_browser_only() {
    let c = Connecting::open().await;
    let mine = |error: Trouble| error.reason == Reason::ConnectionNotMade;
    type Change = fn(Returned) -> Returned;
    let cases: [(&str, &str, Change); 9] = [
        ("dora", "browser 1", |back| back),
        ("bob", "browser 2", |back| back),
        ("bob", "browser 1", |back| Returned { state: None, ..back }),
        ("bob", "browser 1", |back| Returned { state: Some("forged".into()), ..back }),
        ("bob", "browser 1", |back| Returned { iss: None, ..back }),
        ("bob", "browser 1", |back| Returned { iss: Some("https://evil.test".into()), ..back }),
        ("bob", "browser 1", |back| Returned { iss: Some(format!("{ISSUER}/")), ..back }),
        ("bob", "browser 1", |back| Returned { error: Some("access_denied".into()), ..back }),
        ("bob", "browser 1", |back| Returned { code: None, ..back }),
    ];
    for (at, (name, browser, change)) in cases.into_iter().enumerate() {
        let back = change(c.begin("bob").await.unwrap());
        assert!(mine(c.finish(name, browser, back).await.unwrap_err()), "case {at}");
    }
    assert_eq!(c.house.world.times("POST https://as.test/token"), 0, "no code went anywhere");
    let back = c.begin("bob").await.unwrap();
    c.finish("bob", "browser 1", back.clone()).await.unwrap();
    assert!(mine(c.finish("bob", "browser 1", back).await.unwrap_err()), "a replay");
    // Of a hundred who come with the same return, on both replicas, one gets it.
    let back = c.begin("dora").await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    let origin = c.house.origin(Face::Rest);
    for n in 0..100 {
        let replica = if n % 2 == 0 { &c.house.a } else { &c.house.b };
        let (governance, back) = (replica.governance.clone(), back.clone());
        let (caller, origin) = (c.browser("dora", "browser 1"), origin.clone());
        racing.spawn(async move {
            governance.connections().finish(&caller, &origin, back).await.is_ok()
        });
    }
    assert_eq!(racing.join_all().await.into_iter().filter(|won| *won).count(), 1);
    // And late is too late.
    let back = c.begin("carol").await.unwrap();
    c.house.clock.advance(601);
    assert!(mine(c.finish("carol", "browser 1", back).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_once_by_all_replicas_together() {
    let c = Connecting::open().await;
    c.connect("bob").await.unwrap();
    let first = c.token("bob").await;
    c.house.clock.advance(3550);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..40 {
        let replica = if n % 2 == 0 { &c.house.a } else { &c.house.b };
        let (governance, server) = (replica.governance.clone(), c.server());
        let caller = c.house.caller("bob");
        asking.spawn(async move {
            token(&governance.connections().credential(Some(&caller), &server).await.unwrap())
        });
    }
    let tokens: std::collections::HashSet<String> = asking.join_all().await.into_iter().collect();
    assert_eq!(tokens.len(), 1, "everybody has the same new token");
    assert!(!tokens.contains(&first));
    let refreshes = |c: &Connecting| {
        let bent = c.house.world.bend();
        let grants = bent.asked.iter().filter_map(|(_, form)| form.get("grant_type"));
        grants.filter(|grant| *grant == "refresh_token").count()
    };
    assert_eq!(refreshes(&c), 1);
    let rows = c.rows("upstream_token_refresh_success").await;
    assert_eq!(rows.len(), 1);

    // The issuer is away: what still counts is used, and what has ended is not.
    c.house.world.bend().token_error = Some((503, json!({})));
    c.house.clock.advance(3570);
    assert_eq!(c.token("bob").await, tokens.iter().next().unwrap().as_str());
    c.house.clock.advance(60);
    let refused = c.credential("bob").await.unwrap_err();
    assert_eq!((refused.reason, refused.link), (Reason::UpstreamInvalid, None));
    // It is back.
    c.house.world.bend().token_error = None;
    assert!(!tokens.contains(&c.token("bob").await));

    // The grant was taken back at the issuer: the person has to connect anew, and nobody asks again.
    let over = json!({"error": "invalid_grant", "error_description": CANARY});
    c.house.world.bend().token_error = Some((400, over));
    c.house.clock.advance(3700);
    for _ in 0..3 {
        let refused = c.credential("bob").await.unwrap_err();
        assert_eq!(refused.reason, Reason::ConnectionRequired);
        assert!(refused.link.is_some());
    }
    let before = c.house.world.times("POST https://as.test/token");
    assert!(c.credential("bob").await.is_err());
    assert_eq!(c.house.world.times("POST https://as.test/token"), before);
    assert!(!c.rows("upstream_token_refresh_failure").await.is_empty());
    c.house.world.bend().token_error = None;
    c.connect("bob").await.unwrap();
    c.token("bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_does_not_name_what_led_to_it_is_refused() {
    type Bend = fn(&mut super::world::Bent);
    let cases: [(&str, Bend); 12] = [
        ("another resource", |b| b.resource = "https://other.test/mcp".into()),
        ("a resource below", |b| b.resource = "https://up.test/mcp/more".into()),
        ("no issuer", |b| b.issuers = vec![]),
        ("an issuer without metadata", |b| b.issuers = vec!["https://as.test/other".into()]),
        ("metadata of another issuer", |b| b.metadata["issuer"] = json!("https://evil.test")),
        ("an issuer with a slash", |b| b.metadata["issuer"] = json!("https://as.test/")),
        ("an issuer in capitals", |b| b.metadata["issuer"] = json!("https://AS.test")),
        ("no S256", |b| b.metadata["code_challenge_methods_supported"] = json!(["plain"])),
        ("no challenge methods", |b| {
            b.metadata.as_object_mut().unwrap().remove("code_challenge_methods_supported");
        }),
        ("tokens without TLS", |b| b.metadata["token_endpoint"] = json!("http://as.test/token")),
        ("consent by script", |b| b.metadata["authorization_endpoint"] = json!("javascript:x")),
        ("metadata that is not there", |b| {
            b.challenge = Some(r#"Bearer resource_metadata="https://up.test/elsewhere""#.into());
        }),
    ];
    let c = Connecting::open().await;
    for (what, bend) in cases {
        bend(&mut c.house.world.bend());
        let trouble = c.begin("bob").await.unwrap_err();
        assert_eq!(trouble.reason, Reason::UpstreamInvalid, "{what}: {trouble}");
        *c.house.world.bend() = super::world::Bent::default();
    }
    for nothing in ["POST https://as.test/token", "POST https://as.test/register"] {
        assert_eq!(c.house.world.times(nothing), 0);
    }
    c.connect("bob").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_go_to_the_address_and_issuer_that_they_are_for_and_nowhere_else() {
    let c = Connecting::open().await;
    c.connect("bob").await.unwrap();
    c.token("bob").await;
    let wiki = |more: &str, url: &str| {
        format!(
            "\n[[servers]]\nslug = \"wiki\"\nurl = \"{url}\"\nauth = {{ mode = \"oauth_user\"{more} }}\n"
        )
    };
    for (what, state) in [
        ("moved", wiki("", "https://moved.test/mcp")),
        ("moved a little", wiki("", "https://up.test/mcp2")),
        ("another issuer", wiki(", issuer = \"https://new.test\"", SERVER)),
        ("another client", wiki(", client_id = \"other\"", SERVER)),
    ] {
        c.apply(&state).await;
        let refused = c.credential("bob").await.unwrap_err();
        assert_eq!(refused.reason, Reason::ConnectionRequired, "{what}");
    }
    // Back again, they are good again.
    c.apply(WIKI).await;
    c.token("bob").await;
    // The server names another issuer: a connection made now goes there, the old token never does.
    c.house.world.bend().issuers = vec!["https://new.test".into()];
    assert!(c.begin("bob").await.is_err(), "the new issuer has no metadata");
    c.house.clock.advance(3700);
    c.token("bob").await;
    let asked = c.house.world.bend().asked.clone();
    let tokens = asked.iter().filter(|(_, form)| form.contains_key("refresh_token"));
    for (place, _) in tokens {
        assert!(place.starts_with("POST https://as.test/token"), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_by_the_next_call_and_not_for_ever() {
    let c = Connecting::open().await;
    c.connect("bob").await.unwrap();
    c.house.clock.advance(100);
    let first = c.token("bob").await;
    let refuse = async |status: StatusCode, challenge: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", challenge.parse().unwrap());
        let caller = c.house.caller("bob");
        c.a().connections().refused(&caller, &c.server(), status, &headers).await
    };
    let invalid = "Bearer error=\"invalid_token\"";
    let Refusing::Again(again) = refuse(StatusCode::UNAUTHORIZED, invalid).await else {
        panic!("there is a refresh token")
    };
    assert_eq!((again.reason, again.link), (Reason::ConnectionStale, None));
    let second = c.token("bob").await;
    assert_ne!(first, second);
    // The new one is refused too: no other will do.
    let Refusing::Person(unconnected) = refuse(StatusCode::UNAUTHORIZED, invalid).await else {
        panic!("it was renewed a moment ago")
    };
    assert_eq!(unconnected.reason, Reason::ConnectionRequired);
    assert!(c.credential("bob").await.is_err());
    // A 403 is about the person, unless it says that the token lacks scope.
    c.connect("bob").await.unwrap();
    assert_eq!(refuse(StatusCode::FORBIDDEN, invalid).await, Refusing::Nothing);
    let lacks = "Bearer error=\"insufficient_scope\", scope=\"write\"";
    assert!(matches!(refuse(StatusCode::FORBIDDEN, lacks).await, Refusing::Person(_)));
    let caller = c.browser("bob", "browser 1");
    let scope = async || {
        let asked = c.a().connections().begin(&caller, &c.server()).await.unwrap();
        asked.url.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned()
    };
    assert_eq!(scope().await, "read write");
    // Until the person has agreed to more, the connection goes on to work for what it is good for, also renewed.
    let row = async || {
        c.a().refresh().await.unwrap();
        let rows = c.house.perform("bob", Face::Rest, "list_connections", json!({})).await;
        rows.unwrap()["data"][0].clone()
    };
    let before = c.token("bob").await;
    c.house.clock.advance(3700);
    assert_ne!(c.token("bob").await, before);
    assert_eq!(
        (&row().await["broken"], &row().await["lacks_scope"]),
        (&json!(null), &json!("write"))
    );
    assert_eq!(scope().await, "read write", "the renewal has not made the wish forgotten");
    c.connect("bob").await.unwrap();
    assert_eq!(row().await["lacks_scope"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_any_metadata_is_its_own_issuer_at_the_places_of_convention() {
    let c = Connecting::open().await;
    let bare = || {
        let mut bent = c.house.world.bend();
        *bent = super::world::Bent::default();
        bent.bare = true;
    };
    bare();
    c.connect("bob").await.unwrap();
    assert!(c.token("bob").await.starts_with(CANARY));
    let asked = c.house.world.bend().asked.clone();
    let (_, form) = asked.iter().find(|(_, form)| form.contains_key("code")).unwrap();
    assert_eq!(form["resource"], SERVER);
    assert!(asked.iter().all(|(place, _)| place.contains("https://up.test/")), "{asked:?}");
    // Renewed there, too.
    c.house.clock.advance(3700);
    c.token("bob").await;
    // Whatever metadata there is, it alone counts; and a server that demands nothing has no such places.
    type Bend = fn(&mut super::world::Bent);
    let cases: [(&str, Bend); 4] = [
        ("metadata of the server, none of its issuer", |b| {
            b.issuers = vec!["https://up.test".into()];
        }),
        ("metadata that is named and not there", |b| {
            b.bare = true;
            b.challenge = Some(r#"Bearer resource_metadata="https://up.test/elsewhere""#.into());
        }),
        ("nothing is demanded", |b| {
            b.bare = true;
            b.open = [("initialize".into(), 200), ("tools/list".into(), 200)].into();
        }),
        ("it answers nobody", |b| {
            b.bare = true;
            b.open = [("initialize".into(), 404), ("tools/list".into(), 404)].into();
        }),
    ];
    for (what, bend) in cases {
        *c.house.world.bend() = super::world::Bent::default();
        bend(&mut c.house.world.bend());
        let trouble = c.begin("dora").await.unwrap_err();
        assert_eq!(trouble.reason, Reason::UpstreamInvalid, "{what}: {trouble}");
        assert_eq!(c.house.world.times("POST https://up.test/register"), 0, "{what}");
    }
    // Another issuer that the operator wants is never looked for there.
    c.apply(&WIKI.replace("oauth_user\"", "oauth_user\", issuer = \"https://as.test\"")).await;
    bare();
    assert!(c.begin("dora").await.is_err());
    assert_eq!(c.house.world.times("POST https://up.test/register"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lets_everybody_begin_is_asked_once_more_what_it_demands() {
    let c = Connecting::open().await;
    c.house.world.bend().open = [("initialize".into(), 200)].into();
    c.house.world.bend().challenge = Some(r#"Bearer scope="basic""#.into());
    let caller = c.browser("bob", "browser 1");
    let asked = c.a().connections().begin(&caller, &c.server()).await.unwrap();
    assert!(asked.url.query_pairs().any(|(name, value)| name == "scope" && value == "basic"));
    assert_eq!(c.house.world.times(&format!("POST {SERVER}")), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_given_back_here_and_at_the_issuer() {
    let c = Connecting::open().await;
    c.connect("bob").await.unwrap();
    let house = &c.house;
    let list = |name: &'static str, arguments| {
        house.perform(name, Face::Rest, "list_connections", arguments)
    };
    let rows = list("bob", json!({})).await.unwrap();
    assert_eq!(rows["data"][0]["server"], "wiki");
    assert_eq!(rows["data"][0]["issuer"], ISSUER);
    assert!(!rows.to_string().contains(CANARY));
    assert_eq!(list("carol", json!({})).await.unwrap()["data"], json!([]));
    let theirs = json!({"user": "bob@example.com"});
    assert_eq!(list("carol", theirs.clone()).await.unwrap_err().reason, Reason::RoleMissing);
    assert_eq!(list("desk", theirs).await.unwrap()["data"][0]["user"], "bob@example.com");
    let give_back = |name: &'static str, face, arguments| {
        house.perform(name, face, "disconnect_server", arguments)
    };
    let wiki = || json!({"server_id": "wiki"});
    for (name, face, arguments, reason) in [
        ("carol", Face::Rest, wiki(), Reason::EntityNotFound),
        (
            "carol",
            Face::Rest,
            json!({"server_id": "wiki", "user": "bob@example.com"}),
            Reason::RoleMissing,
        ),
        (
            "desk",
            Face::Rest,
            json!({"server_id": "wiki", "user": "bob@example.com"}),
            Reason::RoleMissing,
        ),
        ("bob", Face::Rest, json!({"server_id": "nowhere"}), Reason::EntityNotFound),
        ("bob", Face::Tools, wiki(), Reason::ConfirmMissing),
    ] {
        assert_eq!(give_back(name, face, arguments).await.unwrap_err().reason, reason, "{name}");
    }
    c.token("bob").await;
    give_back("bob", Face::Rest, wiki()).await.unwrap();
    assert_eq!(c.house.world.times("POST https://as.test/revoke"), 1);
    assert_eq!(c.credential("bob").await.unwrap_err().reason, Reason::ConnectionRequired);
    assert_eq!(c.rows("oauth_revoked").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_issuer_gave_is_to_be_read_anywhere() {
    let c = Connecting::open().await;
    c.connect("bob").await.unwrap();
    c.house.clock.advance(3700);
    c.token("bob").await;
    let back = c.begin("bob").await.unwrap();
    let error = (400, json!({"error": format!("{CANARY}\n"), "error_description": CANARY}));
    c.house.world.bend().token_error = Some(error);
    let trouble = c.finish("bob", "browser 1", back).await.unwrap_err();
    assert!(!trouble.to_string().contains(&format!("{CANARY}-")), "{trouble}");
    let garbled = (200, json!({"access_token": format!("{CANARY}-access"), "token_type": 1}));
    c.house.world.bend().token_error = Some(garbled);
    c.house.clock.advance(3700);
    let trouble = c.credential("bob").await.unwrap_err();
    assert!(!format!("{trouble:?}").contains(CANARY), "{trouble:?}");
    let rows = c.house.all_rows(&EventFilter::default()).await;
    let stored = c.house.a.store.connections(None, None, 10).await.unwrap();
    let seen = format!("{rows:?} {stored:?}");
    assert!(seen.contains("oauth_connected") && seen.contains(ISSUER));
    assert!(!seen.contains(&format!("{CANARY}-")), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_anothers_place_do_not_open_and_new_keys_change_nothing() {
    let c = Connecting::open().await;
    c.connect("bob").await.unwrap();
    c.connect("dora").await.unwrap();
    let (bob, dora) = (c.token("bob").await, c.token("dora").await);
    // Both connections and the registration.
    assert_eq!(c.a().rotate_vault().await.unwrap(), 3);
    assert_eq!((c.token("bob").await, c.token("dora").await), (bob.clone(), dora));
    let server = c.server().id;
    let store = &c.house.b.store;
    let of = async |name: &str| {
        store.connection(server, c.house.caller(name).user.id).await.unwrap().unwrap()
    };
    let (mine, theirs) = (of("bob").await, of("dora").await);
    for swapped in [
        gateway_store::connection::StoredConnection {
            sealed: theirs.sealed.clone(),
            ..mine.clone()
        },
        gateway_store::connection::StoredConnection {
            issuer: "https://evil.test".into(),
            ..mine.clone()
        },
    ] {
        store.connect(&swapped).await.unwrap();
        let refused = c.credential("bob").await.unwrap_err();
        assert_eq!((refused.reason, refused.link), (Reason::UpstreamCredentialMissing, None));
    }
    store.connect(&mine).await.unwrap();
    assert_eq!(c.token("bob").await, bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_tokens_and_exchanged_ones_are_fetched_once_for_all_who_ask() {
    let own = |mode: &str, more: &str| {
        format!(
            "\n[[servers]]\nslug = \"wiki\"\nurl = \"{SERVER}\"\nauth = {{ mode = \"{mode}\", \
             client_id = \"gw\", client_secret_file = \"{SECRET_FILE}\"{more} }}\n"
        )
    };
    let c = Connecting::with(&own("oauth_shared", "")).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (governance, server) = (c.house.a.governance.clone(), c.server());
        let caller = c.house.caller(if n % 2 == 0 { "bob" } else { "dora" });
        asking.spawn(async move {
            token(&governance.connections().credential(Some(&caller), &server).await.unwrap())
        });
    }
    let tokens: std::collections::HashSet<String> = asking.join_all().await.into_iter().collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(c.house.world.times("POST https://as.test/token"), 1);
    assert!(c.a().connections().credential(None, &c.server()).await.is_ok(), "nobody need call");
    // Exchanged: one for each caller, and the subject token is for the issuer and says who calls.
    c.apply(&own("token_exchange", ", issuer = \"https://as.test\", audience = \"reports\"")).await;
    let (bob, dora) = (c.token("bob").await, c.token("dora").await);
    assert_ne!(bob, dora);
    assert_eq!(c.token("bob").await, bob);
    assert!(c.a().connections().credential(None, &c.server()).await.is_err());
    let asked = c.house.world.bend().asked.clone();
    let form = &asked.iter().rev().find(|(_, form)| form.contains_key("subject_token")).unwrap().1;
    assert_eq!((form["audience"].as_str(), form["resource"].as_str()), ("reports", SERVER));
    let claims = claims(&form["subject_token"]);
    assert_eq!(claims["aud"], ISSUER);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
}

/// Any file that is there and not secret will do.
const SECRET_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

fn claims(token: &str) -> serde_json::Value {
    use base64::Engine;
    let part = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_headers_say_who_calls_and_are_no_way_in() {
    let state = "\n[[servers]]\nslug = \"wiki\"\nurl = \"https://up.test/mcp\"\nauth = { mode = \"identity_forward\" }\n";
    let c = Connecting::with(state).await;
    let headers = |credential: &Credential| -> std::collections::HashMap<String, String> {
        let pair = |(name, value): &(http::HeaderName, secrecy::SecretString)| {
            (name.to_string(), value.expose_secret().to_owned())
        };
        credential.headers().iter().map(pair).collect()
    };
    let bob = c.credential("bob").await.unwrap();
    let sent = headers(&bob);
    assert_eq!(sent["x-runlayer-subject-type"], "user");
    assert_eq!(sent["x-runlayer-user-email"], "bob@example.com");
    assert_eq!(sent["x-runlayer-user-id"], c.house.caller("bob").user.id.to_string());
    assert!(!sent.contains_key("x-runlayer-agent-id"));
    let token = &sent["x-runlayer-identity-token"];
    let claims = claims(token);
    assert_eq!(claims["aud"], SERVER);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    // The same for a while, so that connections are shared; another for another person.
    assert_eq!(headers(&c.credential("bob").await.unwrap()), sent);
    let dora = c.credential("dora").await.unwrap();
    assert_ne!(dora.owner(), bob.owner());
    c.house.clock.advance(250);
    let later = c.credential("bob").await.unwrap();
    assert_ne!(headers(&later)["x-runlayer-identity-token"], *token);
    assert_eq!(later.owner(), bob.owner());
    // It is signed by the gateway and still no credential for the gateway.
    let authorization = format!("Bearer {token}");
    for resource in [SERVER, "https://gw.example.com", "https://gw.example.com/api/v1"] {
        let presented = crate::Presented {
            api_key_header: None,
            authorization: Some(&authorization),
            resource,
        };
        assert!(c.a().identify(presented).await.is_err(), "{resource}");
    }
}
