//! Separation of duty: nobody raises themself, whichever way, and nobody agrees to a call of their own where a rule
//! names somebody else; on no face, and through no agent.

use gateway_core::caller::{Caller, Role};
use gateway_core::reason::Reason;
use serde_json::{Value, json};

use super::house::{House, STATE};
use crate::confirmations::Via;
use crate::{Face, Governance};

const BOTH: [Face; 2] = [Face::Tools, Face::Rest];

const MORE: &str = r#"
[[groups]]
name = "finance"
[[policies]]
name = "finance"
effect = "allow"
principals = ["group:finance"]
server = "vault"
"#;

fn confirmed(mut arguments: Value) -> Value {
    arguments["confirm"] = json!(true);
    arguments
}

fn agent_roles(governance: &Governance, name: &str) -> Vec<Role> {
    let snapshot = governance.snapshot();
    let agent = snapshot.agents.iter().find(|agent| agent.principal.name == name).unwrap();
    agent.principal.roles.clone()
}

async fn house() -> House {
    let house = House::open().await;
    house.apply(&format!("{STATE}{MORE}")).await;
    house.a.governance.refresh().await.unwrap();
    // What a policy names and nobody has any more.
    let gone = json!({"group": "finance"});
    house.perform("root", Face::Rest, "delete_group", gone).await.unwrap();
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_raises_themself_or_acts_upon_the_mightier() {
    use Reason::{Conflict, RoleMissing};
    let house = house().await;
    let root = async |operation: &str, arguments: Value| {
        house.perform("root", Face::Rest, operation, arguments).await
    };
    root("create_group", json!({"name": "mine", "members": ["it@example.com"]})).await.unwrap();
    root("create_agent_account", json!({"name": "mighty", "roles": ["super_admin"]}))
        .await
        .unwrap();
    let user = |name: &str| format!("{name}@example.com");
    let cases = [
        // Roles, by oneself and for others.
        (
            "it",
            "update_user",
            json!({"user": user("it"), "roles": ["it_admin", "security_admin"]}),
            RoleMissing,
        ),
        ("it", "update_user", json!({"user": user("it"), "roles": ["super_admin"]}), RoleMissing),
        (
            "it",
            "update_user",
            json!({"user": user("it"), "roles": ["it_admin", "developer"]}),
            RoleMissing,
        ),
        (
            "it",
            "update_user",
            json!({"user": user("bob"), "roles": ["security_admin"]}),
            RoleMissing,
        ),
        ("it", "update_user", json!({"user": user("bob"), "roles": ["super_admin"]}), RoleMissing),
        ("it", "create_user", json!({"email": user("new"), "roles": ["super_admin"]}), RoleMissing),
        (
            "root",
            "update_user",
            json!({"user": user("root"), "roles": ["super_admin", "user"]}),
            RoleMissing,
        ),
        ("bob", "update_user", json!({"user": user("bob"), "roles": ["developer"]}), RoleMissing),
        ("sec", "update_user", json!({"user": user("sec"), "roles": ["super_admin"]}), RoleMissing),
        // Upon somebody mightier.
        ("it", "update_user", json!({"user": user("root"), "active": false}), RoleMissing),
        ("it", "update_user", json!({"user": user("root"), "roles": []}), RoleMissing),
        ("it", "update_user", json!({"user": user("sec"), "active": false}), RoleMissing),
        ("it", "update_user", json!({"user": user("sec"), "attributes": {"a": "b"}}), RoleMissing),
        // As somebody mightier.
        ("it", "create_api_key", json!({"user": user("root")}), RoleMissing),
        ("it", "create_api_key", json!({"user": user("sec")}), RoleMissing),
        ("sec", "create_api_key", json!({"user": user("root")}), RoleMissing),
        ("it", "rotate_agent_account_secret", json!({"agent": "mighty"}), RoleMissing),
        ("sec", "rotate_agent_account_secret", json!({"agent": "mighty"}), RoleMissing),
        (
            "it",
            "update_agent_account",
            json!({"agent": "mighty", "owner": user("it")}),
            RoleMissing,
        ),
        ("it", "update_agent_account", json!({"agent": "mighty", "roles": []}), RoleMissing),
        // By a program.
        (
            "it",
            "create_agent_account",
            json!({"name": "a", "roles": ["security_admin"]}),
            RoleMissing,
        ),
        (
            "root",
            "create_agent_account",
            json!({"name": "a", "owner": user("bob"), "roles": ["it_admin"]}),
            RoleMissing,
        ),
        (
            "root",
            "update_agent_account",
            json!({"agent": "mighty", "owner": user("it")}),
            RoleMissing,
        ),
        // By groups and attributes that policies speak of.
        ("it", "update_group", json!({"group": "engineering", "add": [user("it")]}), RoleMissing),
        ("it", "create_group", json!({"name": "finance", "members": [user("it")]}), RoleMissing),
        ("it", "update_group", json!({"group": "mine", "name": "finance"}), RoleMissing),
        (
            "it",
            "update_user",
            json!({"user": user("it"), "attributes": {"department": "finance"}}),
            RoleMissing,
        ),
        // Somebody must be left who may everything.
        ("root", "update_user", json!({"user": user("root"), "active": false}), Conflict),
        ("root", "update_user", json!({"user": user("root"), "roles": ["it_admin"]}), RoleMissing),
        ("root", "update_user", json!({"user": user("root"), "roles": []}), Conflict),
    ];
    let version = house.a.governance.snapshot().version;
    for (who, operation, arguments, reason) in cases {
        for face in BOTH {
            let refused = house.perform(who, face, operation, confirmed(arguments.clone())).await;
            assert_eq!(
                refused.unwrap_err().reason,
                reason,
                "{who} {face:?} {operation} {arguments}"
            );
        }
    }
    let after = house.a.governance.refresh().await.unwrap();
    assert_eq!(after.version, version, "nothing was changed");
    // What they may: give up their own, and act upon those whom they do not exceed.
    let allowed = [
        ("it", "update_user", json!({"user": user("desk"), "roles": ["helpdesk", "developer"]})),
        ("it", "update_group", json!({"group": "mine", "name": "others"})),
        ("it", "update_group", json!({"group": "others", "remove": [user("it")]})),
        (
            "root",
            "update_user",
            json!({"user": user("sec"), "roles": ["security_admin", "super_admin"]}),
        ),
        ("sec", "update_user", json!({"user": user("root"), "roles": []})),
        ("sec", "update_user", json!({"user": user("root"), "active": false})),
        ("it", "update_user", json!({"user": user("it"), "roles": []})),
    ];
    for (who, operation, arguments) in allowed {
        let done = house.perform(who, Face::Rest, operation, arguments.clone()).await;
        assert!(done.is_ok(), "{who} {operation} {arguments}: {done:?}");
    }
    let last = json!({"user": user("sec"), "active": false});
    let last = house.perform("sec", Face::Rest, "update_user", last).await.unwrap_err();
    assert_eq!(last.reason, Conflict, "they are the last one now");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_is_more_than_its_owner_or_changes_people() {
    let house = house().await;
    let a = &house.a.governance;
    let root = async |operation: &str, arguments: Value| {
        house.perform("root", Face::Rest, operation, arguments).await.unwrap()
    };
    let (sec, it) = ("sec@example.com", "it@example.com");
    root(
        "create_agent_account",
        json!({"name": "auditor", "owner": sec, "roles": ["security_admin"]}),
    )
    .await;
    root("create_agent_account", json!({"name": "admin", "roles": ["super_admin"]})).await;
    assert_eq!(agent_roles(a, "auditor"), [Role::SecurityAdmin]);
    // Their program loses with them, and keeps nothing that another owner lacks.
    root("update_user", json!({"user": sec, "roles": []})).await;
    assert_eq!(agent_roles(a, "auditor"), []);
    root("update_user", json!({"user": sec, "roles": ["security_admin"]})).await;
    assert_eq!(agent_roles(a, "auditor"), [Role::SecurityAdmin]);
    let moved = json!({"agent": "auditor", "owner": it, "roles": ["it_admin"]});
    let moved = root("update_agent_account", moved).await;
    assert_eq!((&moved["owner"], &moved["roles"]), (&json!(it), &json!(["it_admin"])));
    let both = house.perform("sec", Face::Rest, "get_user", json!({"user": it})).await.unwrap();
    assert_eq!(both["agent_accounts"], json!(["auditor"]));

    // Whatever its roles, and whomever it acts for.
    let snapshot = a.snapshot();
    let stored = snapshot.agents.iter().find(|agent| agent.principal.name == "admin").unwrap();
    let principal = snapshot.agent(stored.principal.id).unwrap().clone();
    let auth = gateway_core::caller::AuthMethod::OauthToken;
    let admin = Caller::new(principal, auth, stored.session.to_string());
    house.delegate("root", json!({"agent": "admin"})).await.unwrap();
    let for_root = house.for_person(&admin, "root");
    let bob = "bob@example.com";
    for (operation, arguments) in [
        ("create_user", json!({"email": "new@example.com"})),
        ("update_user", json!({"user": bob, "roles": ["developer"]})),
        ("update_user", json!({"user": bob, "active": false})),
        ("create_group", json!({"name": "new"})),
        ("update_group", json!({"group": "engineering", "add": ["carol@example.com"]})),
        ("delete_group", json!({"group": "engineering"})),
        ("create_api_key", json!({"user": bob})),
        ("create_api_key", json!({})),
        ("update_agent_account", json!({"agent": "auditor", "roles": []})),
    ] {
        for caller in [&admin, &for_root] {
            for face in BOTH {
                let asked = house.as_caller(caller, face, operation, confirmed(arguments.clone()));
                let refused = asked.await.unwrap_err();
                assert_eq!(refused.reason, Reason::RoleMissing, "{face:?} {operation} {arguments}");
            }
        }
    }
    for caller in [&admin, &for_root] {
        let listed = house.as_caller(caller, Face::Tools, "list_users", json!({})).await;
        assert!(listed.is_ok(), "it may look");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_for_the_approver_of_their_own_call() {
    let house = house().await;
    let indexer = house.agent("indexer", "dora").await;
    house.delegate("dora", json!({"agent": "indexer"})).await.unwrap();
    let for_dora = house.for_person(&indexer, "dora");
    let (dora, sec) = (house.caller("dora"), house.caller("sec"));
    let confirmations = house.a.governance.confirmations();
    let server = house.a.governance.snapshot().server("tickets").unwrap().id;
    let target = gateway_core::decision::Target::Tool("pay");
    // Dora is in the group that must agree. Her own call, her agent's own call, and one of it for her.
    for (number, caller) in [&dora, &indexer, &for_dora].into_iter().enumerate() {
        for approvers in
            [&["group:security"][..], &["user:dora@example.com"], &["caller", "group:security"]]
        {
            let mut new = house.waiting("dora", approvers);
            let arguments = format!("{number}{approvers:?}");
            new.binding = confirmations.binding(caller, server, target, [7; 32], &arguments);
            let binding = new.binding.clone();
            let id = confirmations.request(new).await.unwrap().id;
            let named = approvers.iter().filter(|name| **name != "caller").count();
            for who in [&dora, &indexer, &for_dora] {
                for face in BOTH {
                    let yes = json!({"id": id, "approve": true, "confirm": true});
                    let decided = house.as_caller(who, face, "decide_confirmation", yes).await;
                    // As the caller she may say yes for herself, and no more than that.
                    let pending = decided.is_ok_and(|value| value["status"] == "pending");
                    let herself =
                        approvers.len() > named && std::ptr::eq(who, &dora) && face == Face::Rest;
                    assert_eq!(pending, herself, "{number} {approvers:?} {face:?}");
                }
                let settled = confirmations.settle(who, id, true, Via::Elicitation).await;
                assert!(settled.is_err(), "{number} {approvers:?}");
            }
            let demand = super::house::demand(approvers);
            let taken = confirmations.take_agreed(&binding, &demand).await.unwrap();
            assert_eq!(taken, None, "{number} {approvers:?}");
            if approvers.contains(&"group:security") {
                let yes = json!({"id": id, "approve": true, "confirm": true});
                house.as_caller(&sec, Face::Tools, "decide_confirmation", yes).await.unwrap();
                let taken = confirmations.take_agreed(&binding, &demand).await.unwrap();
                assert!(taken.is_some(), "{number} {approvers:?}: all have agreed");
            }
        }
    }
}
