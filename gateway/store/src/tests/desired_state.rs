//! Desired state: idempotent, all or nothing, and a plan that is what apply then does.

use gateway_core::caller::{Attributes, Role};
use gateway_core::label::Label;
use gateway_core::server::{Endpoint, Eras, SecretSource, ServerStatus, UpstreamAuth};
use time::macros::datetime;

use crate::definition::Newcomers;
use crate::desired_state::{
    Change, ChangeKind, DesiredGroup, DesiredPolicy, DesiredServer, DesiredState, DesiredUser,
};
use crate::testing::store;
use crate::{Store, StoreError};

fn server(slug: &str, url: Option<&str>) -> DesiredServer {
    DesiredServer {
        slug: slug.parse().unwrap(),
        title: None,
        description: None,
        url: url.map(str::to_owned),
        auth: UpstreamAuth::None,
        status: None,
        icon: None,
        sensitive: None,
        labels: None,
        admins: None,
    }
}

const ICON: &str = "data:image/png;base64,iVBORw0KGgo=";

fn policy(name: &str, spec: &str) -> DesiredPolicy {
    DesiredPolicy { name: name.into(), spec_json: spec.into() }
}

fn user(email: &str, roles: &[Role], groups: &[&str]) -> DesiredUser {
    DesiredUser {
        email: email.into(),
        name: "Somebody".into(),
        roles: roles.to_vec(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        active: true,
        attributes: None,
    }
}

fn organisation() -> DesiredState {
    DesiredState {
        groups: vec![
            DesiredGroup { name: "engineering".into() },
            DesiredGroup { name: "Finance".into() },
        ],
        users: vec![
            user("Alice@x.test", &[Role::User, Role::SuperAdmin], &[]),
            user("bob@x.test", &[Role::Developer], &["engineering", "Finance"]),
        ],
        servers: vec![DesiredServer {
            auth: UpstreamAuth::Header {
                name: "authorization".into(),
                from: SecretSource::Env("TOKEN".into()),
                value: Some("never stored".into()),
            },
            ..server("tickets", Some("http://127.0.0.1:7001/mcp"))
        }],
        limits: vec![],
        scanners: vec![],
        policies: vec![policy("second", "{\"a\":1}"), policy("first", "{}")],
    }
}

/// `+ user bob@x.test`, `~ server tickets: url, status`
fn lines(changes: &[Change]) -> Vec<String> {
    let changed = changes.iter().filter(|change| change.kind != ChangeKind::Unchanged);
    changed
        .map(|change| {
            let head = change.to_string().lines().next().unwrap().to_owned();
            let fields: Vec<_> = change.fields.iter().map(|field| field.field).collect();
            if fields.is_empty() { head } else { format!("{head}: {}", fields.join(", ")) }
        })
        .collect()
}

async fn apply(store: &Store, state: &DesiredState, prune: bool) -> Vec<String> {
    let version = store.catalogue_version().await.unwrap();
    let planned = lines(&store.plan(state, prune).await.unwrap());
    assert_eq!(store.catalogue_version().await.unwrap(), version, "a plan wrote");
    let done = lines(&store.apply(state, prune).await.unwrap());
    assert_eq!(planned, done, "the plan was another");
    assert_eq!(lines(&store.apply(state, prune).await.unwrap()), [""; 0], "not idempotent");
    let moved = store.catalogue_version().await.unwrap() - version;
    assert_eq!(moved, i64::from(!done.is_empty()));
    done
}

#[tokio::test]
async fn from_nothing() {
    let store = store().await;
    assert_eq!(
        apply(&store, &organisation(), true).await,
        [
            "+ group engineering",
            "+ group Finance",
            "+ user alice@x.test",
            "+ user bob@x.test",
            "+ server tickets",
            "+ policy second",
            "+ policy first",
        ]
    );
    let catalogue = store.load_catalogue().await.unwrap();
    let people: Vec<_> =
        catalogue.users.iter().map(|u| (u.email.as_str(), &u.roles, &u.groups)).collect();
    let (admin, developer) = (vec![Role::SuperAdmin, Role::User], vec![Role::Developer]);
    let both = vec!["Finance".to_owned(), "engineering".to_owned()];
    assert_eq!(people, [("alice@x.test", &admin, &vec![]), ("bob@x.test", &developer, &both)]);
    let policies: Vec<_> = catalogue.policies.iter().map(|p| (&*p.name, &*p.spec_json)).collect();
    assert_eq!(policies, [("second", "{\"a\":1}"), ("first", "{}")]);
    let tickets = catalogue.servers.iter().find(|s| s.slug.as_str() == "tickets").unwrap();
    assert_eq!(tickets.endpoint, Endpoint::Http("http://127.0.0.1:7001/mcp".into()));
    assert_eq!((tickets.title.as_str(), tickets.status), ("tickets", ServerStatus::Active));
    let UpstreamAuth::Header { name, from, value: None } = &tickets.auth else {
        panic!("{:?}", tickets.auth)
    };
    assert_eq!((name.as_str(), from), ("authorization", &SecretSource::Env("TOKEN".into())));
}

#[tokio::test]
async fn secrets_are_nowhere_in_the_database() {
    let store = store().await;
    store.apply(&organisation(), false).await.unwrap();
    let rows: String = sqlx::query_scalar("select string_agg(s::text, ' ') from server s")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert!(rows.contains("TOKEN") && !rows.contains("never stored"), "{rows}");
}

#[tokio::test]
async fn every_field_is_followed() {
    let store = store().await;
    store.apply(&organisation(), false).await.unwrap();
    let ids = |changes: Vec<Change>| changes.into_iter().map(|c| c.id).collect::<Vec<_>>();
    let before = ids(store.plan(&organisation(), false).await.unwrap());
    type Edit = fn(&mut DesiredState);
    let edits: [(Edit, &str); 19] = [
        (|s| s.users[1].name = "Bob".into(), "~ user bob@x.test: name"),
        (|s| s.users[1].roles.push(Role::Helpdesk), "~ user bob@x.test: roles"),
        (|s| s.users[1].groups.truncate(1), "~ user bob@x.test: groups"),
        (|s| s.users[1].active = false, "~ user bob@x.test: active"),
        (|s| s.servers[0].title = Some("Tickets".into()), "~ server tickets: title"),
        (|s| s.servers[0].description = Some("x".into()), "~ server tickets: description"),
        (|s| s.servers[0].url = Some("http://127.0.0.1:2/mcp".into()), "~ server tickets: url"),
        (|s| s.servers[0].auth = UpstreamAuth::None, "~ server tickets: auth"),
        (|s| s.servers[0].status = Some(ServerStatus::Draft), "~ server tickets: status"),
        (|s| s.servers[0].icon = Some(ICON.into()), "~ server tickets: icon"),
        (
            |s| s.servers[0].icon = Some(format!("{}B=", &ICON[..ICON.len() - 2])),
            "~ server tickets: icon",
        ),
        (|s| s.servers[0].icon = Some(String::new()), "~ server tickets: icon"),
        (|s| s.servers[0].sensitive = Some(true), "~ server tickets: sensitive"),
        (|s| s.servers[0].labels = Some(vec![Label::Private]), "~ server tickets: labels"),
        (|s| s.servers[0].labels = Some(vec![]), "~ server tickets: labels"),
        (|s| s.servers[0].admins = Some(vec!["BOB@x.test".into()]), "~ server tickets: admins"),
        (|s| s.servers[0].admins = Some(vec!["alice@x.test".into()]), "~ server tickets: admins"),
        (|s| s.servers[0].admins = Some(vec![]), "~ server tickets: admins"),
        (|s| s.policies[0].spec_json = "{}".into(), "~ policy second: spec"),
    ];
    let mut state = organisation();
    for (edit, expected) in edits {
        edit(&mut state);
        assert_eq!(apply(&store, &state, false).await, [expected]);
    }
    state.policies.reverse();
    let moved = ["~ policy first: position", "~ policy second: position"];
    assert_eq!(apply(&store, &state, false).await, moved);
    state.policies.reverse();
    assert_eq!(ids(store.apply(&state, false).await.unwrap()), before, "ids changed");
}

#[tokio::test]
async fn what_a_file_does_not_name_stays() {
    let store = store().await;
    let mut state = organisation();
    state.servers[0].icon = Some(ICON.into());
    state.servers[0].sensitive = Some(true);
    state.servers[0].labels = Some(vec![Label::Untrusted, Label::Outward]);
    state.servers[0].admins = Some(vec!["bob@x.test".into()]);
    apply(&store, &state, false).await;
    assert_eq!(apply(&store, &organisation(), true).await, [""; 0], "absent leaves it as it is");
    let catalogue = store.load_catalogue().await.unwrap();
    let tickets = catalogue.servers.iter().find(|s| s.slug.as_str() == "tickets").unwrap();
    let bob = catalogue.users.iter().find(|user| user.email == "bob@x.test").unwrap();
    assert_eq!((tickets.icon.as_deref(), tickets.sensitive), (Some(ICON), true));
    assert_eq!(tickets.labels, [Label::Untrusted, Label::Outward]);
    assert_eq!(tickets.admins, [bob.id]);
    let other = organisation().servers.remove(0);
    let bare = DesiredState {
        servers: vec![DesiredServer { icon: Some(String::new()), ..other }],
        ..DesiredState::default()
    };
    let shown = store.plan(&bare, false).await.unwrap()[0].to_string();
    assert!(shown.contains("icon: data:image/png;base64,... (12 characters) -> "), "{shown}");
}

#[tokio::test]
async fn pruning_takes_what_apply_made_and_nothing_else() {
    let store = store().await;
    store.apply(&organisation(), false).await.unwrap();
    let mut transaction = store.change().await.unwrap();
    for made_elsewhere in [
        "insert into gateway_user (email, source) values ('api@x.test', 'api')",
        "insert into gateway_group (name, source) values ('api', 'api')",
        "insert into server (slug, url, source) values ('api', 'http://127.0.0.1:1/', 'api')",
        "insert into policy (name, position, spec, source) values ('api', 0, '{}', 'api')",
    ] {
        sqlx::query(made_elsewhere).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let nothing = DesiredState::default();
    assert_eq!(apply(&store, &nothing, false).await, [""; 0]);
    let mut gone = apply(&store, &nothing, true).await;
    gone.sort();
    assert_eq!(
        gone,
        [
            "- group Finance",
            "- group engineering",
            "- policy first",
            "- policy second",
            "- server tickets",
            "- user alice@x.test",
            "- user bob@x.test",
        ]
    );
    let left = store.load_catalogue().await.unwrap();
    let slugs: Vec<_> = left.servers.iter().map(|server| server.slug.as_str()).collect();
    assert_eq!(slugs, ["api", "runlayer"]);
    assert_eq!((left.users.len(), left.policies.len()), (1, 1));
}

#[tokio::test]
async fn the_runlayer_server_can_be_disabled_but_not_moved_or_removed() {
    let store = store().await;
    let off = DesiredServer { status: Some(ServerStatus::Disabled), ..server("runlayer", None) };
    let state = DesiredState { servers: vec![off], ..DesiredState::default() };
    assert_eq!(apply(&store, &state, true).await, ["~ server runlayer: status"]);
    assert_eq!(apply(&store, &DesiredState::default(), true).await, [""; 0]);
    let servers = store.load_catalogue().await.unwrap().servers;
    assert_eq!((servers.len(), servers[0].status), (1, ServerStatus::Disabled));
    assert_eq!(servers[0].endpoint, Endpoint::InProcess);
}

#[tokio::test]
async fn a_server_that_moves_must_be_asked_anew() {
    let store = store().await;
    let mut state = organisation();
    store.apply(&state, false).await.unwrap();
    let tickets = |servers: Vec<gateway_core::server::Server>| {
        servers.into_iter().find(|server| server.slug.as_str() == "tickets").unwrap()
    };
    let id = tickets(store.servers().await.unwrap()).id;
    let eras = Eras { legacy: true, modern: false };
    let tool = gateway_core::server::Tool {
        name: "list".into(),
        definition: "{}".into(),
        hash: [1; 32],
        pin: [2; 32],
        annotations: vec![],
    };
    store
        .learn(id, eras, &[tool], (datetime!(2026-08-01 0:00 UTC), Newcomers::Pass))
        .await
        .unwrap();
    state.servers[0].title = Some("Same place".into());
    store.apply(&state, false).await.unwrap();
    assert_eq!(tickets(store.servers().await.unwrap()).tools.len(), 1);
    state.servers[0].url = Some("http://127.0.0.1:7002/mcp".into());
    store.apply(&state, false).await.unwrap();
    let moved = tickets(store.servers().await.unwrap());
    assert_eq!((moved.id, moved.eras, moved.tools.len()), (id, None, 0));
}

#[tokio::test]
async fn one_mistake_and_nothing_is_done() {
    let store = store().await;
    let version = store.catalogue_version().await.unwrap();
    type Mistake = fn(&mut DesiredState);
    let mistakes: [(Mistake, &str); 10] = [
        (
            |s| s.users[1].groups.push("ghosts".into()),
            "user \"bob@x.test\": groups: there is no group \"ghosts\"",
        ),
        (|s| s.users.push(user("BOB@x.test", &[], &[])), "user \"bob@x.test\" is named twice"),
        (
            |s| s.groups.push(DesiredGroup { name: "Finance".into() }),
            "group \"Finance\" is named twice",
        ),
        (|s| s.policies.push(policy("first", "{}")), "policy \"first\" is named twice"),
        (|s| s.servers.push(server("tickets", None)), "server \"tickets\" is named twice"),
        (|s| s.servers.push(server("nowhere", None)), "server \"nowhere\" needs a url"),
        (|s| s.servers.push(server("runlayer", Some("http://x/"))), "has no url"),
        (
            |s| s.servers[0].admins = Some(vec!["ghost@x.test".into()]),
            "server \"tickets\": admins: there is no user \"ghost@x.test\"",
        ),
        (|s| s.policies.push(policy("nul\0", "{}")), "NUL in its name"),
        (|s| s.users[0].name = "nul\0".into(), "the database refused"),
    ];
    for (mistake, expected) in mistakes {
        let mut state = organisation();
        mistake(&mut state);
        let refused = store.apply(&state, false).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(matches!(refused, StoreError::Invalid(_) | StoreError::Refused(_)));
        let left = store.load_catalogue().await.unwrap();
        assert_eq!((left.users.len(), left.servers.len(), left.version), (0, 1, version));
    }
}

#[tokio::test]
async fn applies_at_the_same_time_come_one_after_the_other() {
    let store = store().await;
    let mut appliers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        appliers.spawn(async move { store.apply(&organisation(), true).await.unwrap() });
    }
    let created = appliers.join_all().await.into_iter().flatten();
    let created = created.filter(|change| change.kind == ChangeKind::Created).count();
    assert_eq!(created, 7);
}

#[tokio::test]
async fn attributes_are_what_the_file_says_and_stay_where_it_is_silent() {
    let store = store().await;
    let attributes = |pairs: &[(&str, &str)]| -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()])).collect()
    };
    let apply = async |given: Option<Attributes>| {
        let user = DesiredUser { attributes: given, ..user("a@x.test", &[Role::User], &[]) };
        let state = DesiredState { users: vec![user], ..DesiredState::default() };
        let planned = store.plan(&state, false).await.unwrap();
        let applied = store.apply(&state, false).await.unwrap();
        assert_eq!(planned[0].fields, applied[0].fields);
        let now = store.user_by_email("a@x.test").await.unwrap().unwrap().attributes;
        (applied.into_iter().next().unwrap(), now)
    };
    let finance = attributes(&[("department", "finance")]);
    let (made, now) = apply(Some(finance.clone())).await;
    assert_eq!((made.kind, now), (ChangeKind::Created, finance.clone()));
    for given in [Some(finance.clone()), None] {
        let (same, now) = apply(given).await;
        assert_eq!((same.kind, now), (ChangeKind::Unchanged, finance.clone()));
    }
    let sales = attributes(&[("department", "sales"), ("site", "A")]);
    let (changed, now) = apply(Some(sales.clone())).await;
    assert_eq!((changed.kind, now), (ChangeKind::Updated, sales));
    assert_eq!(changed.fields[0].field, "attributes");
    assert_eq!(changed.fields[0].before, r#"{"department":["finance"]}"#);
    let (_, now) = apply(Some(Attributes::new())).await;
    assert_eq!(now, Attributes::new());
}
