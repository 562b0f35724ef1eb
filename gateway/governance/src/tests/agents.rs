//! Agent accounts and delegations: who makes them, what they may, what they never may, and what the trail says.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::decision::{Target, Verdict};
use gateway_core::ids::SessionId;
use gateway_core::reason::Reason;
use gateway_store::audit::EventFilter;
use serde_json::{Value, json};

use super::house::{House, STATE, circumstances, eventually};
use crate::confirmations::Via;
use crate::operations::spec;
use crate::{Attempt, Face, Governance, Origin, Refused};

pub(super) const POLICIES: &str = r#"
[[policies]]
name = "the indexer lists"
effect = "allow"
principals = ["agent:indexer"]
server = "*"
tools = ["list", "pay"]
[[policies]]
name = "the indexer asks"
effect = "confirm"
principals = ["agent:indexer"]
server = "tickets"
tools = ["pay"]
message = "Is that right?"
"#;

impl House {
    /// A house with an agent `indexer`, which Bob owns.
    pub(super) async fn with_indexer() -> (House, Caller) {
        let house = House::open().await;
        house.apply(&format!("{STATE}{POLICIES}")).await;
        house.a.governance.refresh().await.unwrap();
        let indexer = house.agent("indexer", "bob").await;
        (house, indexer)
    }

    pub(super) async fn agent(&self, name: &str, owner: &str) -> Caller {
        let arguments =
            json!({"name": name, "owner": format!("{owner}@example.com"), "confirm": true});
        self.perform("root", Face::Rest, "create_agent_account", arguments).await.unwrap();
        let snapshot = self.a.governance.snapshot();
        let agent = snapshot.agents.iter().find(|agent| agent.principal.name == name).unwrap();
        let principal = snapshot.agent(agent.principal.id).unwrap().clone();
        Caller::new(principal, AuthMethod::OauthToken, agent.session.to_string())
    }

    pub(super) async fn delegate(&self, person: &str, arguments: Value) -> Result<Value, Refused> {
        self.perform(person, Face::Rest, "create_delegation", arguments).await
    }

    pub(super) fn for_person(&self, agent: &Caller, person: &str) -> Caller {
        let user = self.caller(person).user;
        Caller { user, actor: Some(agent.user.clone()), ..agent.clone() }
    }

    pub(super) async fn as_caller(
        &self,
        caller: &Caller,
        face: Face,
        operation: &str,
        arguments: Value,
    ) -> Result<Value, Refused> {
        let operation = (spec(operation).unwrap().read)(arguments)?;
        let origin: Origin = self.origin(face);
        let answer = self.a.governance.perform(caller, &origin, operation).await?;
        Ok(answer.value)
    }
}

pub(super) fn verdict(governance: &Governance, caller: &Caller, tool: &str) -> Verdict {
    let snapshot = governance.snapshot();
    let server = snapshot.server("tickets").unwrap().clone();
    let circumstances = circumstances();
    let attempt = Attempt {
        server: &server,
        target: Target::Tool(tool),
        arguments: None,
        circumstances: &circumstances,
        confirmed: false,
    };
    governance.decide(&snapshot, caller, &attempt)
}

pub(super) fn enters(governance: &Governance, caller: &Caller, server: &str) -> bool {
    let snapshot = governance.snapshot();
    let server = snapshot.server(server).unwrap();
    governance.may_enter(&snapshot, caller, server)
}

