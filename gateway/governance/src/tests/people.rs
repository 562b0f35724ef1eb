//! People, groups and roles by tools and REST: who changes what in whom, what a preview says, what a change ends.

use std::sync::Arc;

use gateway_core::reason::Reason;
use gateway_store::audit::EventFilter;
use serde_json::{Value, json};

use super::house::{House, STATE, eventually};
use crate::scim::{Ask, Kind, Query};
use crate::testing::settings;
use crate::{Face, OPERATIONS, Offline, Presented, Refused};

async fn tool(
    house: &House,
    who: &str,
    operation: &str,
    arguments: Value,
) -> Result<Value, Refused> {
    house.perform(who, Face::Tools, operation, arguments).await
}

fn confirmed(mut arguments: Value) -> Value {
    arguments["confirm"] = json!(true);
    arguments
}

async fn preview(house: &House, who: &str, operation: &str, arguments: Value) -> Value {
    let refused = tool(house, who, operation, arguments).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ConfirmMissing, "{operation}: {}", refused.detail);
    refused.preview.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_listed_made_and_changed() {
    let house = House::open().await;
    let all = tool(&house, "desk", "list_users", json!({"limit": 4})).await.unwrap();
    assert_eq!(all["data"].as_array().unwrap().len(), 4);
    let next = json!({"limit": 4, "cursor": all["next_cursor"]});
    let rest = tool(&house, "desk", "list_users", next.clone()).await.unwrap();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next_cursor"]), (3, &Value::Null));
    let foreign = tool(&house, "it", "list_users", next).await.unwrap_err();
    assert_eq!(foreign.reason, Reason::InvalidParams, "a cursor is for one person");
    let few = json!({"role": "it_admin", "active": true});
    let few = tool(&house, "desk", "list_users", few).await.unwrap();
    assert_eq!(few["data"][0]["email"], "it@example.com");
    assert_eq!(few["data"][0]["kept_by"], "desired_state");
    for wrong in [
        json!({"role": "king"}),
        json!({"active": "true"}),
        json!({"limit": 0}),
        json!({"limit": 201}),
        json!({"cursor": "x"}),
        json!({"colour": "red"}),
    ] {
        let refused = tool(&house, "desk", "list_users", wrong.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{wrong}");
    }

    // A preview changes nothing and says which policies it meets; the change is recorded with both.
    let new = json!({
        "email": "Nora@Example.com", "name": "Nora", "roles": ["helpdesk"], "groups": ["engineering"],
        "attributes": {"department": "finance", "teams": ["b", "a"]},
    });
    let seen = preview(&house, "it", "create_user", new.clone()).await;
    assert_eq!(seen["after"]["policies"], json!(["engineers use tickets"]));
    assert_eq!(seen["after"]["roles"], json!(["helpdesk"]));
    let absent = tool(&house, "it", "get_user", json!({"user": "nora@example.com"})).await;
    assert_eq!(absent.unwrap_err().reason, Reason::EntityNotFound);
    let made = tool(&house, "it", "create_user", confirmed(new.clone())).await.unwrap();
    assert_eq!(made["email"], "nora@example.com");
    assert_eq!(made["attributes"], json!({"department": ["finance"], "teams": ["a", "b"]}));
    assert_eq!((&made["groups"], &made["kept_by"]), (&json!(["engineering"]), &json!("gateway")));
    let again = tool(&house, "it", "create_user", confirmed(new)).await.unwrap_err();
    assert_eq!(again.reason, Reason::Conflict);
    let bad = [
        json!({"email": "nora"}),
        json!({"email": "a b@example.com"}),
        json!({"email": "a\u{200b}@example.com"}),
        json!({"email": "x@example.com", "name": "x".repeat(201)}),
        json!({"email": "x@example.com", "attributes": {"a": 1}}),
        json!({"email": "x@example.com", "attributes": {"a": ""}}),
        json!({"email": "x@example.com", "attributes": {"a=b": "c"}}),
        json!({"email": "x@example.com", "attributes": "a"}),
        json!({"email": "x@example.com", "roles": "user"}),
    ];
    for wrong in bad {
        let refused =
            tool(&house, "it", "create_user", confirmed(wrong.clone())).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{wrong}");
    }
    let lost = json!({"email": "x@example.com", "groups": ["nothing"]});
    let lost = tool(&house, "it", "create_user", confirmed(lost)).await.unwrap_err();
    assert_eq!(lost.reason, Reason::EntityNotFound);
    let strict = json!({"user": "nora@example.com", "active": false, "confirm": "true"});
    let strict = tool(&house, "it", "update_user", strict).await.unwrap_err();
    assert_eq!(strict.reason, Reason::InvalidParams);
    let nothing = json!({"user": "nora@example.com", "confirm": true});
    let nothing = tool(&house, "it", "update_user", nothing).await.unwrap_err();
    assert_eq!(nothing.reason, Reason::InvalidParams);

    let edit = json!({"user": "nora@example.com", "name": "N", "roles": [], "attributes": {}});
    let edited = tool(&house, "it", "update_user", confirmed(edit)).await.unwrap();
    assert_eq!((&edited["name"], &edited["roles"]), (&json!("N"), &json!([])));
    assert_eq!(edited["attributes"], json!({}));
    let rows = house.all_rows(&EventFilter::default()).await;
    let row = rows.iter().find(|row| row.action_type == "user_updated").unwrap();
    let detail = house.a.store.get_event(row.id, Default::default()).await.unwrap();
    let kept = format!("{detail:?}");
    assert!(kept.contains("helpdesk") && kept.contains("before"), "{kept}");

    // Oneself, in detail; others see nobody.
    let own = tool(&house, "bob", "get_user", json!({"user": "bob@example.com"})).await.unwrap();
    assert_eq!((&own["groups"], &own["administers"]), (&json!(["engineering"]), &json!([])));
    let foreign = json!({"user": "dora@example.com"});
    assert_eq!(
        tool(&house, "bob", "get_user", foreign).await.unwrap_err(),
        tool(&house, "bob", "get_user", json!({"user": "nobody@example.com"})).await.unwrap_err()
    );
    let _ = house.all_rows(&EventFilter::default()).await;
    let desk = tool(&house, "desk", "get_user", json!({"user": "desk@example.com"})).await;
    assert!(desk.unwrap()["last_seen"].is_null(), "nothing of theirs was on the line");
    house.perform("desk", Face::Rest, "list_servers", json!({})).await.unwrap();
    let _ = house.all_rows(&EventFilter::default()).await;
    let desk = tool(&house, "desk", "get_user", json!({"user": "desk@example.com"})).await;
    assert!(desk.unwrap()["last_seen"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_deactivated_is_out_everywhere() {
    let house = House::open().await;
    let (key, _) = house.key("bob").await;
    let agent = house.agent("indexer", "bob").await;
    house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let bob = house.caller("bob");
    let for_bob = house.for_person(&agent, "bob");
    let b = &house.b.governance;
    eventually("b knows all of it", async || {
        b.snapshot().still_good(&for_bob, b.clock().now()) && opens(&house, &key).await
    })
    .await;
    let off = json!({"user": "bob@example.com", "active": false});
    let seen = preview(&house, "it", "update_user", off.clone()).await;
    assert_eq!(seen["after"]["agents_that_stop"], json!(["indexer"]));
    assert!(seen["after"]["ends"].is_string() && seen["after"]["warning"].is_string(), "{seen}");
    assert!(opens(&house, &key).await, "a preview ends nothing");
    tool(&house, "it", "update_user", confirmed(off)).await.unwrap();
    for caller in [&bob, &agent, &for_bob] {
        let a = &house.a.governance;
        assert!(!a.snapshot().still_good(caller, a.clock().now()), "streams end");
        eventually("b ends them, too", async || !b.snapshot().still_good(caller, b.clock().now()))
            .await;
    }
    eventually("b lets the key in no more", async || !opens(&house, &key).await).await;
    let on = json!({"user": "bob@example.com", "active": true, "confirm": true});
    tool(&house, "it", "update_user", on).await.unwrap();
    let a = &house.a.governance;
    assert!(!a.snapshot().still_good(&for_bob, a.clock().now()), "the delegation stays ended");
}

/// Whether the key opens replica b.
async fn opens(house: &House, key: &str) -> bool {
    let presented = Presented { api_key_header: Some(key), ..Presented::default() };
    house.b.governance.identify(presented).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_say_which_policies_name_them() {
    let house = House::open().await;
    let more = r#"
[[groups]]
name = "finance"
[[policies]]
name = "finance agrees"
effect = "confirm"
by = "group:finance"
principals = ["everyone"]
server = "tickets"
tools = ["pay"]
[[policies]]
name = "in Cedar"
cedar = 'permit (principal, action, resource in Server::"vault") when { principal in Group::"engineering" };'
"#;
    house.apply(&format!("{STATE}{more}")).await;
    house.a.governance.refresh().await.unwrap();
    let both = json!(["engineers use tickets", "in Cedar"]);
    let group = tool(&house, "desk", "get_group", json!({"group": "engineering"})).await.unwrap();
    assert_eq!((&group["policies"], &group["group"]["members"]), (&both, &json!(2)));
    let page = json!({"group": "engineering", "limit": 1});
    let page = tool(&house, "desk", "get_group", page).await.unwrap();
    assert_eq!(page["data"][0]["email"], "bob@example.com");
    let next = json!({"group": "engineering", "limit": 1, "cursor": page["next_cursor"]});
    let next = tool(&house, "desk", "get_group", next).await.unwrap();
    assert_eq!(
        (&next["data"][0]["email"], &next["next_cursor"]),
        (&json!("dora@example.com"), &Value::Null)
    );

    let rename = json!({"group": "engineering", "name": "builders"});
    let seen = preview(&house, "it", "update_group", rename.clone()).await;
    assert_eq!((&seen["before"]["policies"], &seen["after"]["policies"]), (&both, &json!([])));
    assert!(seen["after"]["warning"].as_str().is_some_and(|w| w.contains("apply")), "{seen}");
    let seen = preview(&house, "it", "delete_group", json!({"group": "engineering"})).await;
    assert_eq!((&seen["before"]["policies"], &seen["before"]["members"]), (&both, &json!(2)));
    let gone = tool(&house, "it", "delete_group", confirmed(json!({"group": "finance"}))).await;
    assert_eq!(gone.unwrap()["deleted"], true);
    let seen = preview(&house, "it", "create_group", json!({"name": "finance"})).await;
    assert_eq!(seen["after"]["policies"], json!(["finance agrees"]), "who agrees counts, too");
    assert_eq!(house.caller("bob").user.groups, ["engineering"]);
    let listed = tool(&house, "it", "list_groups", json!({})).await.unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "previews made and took nothing");

    tool(&house, "it", "update_group", confirmed(rename)).await.unwrap();
    assert_eq!(house.caller("bob").user.groups, ["builders"]);
    let swap =
        json!({"group": "builders", "add": ["carol@example.com"], "remove": ["bob@example.com"]});
    let seen = preview(&house, "it", "update_group", swap.clone()).await;
    assert_eq!(
        (&seen["after"]["joins"], &seen["after"]["leaves"]),
        (&json!(["carol@example.com"]), &json!(["bob@example.com"]))
    );
    tool(&house, "it", "update_group", confirmed(swap)).await.unwrap();
    assert!(house.caller("bob").user.groups.is_empty());
    assert_eq!(house.caller("carol").user.groups, ["builders"]);
    let bad = [
        ("update_group", json!({"group": "builders"}), Reason::InvalidParams),
        ("update_group", json!({"group": "builders", "name": ""}), Reason::InvalidParams),
        ("update_group", json!({"group": "builders", "name": "a\u{202e}b"}), Reason::InvalidParams),
        ("update_group", json!({"group": "builders", "name": "security"}), Reason::Conflict),
        ("update_group", json!({"group": "builders", "add": ["nobody"]}), Reason::EntityNotFound),
        (
            "update_group",
            json!({"group": "builders", "add": "bob@example.com"}),
            Reason::InvalidParams,
        ),
        ("update_group", json!({"group": "nothing", "name": "a"}), Reason::EntityNotFound),
        (
            "update_group",
            json!({"group": "builders", "add": ["bob@example.com"], "remove": ["bob@example.com"]}),
            Reason::InvalidParams,
        ),
        ("create_group", json!({"name": "x", "members": ["nobody"]}), Reason::EntityNotFound),
        ("create_group", json!({"name": " "}), Reason::InvalidParams),
    ];
    for (operation, arguments, reason) in bad {
        let refused =
            tool(&house, "it", operation, confirmed(arguments.clone())).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{operation} {arguments}");
    }
    let gone = tool(&house, "it", "delete_group", confirmed(json!({"group": "builders"}))).await;
    assert_eq!(gone.unwrap()["deleted"], true);
    assert!(house.caller("carol").user.groups.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_scim_keeps_is_changed_there() {
    let mut settings = settings();
    settings.scim_token = Some("scim-Zk3v0Qw8Jr5tYx2Lb7Nc1Md4Hf6Gs9Pa".into());
    let house = House::open_with(&settings, Arc::new(Offline)).await;
    let provision = async |kind: Kind, body: Value| {
        let origin = house.origin(Face::Rest);
        let scim = house.a.governance.scim().unwrap();
        scim.perform(&origin, kind, Ask::Create, &Query::default(), Some(&body)).await.unwrap()
    };
    // Roles are not SCIM's to give, whatever it says.
    let sam = json!({"userName": "sam@example.com", "displayName": "Sam", "active": true,
        "roles": [{"value": "super_admin", "primary": true}], "groups": [{"display": "security"}]});
    let made = provision(Kind::Users, sam).await.unwrap();
    provision(Kind::Groups, json!({"displayName": "kept", "members": [{"value": made["id"]}]}))
        .await;
    let sam = house.caller("sam").user;
    assert_eq!((sam.roles.len(), sam.groups.clone()), (0, vec!["kept".to_owned()]));
    let refused = [
        ("update_user", json!({"user": "sam@example.com", "name": "S"})),
        ("update_group", json!({"group": "kept", "name": "ours"})),
        ("update_group", json!({"group": "kept", "add": ["bob@example.com"]})),
        ("delete_group", json!({"group": "kept"})),
        ("create_user", json!({"email": "x@example.com", "groups": ["kept"]})),
    ];
    for (operation, arguments) in refused {
        for who in ["it", "root"] {
            let refused = tool(&house, who, operation, confirmed(arguments.clone())).await;
            assert_eq!(refused.unwrap_err().reason, Reason::Conflict, "{operation} {arguments}");
        }
    }
    let role = json!({"user": "sam@example.com", "roles": ["developer"]});
    tool(&house, "it", "update_user", confirmed(role)).await.unwrap();
    let off = json!({"user": "sam@example.com", "active": false});
    let seen = preview(&house, "it", "update_user", off.clone()).await;
    assert!(seen["after"]["warning"].as_str().is_some_and(|w| w.contains("SCIM")), "{seen}");
    let off = tool(&house, "it", "update_user", confirmed(off)).await.unwrap();
    assert_eq!((&off["active"], &off["roles"]), (&json!(false), &json!(["developer"])));
    let on = json!({"user": "sam@example.com", "active": true, "confirm": true});
    assert_eq!(tool(&house, "root", "update_user", on).await.unwrap_err().reason, Reason::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_matrix_is_everybodys_to_read() {
    let house = House::open().await;
    let all = tool(&house, "carol", "list_roles", json!({})).await.unwrap();
    let rows = all["data"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    let one = json!({"role": "it_admin", "operation": "update_user"});
    let one = tool(&house, "carol", "list_roles", one).await.unwrap();
    let expected = json!({"role": "it_admin", "all": ["update_user"], "own": [], "given_by": ["super_admin", "it_admin"]});
    assert_eq!(one["data"], json!([expected]));
    let top = tool(&house, "carol", "list_roles", json!({"role": "super_admin"})).await.unwrap();
    assert_eq!(top["data"][0]["given_by"], json!(["super_admin"]));
    for operation in OPERATIONS {
        let named = |list: &Value| list.as_array().unwrap().contains(&json!(operation.name));
        assert!(named(&rows[0]["all"]) || named(&rows[0]["own"]), "{}", operation.name);
    }
    for wrong in [json!({"role": "king"}), json!({"operation": "fly"})] {
        let refused = tool(&house, "carol", "list_roles", wrong).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams);
    }
}
