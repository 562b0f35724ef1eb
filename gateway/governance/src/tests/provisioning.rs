//! Provisioning with two replicas: whoever is deactivated is out everywhere, with everything, and coming back
//! revives nothing.

use std::sync::Arc;

use gateway_store::audit::EventFilter;
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{House, eventually};
use super::oauth::{Flow, register, text};
use crate::scim::{Ask, Kind, Query, ScimError};
use crate::testing::settings;
use crate::{Face, Offline, Presented};

const GATEWAY: &str = "https://gw.example.com";
const TOKEN: &str = "scim-Zk3v0Qw8Jr5tYx2Lb7Nc1Md4Hf6Gs9Pa";

async fn open() -> Flow {
    let mut settings = settings();
    settings.scim_token = Some(TOKEN.into());
    let house = House::open_with(&settings, Arc::new(Offline)).await;
    let metadata = json!({"redirect_uris": [super::oauth::REDIRECT], "client_name": "Test client",
        "token_endpoint_auth_method": "none"});
    let client = register(&house.a, &house, &metadata).await.unwrap();
    Flow { client: text(&client, "client_id").to_owned(), house }
}

/// On replica a.
async fn scim(
    house: &House,
    kind: Kind,
    ask: Ask,
    body: Value,
) -> Result<Option<Value>, ScimError> {
    let origin = house.origin(Face::Rest);
    let provisioning = house.a.governance.scim().unwrap();
    provisioning.perform(&origin, kind, ask, &Query::default(), Some(&body)).await
}