fn invisible(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Deny(denial) if denial.invisible)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_must_be_allowed_and_the_person_must_have_delegated() {
    let (house, indexer) = House::with_indexer().await;
    let a = &house.a.governance;
    let (for_bob, for_carol) =
        (house.for_person(&indexer, "bob"), house.for_person(&indexer, "carol"));

    // For itself: what its policies say, delegations or none.
    assert!(matches!(verdict(a, &indexer, "list"), Verdict::Allow { .. }));
    assert!(invisible(&verdict(a, &indexer, "drop_all")));
    assert!(enters(a, &indexer, "tickets") && enters(a, &indexer, "vault"));
    // Without a delegation there is no server for it, whatever both may do.
    for server in ["tickets", "vault", "runlayer"] {
        assert!(!enters(a, &for_bob, server), "{server}");
        assert!(!enters(a, &for_carol, server), "{server}");
    }
    let operated = house.as_caller(&for_bob, Face::Rest, "list_servers", json!({})).await;
    assert_eq!(operated.unwrap_err().reason, Reason::ServerNotFound);

    // With one: exactly there, and what both may do.
    house.delegate("bob", json!({"agent": "indexer", "servers": ["tickets"]})).await.unwrap();
    assert!(enters(a, &for_bob, "tickets"));
    assert!(!enters(a, &for_bob, "vault") && !enters(a, &for_bob, "runlayer"));
    let Verdict::Allow { policies } = verdict(a, &for_bob, "list") else { panic!("denied") };
    assert_eq!(policies.len(), 2, "both principals' policies");
    assert!(matches!(verdict(a, &for_bob, "pay"), Verdict::Confirm(_)));
    assert!(invisible(&verdict(a, &for_bob, "drop_all")));
    let (snapshot, circumstances) = (a.snapshot(), circumstances());
    let server = snapshot.server("tickets").unwrap();
    for (target, expected) in [
        (Target::Tool("list"), true),
        (Target::Tool("drop_all"), false),
        (Target::Resource("t://1"), false),
    ] {
        let listed = |caller: &Caller| a.listed(&snapshot, caller, server, target, &circumstances);
        assert_eq!(listed(&for_bob), expected, "{target:?}");
        assert!(!listed(&for_carol), "{target:?}: Carol may nothing there");
    }
    for operation in ["list_servers", "list_audit_logs"] {
        for face in [Face::Rest, Face::Tools] {
            let refused = house.as_caller(&for_bob, face, operation, json!({})).await;
            assert_eq!(refused.unwrap_err().reason, Reason::ServerNotFound, "{operation}");
        }
    }
    assert!(!enters(a, &for_carol, "tickets"), "Bob's leave is not Carol's");
    let other = house.agent("other", "bob").await;
    assert!(!enters(a, &house.for_person(&other, "bob"), "tickets"), "nor another agent's");

    // The other replica knows soon; switched off, neither does anything, on none.
    let b = &house.b.governance;
    eventually("b knows the leave", async || enters(b, &for_bob, "tickets")).await;
    let off = json!({"agent": "indexer", "enabled": false, "confirm": true});
    house.perform("bob", Face::Rest, "set_agent_account_status", off).await.unwrap();
    for caller in [&indexer, &for_bob] {
        assert!(a.snapshot().present(caller).is_none());
        assert!(!a.snapshot().still_good(caller, a.clock().now()));
        eventually("b knows, too", async || !b.snapshot().still_good(caller, b.clock().now()))
            .await;
        let refused = house.as_caller(caller, Face::Tools, "list_servers", json!({})).await;
        assert_eq!(refused.unwrap_err().reason, Reason::CredentialInvalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_ends_by_time_by_word_and_by_another() {
    let (house, indexer) = House::with_indexer().await;
    let a = &house.a.governance;
    let for_bob = house.for_person(&indexer, "bob");
    let good = || a.snapshot().still_good(&for_bob, a.clock().now());
    let soon = (a.clock().now() + time::Duration::seconds(30))
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    house.delegate("bob", json!({"agent": "indexer", "expires_at": soon})).await.unwrap();
    assert!(enters(a, &for_bob, "tickets") && enters(a, &for_bob, "runlayer") && good());
    house.clock.advance(31);
    assert!(!enters(a, &for_bob, "tickets") && !good(), "it has expired");

    let made = house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    assert!(enters(a, &for_bob, "tickets") && good());
    // A new one takes the place of the old one, however wide that was.
    let narrow = json!({"agent": "indexer", "servers": ["runlayer"]});
    let narrow = house.delegate("bob", narrow).await.unwrap();
    assert!(!enters(a, &for_bob, "tickets") && enters(a, &for_bob, "runlayer"));
    let revoke = |id: &Value| json!({"id": id, "confirm": true});
    let old = house.perform("bob", Face::Rest, "revoke_delegation", revoke(&made["id"])).await;
    assert_eq!(old.unwrap_err().reason, Reason::EntityNotFound);
    // Whose it is not learns nothing of it; an administrator may end it.
    for stranger in ["carol", "dora", "desk"] {
        let refused =
            house.perform(stranger, Face::Rest, "revoke_delegation", revoke(&narrow["id"])).await;
        assert_eq!(refused.unwrap_err().reason, Reason::EntityNotFound, "{stranger}");
    }
    let listed = house.perform("carol", Face::Rest, "list_delegations", json!({})).await.unwrap();
    assert_eq!(listed["data"], json!([]));
    house.perform("sec", Face::Rest, "revoke_delegation", revoke(&narrow["id"])).await.unwrap();
    assert!(!enters(a, &for_bob, "runlayer") && !good());
    let b = &house.b.governance;
    eventually("b knows", async || !b.snapshot().still_good(&for_bob, b.clock().now())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_delegates_for_others_or_what_they_lack() {
    let (house, indexer) = House::with_indexer().await;
    let past = json!({"agent": "indexer", "expires_at": "2020-01-01T00:00:00Z"});
    let cases = [
        ("root", json!({"agent": "indexer", "user": "bob@example.com"}), Reason::InvalidParams),
        ("root", json!({"agent": "indexer", "user_id": "x"}), Reason::InvalidParams),
        ("bob", json!({"agent": "nobody"}), Reason::EntityNotFound),
        ("bob", json!({"agent": "dora@example.com"}), Reason::EntityNotFound),
        ("bob", json!({"agent": "indexer", "servers": ["vault"]}), Reason::ServerNotFound),
        ("carol", json!({"agent": "indexer", "servers": ["tickets"]}), Reason::ServerNotFound),
        ("bob", json!({"agent": "indexer", "servers": ["absent"]}), Reason::ServerNotFound),
        ("bob", json!({"agent": "indexer", "servers": []}), Reason::InvalidParams),
        ("bob", json!({"agent": "indexer", "expires_at": "soon"}), Reason::InvalidParams),
        ("bob", past, Reason::InvalidParams),
    ];
    for (person, arguments, reason) in cases {
        let refused = house.delegate(person, arguments.clone()).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{person} {arguments}");
    }
    // Neither does the agent, for itself or with a leave of Bob's that is as wide as can be.
    house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let for_bob = house.for_person(&indexer, "bob");
    for (operation, arguments) in [
        ("create_delegation", json!({"agent": "indexer", "confirm": true})),
        ("create_agent_account", json!({"name": "mine", "confirm": true})),
        ("rotate_agent_account_secret", json!({"agent": "indexer", "confirm": true})),
        ("set_server_status", json!({"server_id": "tickets", "status": "draft", "confirm": true})),
        ("list_policies", json!({})),
    ] {
        for caller in [&indexer, &for_bob] {
            let refused = house.as_caller(caller, Face::Rest, operation, arguments.clone()).await;
            let reason = refused.unwrap_err().reason;
            let hidden = operation == "rotate_agent_account_secret";
            let expected = if hidden { Reason::EntityNotFound } else { Reason::RoleMissing };
            assert_eq!(reason, expected, "{operation}");
        }
    }
    // An administrator's agent needs the person's role as well, and the other way round.
    let arguments = json!({"name": "admin", "roles": ["super_admin"], "confirm": true});
    house.perform("root", Face::Rest, "create_agent_account", arguments).await.unwrap();
    let snapshot = house.a.governance.snapshot();
    let admin = snapshot.agents.iter().find(|agent| agent.principal.name == "admin").unwrap();
    let admin = snapshot.agent(admin.principal.id).unwrap().clone();
    let admin = Caller::new(admin, AuthMethod::OauthToken, "x");
    for person in ["root", "bob"] {
        house.delegate(person, json!({"agent": "admin"})).await.unwrap();
        house.delegate(person, json!({"agent": "indexer"})).await.unwrap();
    }
    let may = async |caller: &Caller| {
        house.as_caller(caller, Face::Rest, "list_policies", json!({})).await.is_ok()
    };
    assert!(may(&admin).await && may(&house.for_person(&admin, "root")).await);
    assert!(!may(&house.for_person(&admin, "bob")).await);
    assert!(!may(&house.for_person(&indexer, "root")).await);
    for caller in [&admin, &house.for_person(&admin, "root")] {
        let arguments = json!({"name": "more", "confirm": true});
        let refused = house.as_caller(caller, Face::Rest, "create_agent_account", arguments).await;
        assert_eq!(
            refused.unwrap_err().reason,
            Reason::RoleMissing,
            "programs make no credentials"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_make_and_manage_accounts() {
    let (house, _) = House::with_indexer().await;
    let developers = STATE.replace(
        "email = \"dora@example.com\"",
        "email = \"dora@example.com\"\nroles = [\"developer\"]",
    );
    house.apply(&format!("{developers}{POLICIES}")).await;
    house.a.governance.refresh().await.unwrap();
    let bob = "bob@example.com";
    let private = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}]});
    let shared = json!({"keys": [{"kty": "oct", "k": "AA"}]});
    let cases = [
        ("bob", json!({"name": "a"}), Reason::RoleMissing),
        ("desk", json!({"name": "a"}), Reason::RoleMissing),
        ("dora", json!({"name": "a", "owner": bob}), Reason::RoleMissing),
        ("dora", json!({"name": "a", "roles": ["super_admin"]}), Reason::RoleMissing),
        ("it", json!({"name": "a", "roles": ["security_admin"]}), Reason::RoleMissing),
        ("dora", json!({"name": "a", "roles": ["king"]}), Reason::InvalidParams),
        ("dora", json!({"name": ""}), Reason::InvalidParams),
        ("dora", json!({"name": "a b"}), Reason::InvalidParams),
        ("dora", json!({"name": "-a"}), Reason::InvalidParams),
        ("dora", json!({"name": "a\u{200b}"}), Reason::InvalidParams),
        ("dora", json!({"name": "a".repeat(65)}), Reason::InvalidParams),
        ("dora", json!({"name": "indexer"}), Reason::Conflict),
        ("dora", json!({"name": "a", "jwks": {}}), Reason::InvalidParams),
        ("dora", json!({"name": "a", "jwks": {"keys": []}}), Reason::InvalidParams),
        ("dora", json!({"name": "a", "jwks": private}), Reason::InvalidParams),
        ("dora", json!({"name": "a", "jwks": shared}), Reason::InvalidParams),
        ("root", json!({"name": "a", "owner": "nobody@example.com"}), Reason::EntityNotFound),
    ];
    for (person, arguments, reason) in cases {
        let refused = house.perform(person, Face::Rest, "create_agent_account", arguments.clone());
        assert_eq!(refused.await.unwrap_err().reason, reason, "{person} {arguments}");
    }
    let create = json!({"name": "builder", "roles": ["developer"], "confirm": true});
    let made = house.perform("dora", Face::Rest, "create_agent_account", create).await.unwrap();
    assert_eq!(
        (&made["owner"], &made["roles"]),
        (&json!("dora@example.com"), &json!(["developer"]))
    );
    // Others see nothing of it; its owner and administrators do.
    for (person, sees) in [
        ("dora", true),
        ("root", true),
        ("it", true),
        ("desk", true),
        ("bob", false),
        ("carol", false),
    ] {
        let got = house
            .perform(person, Face::Rest, "get_agent_account", json!({"agent": "builder"}))
            .await;
        match sees {
            true => assert_eq!(got.unwrap()["id"], made["id"], "{person}"),
            false => assert_eq!(got.unwrap_err().reason, Reason::EntityNotFound, "{person}"),
        }
    }
    for operation in ["set_agent_account_status", "rotate_agent_account_secret"] {
        for person in ["bob", "carol", "desk"] {
            let mut arguments = json!({"agent": "builder", "confirm": true});
            if operation == "set_agent_account_status" {
                arguments["enabled"] = json!(false);
            }
            let refused = house.perform(person, Face::Rest, operation, arguments).await;
            assert_eq!(refused.unwrap_err().reason, Reason::EntityNotFound, "{person} {operation}");
        }
    }
    // A model is asked for confirm, sees no secret, and nothing changes without.
    let create = |confirm: bool| json!({"name": "quiet", "confirm": confirm});
    let refused = house.perform("dora", Face::Tools, "create_agent_account", create(false)).await;
    assert_eq!(refused.unwrap_err().reason, Reason::ConfirmMissing);
    assert!(!house.a.governance.snapshot().agents.iter().any(|a| a.principal.name == "quiet"));
    let made =
        house.perform("dora", Face::Tools, "create_agent_account", create(true)).await.unwrap();
    assert!(made.get("client_secret").is_none(), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_ends_with_its_tokens() {
    let (house, indexer) = House::with_indexer().await;
    let a = &house.a.governance;
    let rotate = async || {
        let arguments = json!({"agent": "indexer", "confirm": true});
        house.perform("bob", Face::Rest, "rotate_agent_account_secret", arguments).await.unwrap()
    };
    let first = rotate().await["client_secret"].as_str().unwrap().to_owned();
    let session = |governance: &Governance| governance.snapshot().agents[0].session;
    let before: SessionId = session(a);
    assert!(a.snapshot().is_revoked(indexer.credential.parse().unwrap()));
    assert!(!a.snapshot().still_good(&indexer, a.clock().now()), "its former tokens are dead");
    let token = Caller { credential: Arc::from(before.to_string()), ..indexer.clone() };
    assert!(a.snapshot().still_good(&token, a.clock().now()));
    let second = rotate().await["client_secret"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_ne!(session(a), before);
    assert!(!a.snapshot().still_good(&token, a.clock().now()));
    let b = &house.b.governance;
    eventually("b knows", async || !b.snapshot().still_good(&token, b.clock().now())).await;
    // Off and on again: what was out stays dead.
    let token = Caller { credential: Arc::from(session(a).to_string()), ..indexer.clone() };
    for enabled in [false, true] {
        let arguments = json!({"agent": "indexer", "enabled": enabled, "confirm": true});
        house.perform("sec", Face::Rest, "set_agent_account_status", arguments).await.unwrap();
        assert!(!a.snapshot().still_good(&token, a.clock().now()), "enabled: {enabled}");
    }
    // No secret anywhere but in that answer.
    let rows = house.all_rows(&EventFilter::default()).await;
    assert!(rows.iter().any(|row| row.action_type == "agent_account_secret_rotated"));
    for row in rows {
        let detail = house.a.store.get_event(row.id, Default::default()).await.unwrap();
        let text = format!("{detail:?}");
        for secret in [&first, &second] {
            assert!(!text.contains(secret.as_str()), "a secret in the trail");
        }
    }
    assert!(!format!("{:?}", a.snapshot().agents).contains(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gives_no_humans_word() {
    let (house, indexer) = House::with_indexer().await;
    house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let a = &house.a.governance;
    let confirmations = a.confirmations();
    let for_bob = house.for_person(&indexer, "bob");
    // Bob's own call: neither the agent's client nor its operations answer for him.
    let pending = confirmations.request(house.waiting("bob", &["caller"])).await.unwrap();
    for caller in [&indexer, &for_bob] {
        for approve in [true, false] {
            let refused = confirmations.settle(caller, pending.id, approve, Via::Elicitation).await;
            assert_eq!(refused.unwrap_err().reason, Reason::EntityNotFound);
            let arguments =
                json!({"id": pending.id.to_string(), "approve": approve, "confirm": true});
            for face in [Face::Rest, Face::Tools] {
                let refused =
                    house.as_caller(caller, face, "decide_confirmation", arguments.clone()).await;
                assert_eq!(refused.unwrap_err().reason, Reason::RoleMissing, "{face:?}");
            }
        }
    }
    // The agent's own call: its owner answers, out of band; nobody else, and not for a group.
    assert_eq!(a.snapshot().person_behind(&indexer), Some(house.caller("bob").user.id));
    assert_eq!(a.snapshot().person_behind(&for_bob), Some(house.caller("bob").user.id));
    let server = a.snapshot().server("tickets").unwrap().id;
    let binding =
        |caller: &Caller| confirmations.binding(caller, server, Target::Tool("pay"), [7; 32], "{}");
    let all = [binding(&indexer), binding(&for_bob), binding(&house.caller("bob"))];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "one call each");
    let mut new = house.waiting("bob", &["caller", "group:security"]);
    new.binding = binding(&indexer);
    let pending = confirmations.request(new).await.unwrap();
    let decide = async |person: &str| {
        let arguments = json!({"id": pending.id.to_string(), "approve": true});
        house.perform(person, Face::Rest, "decide_confirmation", arguments).await
    };
    assert_eq!(decide("carol").await.unwrap_err().reason, Reason::EntityNotFound);
    assert_eq!(decide("bob").await.unwrap()["status"], "pending");
    assert_eq!(decide("dora").await.unwrap()["status"], "agreed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_names_both_and_shows_an_agent_its_own_part() {
    let (house, indexer) = House::with_indexer().await;
    house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let for_bob = house.for_person(&indexer, "bob");
    let list = async |caller: &Caller, arguments: Value| {
        let _ = house.all_rows(&EventFilter::default()).await;
        let found = house.as_caller(caller, Face::Tools, "list_audit_logs", arguments).await;
        found.unwrap()["data"].as_array().unwrap().clone()
    };
    let bob = house.caller("bob");
    for caller in [&bob, &indexer, &for_bob] {
        house.as_caller(caller, Face::Rest, "list_servers", json!({})).await.unwrap();
    }
    let agent = indexer.user.id.to_string();
    let own = list(&indexer, json!({})).await;
    assert!(own.iter().all(|row| row["actor_id"] == json!(agent) && row["actor_kind"] == "agent"));
    assert!(own.iter().all(|row| row["on_behalf_of"].is_null() && row["act"]["name"] == "indexer"));
    let behalf = list(&for_bob, json!({})).await;
    assert_eq!(behalf.len(), 1, "not what Bob did himself: {behalf:?}");
    assert_eq!(behalf[0]["on_behalf_of"], "bob@example.com");
    assert_eq!(behalf[0]["act"], json!({"sub": agent, "name": "indexer"}));
    assert_eq!(behalf[0]["actor_email"], "bob@example.com");
    assert!(list(&bob, json!({})).await.len() > 2, "Bob sees what was done in his name");
    let root = house.caller("root");
    for name in ["indexer", "agent:indexer", agent.as_str(), indexer.user.email.as_str()] {
        let found = list(&root, json!({"agent_id": name})).await;
        assert_eq!(found.len(), 2, "{name}: {found:?}");
    }
    assert_eq!(list(&root, json!({"agent_id": "nobody"})).await.len(), 0);
    // One entry in full, for those whose it is.
    let get = |caller: Caller| {
        let id = json!({"id": behalf[0]["id"]});
        let house = &house;
        async move { house.as_caller(&caller, Face::Tools, "get_audit_log", id).await }
    };
    for caller in [&bob, &root, &for_bob] {
        assert_eq!(get(caller.clone()).await.unwrap()["on_behalf_of"], "bob@example.com");
    }
    for caller in [indexer.clone(), house.caller("carol")] {
        assert_eq!(get(caller).await.unwrap_err().reason, Reason::EntityNotFound);
    }
    let of_bob = list(&bob, json!({})).await;
    let alone = of_bob.iter().find(|row| row["act"].is_null()).unwrap();
    let refused =
        house.as_caller(&for_bob, Face::Tools, "get_audit_log", json!({"id": alone["id"]})).await;
    assert_eq!(refused.unwrap_err().reason, Reason::EntityNotFound, "what Bob did himself");
}
