//! Who may do what, and what is hidden from whom.

use gateway_core::reason::Reason;
use serde_json::{Value, json};

use super::house::House;
use crate::{Face, OPERATIONS};

fn names(value: &Value, member: &str) -> Vec<String> {
    let rows = value["data"].as_array().unwrap().iter();
    rows.map(|row| row[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_gate_operations() {
    use Reason::{EntityNotFound, RoleMissing, ServerNotFound};
    let house = House::open().await;
    let people = ["root", "sec", "it", "desk", "bob", "carol"];
    let yes = None;
    let no = Some(RoleMissing);
    let gone = Some(ServerNotFound);
    let absent = Some(EntityNotFound);
    let bad = Some(Reason::InvalidParams);
    let taken = Some(Reason::Conflict);
    let status = json!({"server_id": "tickets", "status": "active", "confirm": true});
    let other = json!({"principal": "bob@example.com", "server": "tickets", "tool": "list"});
    let own = json!({"server": "tickets", "tool": "list"});
    let limit = json!({"name": "matrix", "principals": ["everyone"], "server": "*",
        "budget": {"calls": 100}, "confirm": true});
    let key = json!({"user": "bob@example.com", "confirm": true});
    let password =
        json!({"user": "bob@example.com", "password": "correct horse battery", "confirm": true});
    let link = json!({"user": "bob@example.com", "confirm": true});
    let spec = |name: &str| json!({"name": name, "effect": "deny", "principals": ["everyone"], "server": "vault"});
    let cases: &[(&str, Value, [Option<Reason>; 6])] = &[
        ("list_servers", json!({}), [yes, yes, yes, yes, yes, yes]),
        ("list_servers", json!({"scope": "all"}), [yes, yes, yes, yes, no, no]),
        ("get_server", json!({"server_id": "tickets"}), [yes, yes, yes, yes, yes, gone]),
        ("get_server", json!({"name": "Tickets"}), [yes, yes, yes, yes, yes, gone]),
        ("get_server", json!({"server_id": "vault"}), [yes, yes, yes, yes, gone, gone]),
        ("get_server", json!({"server_id": "absent"}), [gone; 6]),
        ("list_server_tools", json!({"server_id": "tickets"}), [yes, yes, yes, yes, yes, gone]),
        ("list_server_resources", json!({"server_id": "tickets"}), [yes, yes, yes, yes, yes, gone]),
        ("list_server_prompts", json!({"server_id": "tickets"}), [yes, yes, yes, yes, yes, gone]),
        ("list_policies", json!({}), [yes, yes, yes, yes, no, no]),
        ("list_server_policies", json!({"server_id": "tickets"}), [yes, yes, yes, yes, no, no]),
        ("get_policy", json!({"policy_id": "not much at once"}), [yes, yes, yes, yes, no, no]),
        ("get_policy", json!({"policy_id": "x"}), [absent, absent, absent, absent, no, no]),
        (
            "create_policy",
            json!({"spec": spec("NEW"), "confirm": true}),
            [yes, yes, no, no, no, no],
        ),
        (
            "update_policy",
            json!({"policy_id": "x", "spec": spec("y"), "confirm": true}),
            [absent, absent, no, no, no, no],
        ),
        (
            "delete_policy",
            json!({"policy_id": "x", "confirm": true}),
            [absent, absent, no, no, no, no],
        ),
        ("list_policy_versions", json!({}), [yes, yes, yes, yes, no, no]),
        (
            "restore_policy",
            json!({"policy_id": "x", "version": 1, "confirm": true}),
            [absent, absent, no, no, no, no],
        ),
        ("replay_policy", json!({"spec": spec("z")}), [yes, yes, no, no, no, no]),
        ("explain_access", other, [yes, yes, yes, yes, yes, no]),
        ("explain_access", own, [yes, yes, yes, yes, yes, gone]),
        ("list_audit_logs", json!({}), [yes; 6]),
        ("get_audit_log", json!({"id": "x"}), [absent; 6]),
        ("export_audit_logs", json!({}), [yes; 6]),
        ("export_analytics_dataset", json!({"dataset": "top_tools"}), [yes, no, no, no, no, no]),
        (
            "export_server_analytics",
            json!({"server_id": "tickets", "dataset": "usage"}),
            [yes, no, no, no, no, no],
        ),
        (
            "export_server_analytics",
            json!({"server_id": "absent", "dataset": "usage"}),
            [gone, no, no, no, no, no],
        ),
        ("list_confirmations", json!({}), [yes; 6]),
        ("get_confirmation", json!({"id": "x"}), [absent; 6]),
        ("decide_confirmation", json!({"id": "x", "approve": true, "confirm": true}), [absent; 6]),
        ("set_server_status", status, [yes, no, yes, no, no, no]),
        ("list_tool_definition_changes", json!({}), [yes, yes, yes, no, no, no]),
        (
            "list_tool_definition_changes",
            json!({"server_id": "absent"}),
            [gone, gone, gone, no, no, no],
        ),
        (
            "approve_tool_definitions",
            json!({"server_id": "tickets", "hashes": ["x"], "confirm": true}),
            [bad, bad, bad, no, no, no],
        ),
        ("list_limits", json!({}), [yes, yes, yes, no, no, no]),
        ("list_limits", json!({"server_id": "absent"}), [gone, gone, gone, no, no, no]),
        ("set_limit", limit, [yes, no, yes, no, no, no]),
        ("delete_limit", json!({"name": "x", "confirm": true}), [absent, no, absent, no, no, no]),
        ("get_security_scanner_settings", json!({}), [yes, yes, yes, yes, no, no]),
        (
            "get_security_scanner_settings",
            json!({"server_id": "tickets"}),
            [yes, yes, yes, yes, no, gone],
        ),
        (
            "get_security_scanner_settings",
            json!({"server_id": "absent"}),
            [gone, gone, gone, gone, gone, gone],
        ),
        ("list_security_scanner_changes", json!({}), [yes, yes, yes, yes, no, no]),
        (
            "list_security_scanner_changes",
            json!({"server_id": "vault"}),
            [yes, yes, yes, yes, gone, gone],
        ),
        (
            "update_security_scanner_settings",
            json!({"server_id": "tickets", "settings": {"limit": 4096}, "confirm": true}),
            [yes, yes, no, no, no, no],
        ),
        (
            "update_security_scanner_settings",
            json!({"server_id": "absent", "settings": {}, "confirm": true}),
            [gone, gone, no, no, no, no],
        ),
        (
            "update_security_scanner_settings",
            json!({"settings": {"modes": {"tool_cal": {}}}, "confirm": true}),
            [bad, bad, no, no, no, no],
        ),
        ("test_scanner", json!({"text": "x"}), [yes, yes, yes, no, no, no]),
        (
            "test_scanner",
            json!({"text": "x", "server_id": "tickets"}),
            [yes, yes, yes, gone, no, gone],
        ),
        ("list_catalog_servers", json!({}), [yes; 6]),
        (
            "create_server",
            json!({"slug": "NEW", "url": "http://127.0.0.1:9/mcp", "confirm": true}),
            [yes, no, yes, no, no, no],
        ),
        (
            "update_server",
            json!({"server_id": "tickets", "title": "Tickets", "confirm": true}),
            [yes, no, yes, no, no, no],
        ),
        (
            "update_server",
            json!({"server_id": "absent", "title": "Tickets", "confirm": true}),
            [gone, no, gone, no, no, no],
        ),
        ("create_api_key", key, [yes, no, yes, no, yes, no]),
        ("list_api_keys", json!({"user": "bob@example.com"}), [yes, yes, yes, yes, yes, no]),
        ("request_access", json!({"server_id": "vault", "reason": "r", "confirm": true}), [yes; 6]),
        ("list_access_requests", json!({}), [yes; 6]),
        ("cancel_access_request", json!({"id": "x", "confirm": true}), [absent; 6]),
        (
            "decide_access_request",
            json!({"id": "x", "decision": "approve", "confirm": true}),
            [absent; 6],
        ),
        (
            "create_agent_account",
            json!({"name": "NEW", "confirm": true}),
            [yes, yes, yes, no, no, no],
        ),
        ("list_agent_accounts", json!({}), [yes; 6]),
        ("get_agent_account", json!({"agent": "x"}), [absent; 6]),
        (
            "set_agent_account_status",
            json!({"agent": "x", "enabled": true, "confirm": true}),
            [absent; 6],
        ),
        ("rotate_agent_account_secret", json!({"agent": "x", "confirm": true}), [absent; 6]),
        ("create_delegation", json!({"agent": "x", "confirm": true}), [absent; 6]),
        ("list_connections", json!({}), [yes; 6]),
        ("list_connections", json!({"user": "bob@example.com"}), [yes, yes, yes, yes, yes, no]),
        ("disconnect_server", json!({"server_id": "tickets", "confirm": true}), [absent; 6]),
        (
            "disconnect_server",
            json!({"server_id": "tickets", "user": "bob@example.com", "confirm": true}),
            [absent, absent, absent, no, absent, no],
        ),
        ("list_delegations", json!({}), [yes; 6]),
        ("list_oauth_sessions", json!({}), [yes; 6]),
        ("list_oauth_sessions", json!({"user": "bob@example.com"}), [yes, yes, yes, yes, yes, no]),
        ("revoke_oauth_session", json!({"id": "x", "confirm": true}), [absent; 6]),
        ("revoke_delegation", json!({"id": "x", "confirm": true}), [absent; 6]),
        (
            "revoke_api_key",
            json!({"id": "x", "confirm": true}),
            [absent, absent, absent, absent, absent, absent],
        ),
        ("list_api_keys", json!({}), [yes; 6]),
        ("list_roles", json!({}), [yes; 6]),
        ("list_users", json!({}), [yes, yes, yes, yes, no, no]),
        ("get_user", json!({"user": "bob@example.com"}), [yes, yes, yes, yes, yes, absent]),
        ("get_user", json!({"user": "nobody@example.com"}), [absent; 6]),
        (
            "create_user",
            json!({"email": "new@example.com", "roles": ["king"], "confirm": true}),
            [bad, no, bad, no, no, no],
        ),
        (
            "update_user",
            json!({"user": "bob@example.com", "name": "Bob", "confirm": true}),
            [yes, no, yes, no, no, no],
        ),
        (
            "update_user",
            json!({"user": "sec@example.com", "name": "Sec", "confirm": true}),
            [yes, no, no, no, no, no],
        ),
        ("list_groups", json!({}), [yes, yes, yes, yes, no, no]),
        ("get_group", json!({"group": "engineering"}), [yes, yes, yes, yes, no, no]),
        ("get_group", json!({"group": "nothing"}), [absent, absent, absent, absent, no, no]),
        (
            "create_group",
            json!({"name": "engineering", "confirm": true}),
            [taken, no, taken, no, no, no],
        ),
        (
            "update_group",
            json!({"group": "engineering", "remove": ["carol@example.com"], "confirm": true}),
            [yes, no, yes, no, no, no],
        ),
        (
            "delete_group",
            json!({"group": "nothing", "confirm": true}),
            [absent, no, absent, no, no, no],
        ),
        (
            "update_agent_account",
            json!({"agent": "x", "confirm": true}),
            [absent, absent, absent, no, no, no],
        ),
        ("list_browser_sessions", json!({}), [yes; 6]),
        ("revoke_browser_session", json!({"id": "x", "confirm": true}), [absent; 6]),
        ("set_local_password", password, [yes, no, no, no, no, no]),
        ("create_sign_in_link", link, [yes, no, no, no, no, no]),
    ];
    for operation in OPERATIONS {
        assert!(cases.iter().any(|case| case.0 == operation.name), "{} is missing", operation.name);
    }
    for (operation, arguments, expected) in cases {
        for (person, expected) in people.iter().zip(expected) {
            for face in [Face::Tools, Face::Rest] {
                let mut arguments = arguments.clone();
                if arguments["name"] == "NEW" {
                    arguments["name"] = json!(format!("{person}-{face:?}"));
                }
                if arguments["spec"]["name"] == "NEW" {
                    arguments["spec"]["name"] = json!(format!("{person}-{face:?}"));
                }
                if arguments["slug"] == "NEW" {
                    arguments["slug"] = json!(format!("{person}-{face:?}").to_lowercase());
                }
                let got = house.perform(person, face, operation, arguments.clone()).await;
                let got = got.err().map(|refused| refused.reason);
                assert_eq!(got, *expected, "{person} {face:?} {operation} {arguments}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_they_may_use() {
    let house = House::open().await;
    let perform = |person: &'static str, operation: &'static str, arguments: Value| {
        house.perform(person, Face::Tools, operation, arguments)
    };
    let servers = perform("bob", "list_servers", json!({})).await.unwrap();
    assert_eq!(names(&servers, "slug"), ["runlayer", "tickets"]);
    let servers = perform("carol", "list_servers", json!({})).await.unwrap();
    assert_eq!(names(&servers, "slug"), ["runlayer"]);
    let all = perform("it", "list_servers", json!({"scope": "all"})).await.unwrap();
    assert_eq!(names(&all, "slug"), ["runlayer", "tickets", "vault"]);
    let found =
        perform("it", "list_servers", json!({"scope": "all", "query": "VAU"})).await.unwrap();
    assert_eq!(names(&found, "slug"), ["vault"]);

    // Pages, and cursors that are good for one person and one operation.
    let first = perform("it", "list_servers", json!({"scope": "all", "limit": 2})).await.unwrap();
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    let next = json!({"scope": "all", "limit": 2, "cursor": cursor});
    let second = perform("it", "list_servers", next.clone()).await.unwrap();
    assert_eq!(
        (names(&second, "slug"), &second["next_cursor"]),
        (vec!["vault".into()], &Value::Null)
    );
    for (person, operation, arguments) in
        [("root", "list_servers", next), ("it", "list_policies", json!({"cursor": cursor}))]
    {
        let refused = house.perform(person, Face::Tools, operation, arguments).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams);
    }

    let detail = perform("bob", "get_server", json!({"server_id": "tickets"})).await.unwrap();
    let id = detail["id"].as_str().unwrap();
    let url = format!("https://gw.example.com/api/v1/proxy/{id}/mcp");
    assert_eq!(detail["proxy_url"], json!(url));
    let link = detail["install_links"]["cursor"].as_str().unwrap();
    assert!(
        link.starts_with("cursor://anysphere.cursor-deeplink/mcp/install?name=tickets&config=")
    );
    assert!(detail.get("url").is_none(), "where a server is concerns admins");
    let detail = perform("it", "get_server", json!({"server_id": "vault"})).await.unwrap();
    assert_eq!(detail["url"], "http://127.0.0.1:9/vault");
    assert_eq!(
        (&detail["auth_mode"], &detail["credential_present"]),
        (&json!("header"), &json!(false))
    );
    for wrong in [json!({}), json!({"server_id": "tickets", "name": "Tickets"})] {
        let refused = perform("bob", "get_server", wrong).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams);
    }

    // Listings: the filter's answer for people, reasons for admins.
    let tools = perform("bob", "list_server_tools", json!({"server_id": "tickets"})).await.unwrap();
    assert_eq!(names(&tools, "name"), ["list", "pay"]);
    let tools = perform("it", "list_server_tools", json!({"server_id": "tickets"})).await.unwrap();
    assert_eq!(names(&tools, "name"), ["list", "pay", "drop_all"]);
    let rows = tools["data"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["allowed"] == false && row["why_withheld"].is_string()));
    let resources = perform("bob", "list_server_resources", json!({"server_id": "tickets"})).await;
    assert_eq!(names(&resources.unwrap(), "name"), ["t://1"]);
    let prompts = perform("bob", "list_server_prompts", json!({"server_id": "tickets"})).await;
    assert_eq!(names(&prompts.unwrap(), "name"), [""; 0]);

    // A server that is switched off lists nothing.
    let off = json!({"server_id": "tickets", "status": "disabled", "confirm": true});
    perform("it", "set_server_status", off).await.unwrap();
    let refused = perform("bob", "list_server_tools", json!({"server_id": "tickets"})).await;
    assert_eq!(refused.unwrap_err().reason, Reason::ServerDisabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_say_why_and_hide_what_must_be_hidden() {
    let house = House::open().await;
    let a = &house.a.governance;
    a.learn(&a.snapshot().server("tickets").unwrap().clone(), None, &house.caller("bob"))
        .await
        .unwrap();
    let explain = |person: &'static str, arguments: Value| {
        house.perform(person, Face::Tools, "explain_access", arguments)
    };
    let ask = |tool: &str| json!({"server": "tickets", "tool": tool});
    let allowed = explain("bob", ask("list")).await.unwrap();
    assert_eq!(allowed["verdict"], "allow");
    assert_eq!(allowed["policies"][0]["name"], "engineers use tickets");
    let mut large = ask("pay");
    large["arguments"] = json!({"amount": 101});
    let denied = explain("bob", large.clone()).await.unwrap();
    assert_eq!((&denied["verdict"], &denied["message"]), (&json!("deny"), &json!("ask finance")));
    large["arguments"] = json!({"amount": 100});
    assert_eq!(explain("bob", large).await.unwrap()["verdict"], "allow");

    // What exists and is withheld, and what does not exist.
    let mut withheld = explain("bob", ask("drop_all")).await.unwrap();
    let absent = explain("bob", ask("no_such_tool")).await.unwrap();
    withheld["target"] = absent["target"].clone();
    assert_eq!(withheld, absent);
    assert_eq!(withheld["policies"], json!([]));
    let mut for_admin = ask("drop_all");
    for_admin["principal"] = json!("bob@example.com");
    assert_eq!(explain("sec", for_admin.clone()).await.unwrap()["principal"], "bob@example.com");
    for_admin["principal"] = json!("nobody@example.com");
    let unknown = explain("bob", for_admin.clone()).await.unwrap_err();
    for_admin["principal"] = json!("carol@example.com");
    assert_eq!(unknown, explain("bob", for_admin).await.unwrap_err(), "people are hidden, too");
    for wrong in
        [json!({"server": "tickets"}), json!({"server": "tickets", "tool": "a", "prompt": "b"})]
    {
        assert_eq!(explain("bob", wrong).await.unwrap_err().reason, Reason::InvalidParams);
    }
}