fn active(active: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "Replace", "path": "active", "value": active}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_person_is_out_everywhere_with_everything() {
    let flow = open().await;
    let house = &flow.house;
    let bob = house.caller("bob").user.id.0;
    let (key, _) = house.key("bob").await;
    let tokens = flow.tokens(&[]).await;
    let token = text(&tokens, "access_token").to_owned();
    let indexer = house.agent("indexer", "root").await;
    house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let for_bob = house.for_person(&indexer, "bob");
    let with_key = async |replica: &super::house::Replica| {
        let presented = Presented { api_key_header: Some(&key), ..Presented::default() };
        replica.governance.identify(presented).await.map_err(|error| error.reason)
    };
    let with_token = async |replica: &super::house::Replica| {
        flow.at(replica, &token, GATEWAY).await.map_err(|error| error.reason)
    };
    eventually("b knows all of it", async || {
        let good =
            house.b.governance.snapshot().still_good(&for_bob, house.b.governance.clock().now());
        good && with_key(&house.b).await.is_ok() && with_token(&house.b).await.is_ok()
    })
    .await;
    let (by_key, by_token) =
        (with_key(&house.b).await.unwrap(), with_token(&house.b).await.unwrap());

    scim(house, Kind::Users, Ask::Patch(bob), active(json!("False"))).await.unwrap();
    for replica in [&house.a, &house.b] {
        let (snapshot, now) = (|| replica.governance.snapshot(), replica.governance.clock().now());
        eventually("it is out", async || {
            with_key(replica).await.is_err()
                && with_token(replica).await.is_err()
                && [&by_key, &by_token, &for_bob].iter().all(|c| !snapshot().still_good(c, now))
        })
        .await;
    }
    for replica in [&house.a, &house.b] {
        let refused = flow.refresh(replica, text(&tokens, "refresh_token"), &[]).await;
        assert!(refused.is_err(), "nothing is refreshed");
    }

    // Back again: the key is Bob's as before; what he was signed in with is not.
    scim(house, Kind::Users, Ask::Patch(bob), active(json!(true))).await.unwrap();
    assert!(with_key(&house.a).await.is_ok());
    assert!(with_token(&house.a).await.is_err(), "an ended session stays ended");
    let now = house.a.governance.clock().now();
    assert!(!house.a.governance.snapshot().still_good(&for_bob, now), "so does a delegation");
    assert!(flow.refresh(&house.a, text(&tokens, "refresh_token"), &[]).await.is_err());

    // Removed: the key is gone, too, and the person no more there for provisioning until made anew.
    scim(house, Kind::Users, Ask::Delete(bob), Value::Null).await.unwrap();
    assert!(with_key(&house.a).await.is_err());
    let gone = scim(house, Kind::Users, Ask::Get(bob), Value::Null).await.unwrap_err();
    assert_eq!(gone.status, 404);
    let gone = scim(house, Kind::Users, Ask::Patch(bob), active(json!(true))).await.unwrap_err();
    assert_eq!(gone.status, 404);
    let again = json!({"userName": "bob@example.com", "displayName": "Bob", "externalId": "b-2"});
    let made = scim(house, Kind::Users, Ask::Create, again).await.unwrap().unwrap();
    assert_eq!((&made["id"], &made["active"]), (&json!(bob.to_string()), &json!(true)));
    assert!(with_key(&house.a).await.is_err(), "a revoked key stays revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_count_at_once_and_everything_is_recorded() {
    let flow = open().await;
    let house = &flow.house;
    let carol = house.caller("carol").user.id.0;
    let groups = || house.caller("carol").user.groups.clone();
    let member = json!([{"value": carol.to_string()}]);
    let make = json!({"displayName": "auditors", "externalId": "g-1", "members": member});
    let made = scim(house, Kind::Groups, Ask::Create, make.clone()).await.unwrap().unwrap();
    let id: Uuid = text(&made, "id").parse().unwrap();
    assert_eq!(groups(), ["auditors"]);
    let patch = |operations: Value| json!({"Operations": operations});
    let steps: [(Value, &[&str]); 6] = [
        (json!([{"op": "Remove", "path": "members", "value": member}]), &[]),
        (json!([{"op": "Add", "path": "members", "value": member}]), &["auditors"]),
        (json!([{"op": "remove", "path": format!("members[value eq \"{carol}\"]")}]), &[]),
        (
            json!([{"op": "replace", "value": {"displayName": "inspectors", "members": member}}]),
            &["inspectors"],
        ),
        (
            json!([{"op": "add", "path": "members", "value": member}, {"op": "remove", "path": "members"}]),
            &[],
        ),
        (
            json!([{"op": "remove", "path": "members"}, {"op": "add", "path": "members", "value": member}]),
            &["inspectors"],
        ),
    ];
    for (operations, expected) in steps {
        scim(house, Kind::Groups, Ask::Patch(id), patch(operations.clone())).await.unwrap();
        assert_eq!(groups(), expected, "{operations}");
    }
    let b = &house.b.governance;
    eventually("b knows", async || {
        b.snapshot().user_by_email("carol@example.com").is_some_and(|u| u.groups == ["inspectors"])
    })
    .await;

    let engineering = scim(house, Kind::Groups, Ask::List, Value::Null).await.unwrap().unwrap();
    let rows = engineering["Resources"].as_array().unwrap().clone();
    let engineering = rows.iter().find(|row| row["displayName"] == "engineering").unwrap();
    let engineering: Uuid = text(engineering, "id").parse().unwrap();
    let nobody = Uuid::from_u128(7);
    let stranger =
        json!([{"op": "add", "path": "members", "value": [{"value": nobody.to_string()}]}]);
    let nonsense = json!([{"op": "add", "path": "members", "value": [{"value": "carol"}]}]);
    let refused = [
        (Ask::Create, make, 409),
        (Ask::Create, json!({"displayName": "engineering"}), 409),
        (Ask::Create, json!({"displayName": "other", "externalId": "g-1"}), 409),
        (Ask::Create, json!({"displayName": "x", "members": [{"value": nobody.to_string()}]}), 400),
        (Ask::Create, json!({"displayName": "x", "members": "carol"}), 400),
        (Ask::Create, json!({"displayName": ""}), 400),
        (Ask::Create, json!({"displayName": "a\u{202e}b"}), 400),
        (Ask::Create, json!({}), 400),
        (Ask::Create, json!([]), 400),
        (Ask::Patch(id), patch(stranger), 400),
        (Ask::Patch(id), patch(nonsense), 400),
        (Ask::Patch(id), patch(json!([{"op": "remove", "path": "displayName"}])), 400),
        (Ask::Patch(id), patch(json!([{"op": "add", "path": "members"}])), 400),
        (Ask::Patch(nobody), patch(json!([{"op": "remove", "path": "members"}])), 404),
        (Ask::Get(nobody), Value::Null, 404),
        (Ask::Delete(nobody), Value::Null, 404),
        (Ask::Delete(engineering), Value::Null, 403),
    ];
    for (ask, body, status) in refused {
        let error = scim(house, Kind::Groups, ask, body.clone()).await.unwrap_err();
        assert_eq!(error.status, status, "{ask:?} {body}");
        assert_eq!(groups(), ["inspectors"], "{ask:?} {body}");
    }
    scim(house, Kind::Groups, Ask::Delete(id), Value::Null).await.unwrap();
    assert_eq!(groups(), [""; 0]);

    let rows = house.all_rows(&EventFilter::default()).await;
    let scim_rows: Vec<_> =
        rows.iter().filter(|row| row.auth_method.as_deref() == Some("scim")).collect();
    for (action, outcome) in [
        ("group_created", "ok"),
        ("group_updated", "ok"),
        ("group_deleted", "ok"),
        ("group_deleted", "error"),
    ] {
        let found = scim_rows.iter().any(|row| row.action_type == action && row.outcome == outcome);
        assert!(found, "{action} {outcome}");
    }
    assert!(scim_rows.iter().all(|row| row.actor_id.is_none()), "it is nobody of the catalogue");
    for row in &rows {
        let detail = house.a.store.get_event(row.id, Default::default()).await.unwrap();
        assert!(!format!("{detail:?}").contains(TOKEN), "the token is in the trail");
    }
}

#[tokio::test]
async fn only_the_whole_token_opens() {
    let flow = open().await;
    let provisioning = flow.house.a.governance.scim().unwrap();
    assert!(provisioning.admits(TOKEN));
    let doubled = format!("{TOKEN}{TOKEN}");
    for wrong in
        ["", " ", "scim", &TOKEN[1..], &TOKEN[..TOKEN.len() - 1], &TOKEN.to_lowercase(), &doubled]
    {
        assert!(!provisioning.admits(wrong), "{wrong}");
    }
    let house = House::open().await;
    assert!(house.a.governance.scim().is_none(), "without a token there is no provisioning");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_and_end_their_own_sessions_and_administrators_all() {
    let flow = open().await;
    let house = &flow.house;
    let tokens = flow.tokens(&[]).await;
    let token = text(&tokens, "access_token").to_owned();
    let list = async |person: &str, arguments: Value| {
        let listed = house.perform(person, Face::Tools, "list_oauth_sessions", arguments).await;
        listed.map(|listed| listed["data"].as_array().unwrap().clone())
    };
    let bobs = list("bob", json!({})).await.unwrap();
    assert_eq!((bobs.len(), &bobs[0]["client_name"]), (1, &json!("Test client")));
    assert_eq!(list("carol", json!({})).await.unwrap().len(), 0);
    assert_eq!(list("sec", json!({})).await.unwrap().len(), 1);
    assert_eq!(list("sec", json!({"user": "carol@example.com"})).await.unwrap().len(), 0);
    let foreign = list("carol", json!({"user": "bob@example.com"})).await.unwrap_err();
    assert_eq!(foreign.reason.as_str(), "role_missing");
    let revoke = json!({"id": bobs[0]["id"], "confirm": true});
    for stranger in ["carol", "dora", "desk"] {
        let refused = house.perform(stranger, Face::Rest, "revoke_oauth_session", revoke.clone());
        assert_eq!(refused.await.unwrap_err().reason.as_str(), "entity_not_found", "{stranger}");
    }
    let unsure = json!({"id": bobs[0]["id"], "confirm": false});
    let refused = house.perform("bob", Face::Tools, "revoke_oauth_session", unsure).await;
    assert_eq!(refused.unwrap_err().reason.as_str(), "confirm_missing");
    let b = &house.b;
    eventually("b knows the key", async || flow.at(b, &token, GATEWAY).await.is_ok()).await;
    house.perform("bob", Face::Tools, "revoke_oauth_session", revoke.clone()).await.unwrap();
    assert!(flow.at(&house.a, &token, GATEWAY).await.is_err());
    eventually("b knows", async || flow.at(b, &token, GATEWAY).await.is_err()).await;
    assert!(flow.refresh(b, text(&tokens, "refresh_token"), &[]).await.is_err());
    assert_eq!(list("bob", json!({})).await.unwrap().len(), 0);
    let again = house.perform("bob", Face::Rest, "revoke_oauth_session", revoke).await;
    assert_eq!(again.unwrap_err().reason.as_str(), "entity_not_found");
}
