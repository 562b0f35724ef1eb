//! Adding and changing servers: previews, consequences, whose secrets go where, and who may.

use gateway_core::reason::Reason;
use gateway_core::server::UpstreamAuth;
use gateway_store::audit::EventFilter;
use serde_json::{Value, json};

use super::house::{House, STATE, eventually};
use crate::testing::settings;
use crate::{Face, Refused};

impl House {
    async fn create(&self, arguments: Value) -> Result<Value, Refused> {
        self.perform("it", Face::Tools, "create_server", arguments).await
    }

    async fn update(&self, arguments: Value) -> Result<Value, Refused> {
        self.perform("it", Face::Tools, "update_server", arguments).await
    }

    async fn version(&self) -> i64 {
        self.a.store.catalogue_version().await.unwrap()
    }
}

fn with(base: &Value, more: &Value) -> Value {
    let mut both = base.clone();
    for (name, value) in more.as_object().unwrap() {
        both[name] = value.clone();
    }
    both
}

fn preview(refused: Refused) -> Value {
    assert_eq!(refused.reason, Reason::ConfirmMissing, "{refused}");
    refused.preview.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_previewed_made_recorded_and_seen_everywhere() {
    let house = House::open().await;
    let wiki = json!({
        "slug": "wiki", "title": "Wiki", "url": "https://wiki.example.com/mcp",
        "auth": {"mode": "header", "name": "Authorization", "value_env": "UPSTREAM_WIKI"},
        "icon": "data:image/png;base64,iVBORw0KGgo=", "sensitive": true,
        "labels": ["private", "untrusted"], "admins": ["DORA@example.com"]
    });
    let version = house.version().await;
    for confirm in [json!({}), json!({"confirm": false})] {
        let seen = preview(house.create(with(&wiki, &confirm)).await.unwrap_err());
        assert_eq!(seen["before"], Value::Null);
        let after = &seen["after"];
        assert_eq!(after["auth"]["value_env"], "UPSTREAM_WIKI");
        assert_eq!(
            (&after["admins"], &after["sensitive"]),
            (&json!(["dora@example.com"]), &json!(true))
        );
        assert!(after["icon"].as_str().unwrap().starts_with("data:image/png;base64,... (12 char"));
        assert_eq!(after["consequences"], json!(["no policy speaks of it yet: nobody may use it"]));
    }
    assert_eq!(house.version().await, version, "a preview changes nothing");

    let made = house.create(with(&wiki, &json!({"confirm": true}))).await.unwrap();
    let server = house.a.governance.snapshot().server("wiki").unwrap().clone();
    assert_eq!(made["id"], json!(server.id.to_string()));
    assert!(made["proxy_url"].as_str().unwrap().contains(&server.id.to_string()));
    let b = &house.b.governance;
    eventually("the other replica knows it", async || b.snapshot().server("wiki").is_some()).await;
    let detail = house.perform("it", Face::Rest, "get_server", json!({"server_id": "wiki"})).await;
    let detail = detail.unwrap();
    assert_eq!(
        (&detail["auth"], &detail["admins"]),
        (
            &json!({
                "mode": "header", "name": "authorization", "value_env": "UPSTREAM_WIKI"
            }),
            &json!(["dora@example.com"])
        )
    );
    assert_eq!((&detail["sensitive"], &detail["tool_count"]), (&json!(true), &json!(0)));
    assert_eq!(detail["labels"], json!(["untrusted", "private"]));
    let rows = house.all_rows(&EventFilter::default()).await;
    let row = rows.iter().find(|row| row.action_type == "server_created").unwrap();
    assert_eq!(row.actor_email.as_deref(), Some("it@example.com"));

    // Who administers it sees it, although no policy lets her in, and decides how it presents itself.
    let dora = async |operation: &'static str, arguments: Value| {
        house.perform("dora", Face::Rest, operation, arguments).await
    };
    let list = dora("list_servers", json!({"query": "wiki"})).await.unwrap();
    assert_eq!(
        (&list["data"][0]["slug"], &list["data"][0]["accessible"]),
        (&json!("wiki"), &json!(false))
    );
    assert_eq!(
        dora("get_server", json!({"server_id": "wiki"})).await.unwrap()["auth_mode"],
        "header"
    );
    let own =
        json!({"server_id": "wiki", "title": "Our wiki", "description": "a\nb", "sensitive": true});
    assert_eq!(
        dora("update_server", own).await.unwrap()["changed"],
        json!(["description", "title"])
    );
    for field in [
        json!({"slug": "w"}),
        json!({"url": "https://evil.example.com/"}),
        json!({"status": "disabled"}),
        json!({"auth": {"mode": "none"}}),
        json!({"admins": []}),
        json!({"sensitive": false}),
        json!({"labels": []}),
        json!({"catalog_entry": ""}),
    ] {
        let arguments = with(&json!({"server_id": "wiki", "confirm": true}), &field);
        let refused = dora("update_server", arguments).await.unwrap_err();
        assert_eq!(refused.reason, Reason::RoleMissing, "{field}");
        let name = field.as_object().unwrap().keys().next().unwrap().clone();
        assert!(refused.detail.starts_with(&name), "{refused}");
    }
    let other = json!({"server_id": "tickets", "title": "x", "confirm": true});
    assert_eq!(dora("update_server", other).await.unwrap_err().reason, Reason::RoleMissing);
    let refused =
        dora("create_server", json!({"slug": "d", "url": "https://d.example.com/"})).await;
    assert_eq!(refused.unwrap_err().reason, Reason::RoleMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_fills_in_what_is_absent() {
    let house = House::open().await;
    let list = async |arguments: Value| {
        house.perform("carol", Face::Tools, "list_catalog_servers", arguments).await.unwrap()
    };
    let first = list(json!({"limit": 10})).await;
    let next = list(json!({"limit": 10, "cursor": first["next_cursor"]})).await;
    assert_ne!(first["data"][0]["name"], next["data"][0]["name"]);
    let found = list(json!({"query": "DEEPwiki"})).await;
    assert_eq!(found["data"][0]["name"], "com.deepwiki/mcp");
    assert_eq!(list(json!({"query": "no such thing"})).await["data"], json!([]));

    let add = async |more: Value| house.create(with(&json!({"confirm": true}), &more)).await;
    let made = add(json!({"catalog_entry": "com.deepwiki/mcp"})).await.unwrap();
    assert_eq!(made["slug"], "deepwiki");
    add(json!({"catalog_entry": "app.linear/mcp", "slug": "issues", "title": "Issues"}))
        .await
        .unwrap();
    let snapshot = house.a.governance.snapshot();
    let (deepwiki, issues) =
        (snapshot.server("deepwiki").unwrap(), snapshot.server("issues").unwrap());
    assert_eq!(deepwiki.catalog_entry.as_deref(), Some("com.deepwiki/mcp"));
    assert_eq!((deepwiki.title.as_str(), deepwiki.auth.mode()), ("DeepWiki", "none"));
    assert_eq!((issues.title.as_str(), issues.auth.mode()), ("Issues", "oauth_user"));
    assert_eq!(
        list(json!({"query": "deepwiki"})).await["data"][0]["servers"],
        json!([]),
        "not hers"
    );
    let of_it =
        house.perform("root", Face::Tools, "list_catalog_servers", json!({"query": "deepwiki"}));
    assert_eq!(of_it.await.unwrap()["data"][0]["servers"], json!([]), "nobody may enter it yet");

    // What has to be added is said.
    let refused = add(json!({"catalog_entry": "com.zapier/mcp"})).await.unwrap_err();
    assert!(refused.detail.contains("\"name\":\"Authorization\",\"value_env\""), "{refused}");
    let refused = add(json!({"catalog_entry": "com.github/mcp"})).await.unwrap_err();
    assert!(refused.detail.contains("client_id"), "{refused}");
    let client =
        json!({"mode": "oauth_user", "client_id": "gw", "client_secret_env": "UPSTREAM_GITHUB"});
    add(json!({"catalog_entry": "com.github/mcp", "auth": client})).await.unwrap();
    let refused = add(json!({"catalog_entry": "com.deepwiki/mcp"})).await.unwrap_err();
    assert!(refused.detail.starts_with("slug: another server has it"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_names_the_field_and_changes_nothing() {
    let mut settings = settings();
    settings.servers.secret_dir = Some("/run/secrets/upstream".into());
    let house =
        House::open_with(&settings, std::sync::Arc::new(super::world::World::default())).await;
    let version = house.version().await;
    let header = |source: &str, value: &str| json!({"auth": {"mode": "header", "name": "X-Key", source: value}});
    let long = "x".repeat(9_000);
    let cases = [
        (json!({"slug": "UPPER"}), "slug: \"UPPER\" is not a slug"),
        (json!({"slug": "tickets"}), "slug: another server has it"),
        (json!({"slug": "runlayer"}), "slug: another server has it"),
        (json!({"slug": "d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c0b6"}), "slug: \"d0b2d0c6"),
        (json!({"slug": null}), "slug: required"),
        (json!({"url": null}), "url: required"),
        (json!({"url": "ftp://a.example.com/"}), "url: expected http://"),
        (json!({"url": "https://u:p@a.example.com/"}), "url: expected no credentials"),
        (json!({"url": "http://169.254.169.254/"}), "url: never allowed"),
        (json!({"title": ""}), "title: expected a name"),
        (json!({"title": "a\u{200b}b"}), "title: expected no control or invisible"),
        (json!({"description": "a\u{0}"}), "description: expected no control"),
        (json!({"description": long}), "description: expected at most"),
        (json!({"icon": "http://a.example.com/i.png"}), "icon: expected https://"),
        (json!({"icon": "javascript:alert(1)"}), "icon: expected https://"),
        (json!({"icon": "data:text/html;base64,AAAA"}), "icon: expected data:KIND"),
        (json!({"icon": format!("data:image/png;base64,{long}")}), "icon: expected at most"),
        (
            json!({"admins": ["bob@example.com", "ghost@example.com"]}),
            "admins.1: expected an active",
        ),
        (json!({"catalog_entry": "com.example/absent"}), "catalog_entry: expected the name"),
        (json!({"auth": {"mode": "basic"}}), "auth.mode: expected one of none, header"),
        (
            json!({"auth": {"mode": "none", "name": "x"}}),
            "auth.name: mode \"none\" takes no other key",
        ),
        (
            header("value_env", "HOME"),
            "auth.value_env: expected a variable whose name begins with UPSTREAM_",
        ),
        (
            header("value_file", "/etc/passwd"),
            "auth.value_file: expected a file below /run/secrets/upstream",
        ),
        (
            header("value_file", "/run/secrets/upstream/../root.key"),
            "auth.value_file: expected a file",
        ),
        (header("value", "s3cret"), "unknown field `value`"),
        (
            json!({"auth": {"mode": "oauth_shared", "client_id": "a", "client_secret_env": "PATH"}}),
            "auth.client_secret_env: expected a variable",
        ),
        (json!({"colour": "red"}), "unknown field `colour`"),
        (
            json!({"labels": ["private", "secret"]}),
            "labels.1: expected untrusted, private or outward",
        ),
        (json!({"labels": "private"}), "invalid type: string"),
        (json!({"sensitive": "true"}), "invalid type: string"),
        (json!({"confirm": "true"}), "invalid type: string"),
        (json!({"confirm": 1}), "invalid type: integer"),
    ];
    let good = json!({"slug": "new", "url": "https://new.example.com/mcp", "confirm": true});
    for (wrong, expected) in &cases {
        let refused = house.create(with(&good, wrong)).await.expect_err(expected);
        assert_eq!(refused.reason, Reason::InvalidParams, "{wrong}");
        assert!(refused.detail.contains(expected), "{wrong}: {refused}");
    }
    for (wrong, expected) in [
        (json!({}), "expected at least one field"),
        (json!({"slug": "vault"}), "slug: another server has it"),
        (json!({"url": "http://169.254.169.254/"}), "url: never allowed"),
        (header("value_env", "HOME"), "auth.value_env: expected"),
        (json!({"catalog_entry": "com.example/absent"}), "catalog_entry: expected"),
    ] {
        let base = json!({"server_id": "tickets", "confirm": true});
        let refused = house.update(with(&base, &wrong)).await.expect_err(expected);
        assert!(refused.detail.contains(expected), "{wrong}: {refused}");
    }
    // The server in this process keeps its place; its presentation and its status are free.
    for fixed in [
        json!({"url": "https://evil.example.com/"}),
        json!({"slug": "other"}),
        json!({"auth": {"mode": "none"}}),
        json!({"catalog_entry": "com.deepwiki/mcp"}),
    ] {
        let base = json!({"server_id": "runlayer", "confirm": true});
        let refused = house.update(with(&base, &fixed)).await.unwrap_err();
        assert!(refused.detail.contains("the server runlayer is built in"), "{refused}");
    }
    assert_eq!(house.version().await, version, "nothing was changed");
    // An address that does not resolve now may do so later: said, not refused.
    let later = json!({"slug": "later", "url": "https://nowhere.example.com/mcp"});
    let seen = preview(house.create(later).await.unwrap_err());
    assert!(seen["after"]["consequences"][0].as_str().unwrap().contains("cannot be reached now"));
    let file = with(&good, &header("value_file", "/run/secrets/upstream/new"));
    house.create(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_shows_its_consequences_and_takes_policies_along() {
    let house = House::open().await;
    let a = &house.a.governance;
    let server = a.snapshot().server("tickets").unwrap().clone();
    a.learn(&server, None, &house.caller("bob")).await.unwrap();
    let version = house.version().await;
    let rename = json!({"server_id": "tickets", "slug": "issues", "title": "Issues"});
    let seen = preview(house.update(rename.clone()).await.unwrap_err());
    assert_eq!(
        (&seen["before"]["slug"], &seen["after"]["slug"]),
        (&json!("tickets"), &json!("issues"))
    );
    assert_eq!(
        (&seen["before"]["title"], &seen["after"]["title"]),
        (&json!("Tickets"), &json!("Issues"))
    );
    assert!(seen["before"].get("url").is_none(), "what stays is not shown: {seen}");
    assert_eq!(seen["after"]["policies"].as_array().unwrap().len(), 2);
    let said = seen["after"]["consequences"].to_string();
    assert!(said.contains("2 policies follow") && said.contains("desired state"), "{said}");
    assert_eq!(house.version().await, version, "a preview changes nothing");
    house.update(with(&rename, &json!({"confirm": true}))).await.unwrap();
    let (snapshot, bob) = (a.snapshot(), house.caller("bob"));
    let issues = snapshot.server("issues").unwrap();
    assert!(snapshot.server("tickets").is_none() && a.may_enter(&snapshot, &bob, issues));
    assert_eq!(issues.tools.len(), 3, "a new name is no new place");
    let ask = json!({"server": "issues", "tool": "pay", "arguments": {"amount": 101}});
    let verdict = house.perform("bob", Face::Tools, "explain_access", ask).await.unwrap();
    assert_eq!(verdict["verdict"], "deny", "what was forbidden stays so: {verdict}");

    // Another address: tools are forgotten, and no secret goes there unasked.
    let moved = json!({"server_id": "issues", "url": "https://other.example.com/mcp"});
    let seen = preview(house.update(moved.clone()).await.unwrap_err());
    assert!(
        seen["after"]["consequences"][0].as_str().unwrap().starts_with("its 3 tools are forgotten")
    );
    let vault = |more: Value| with(&json!({"server_id": "vault", "confirm": true}), &more);
    let refused =
        house.update(vault(json!({"url": "https://evil.example.com/"}))).await.unwrap_err();
    assert!(refused.detail.starts_with("url: another host would get the secret"), "{refused}");
    house.update(vault(json!({"url": "http://127.0.0.1:9/elsewhere"}))).await.unwrap();
    let own =
        json!({"mode": "header", "name": "Authorization", "value_env": "GATEWAY_TEST_ABSENT"});
    let refused =
        house.update(vault(json!({"url": "https://evil.example.com/", "auth": own}))).await;
    assert!(refused.unwrap_err().detail.starts_with("auth.value_env: expected a variable"));
    let none = json!({"url": "https://evil.example.com/", "auth": {"mode": "none"}});
    house.update(vault(none)).await.unwrap();

    // An issuer of people's accounts, a switch, and the action that each change is.
    let oauth = |issuer: &str| json!({"auth": {"mode": "oauth_user", "issuer": issuer}});
    house.update(vault(oauth("https://as.example.com"))).await.unwrap();
    let change = with(&json!({"server_id": "vault"}), &oauth("https://other.example.com"));
    let seen = preview(house.update(change).await.unwrap_err());
    assert_eq!(
        seen["after"]["consequences"],
        json!(["people who connected an account connect again"])
    );
    assert_eq!(seen["before"]["auth"]["issuer"], "https://as.example.com");
    house.update(vault(json!({"status": "disabled"}))).await.unwrap();
    house
        .update(vault(json!({"sensitive": true, "icon": "https://example.com/i.png"})))
        .await
        .unwrap();
    let open = json!({"server_id": "vault", "sensitive": false, "icon": ""});
    let seen = preview(house.update(open).await.unwrap_err());
    assert_eq!(seen["after"]["icon"], Value::Null);
    assert!(seen["after"]["consequences"].to_string().contains("become readable"));
    let rows = house.all_rows(&EventFilter::default()).await;
    let count = |action: &str| rows.iter().filter(|row| row.action_type == action).count();
    assert_eq!((count("server_disabled"), count("server_updated")), (1, 5));
    let UpstreamAuth::OauthUser(client) = &a.snapshot().server("vault").unwrap().auth.clone()
    else {
        panic!("not changed")
    };
    assert_eq!(client.issuer.as_deref(), Some("https://as.example.com"));

    // Cedar text cannot be rewritten: it is named.
    let cedar = "[[policies]]\nname = \"by hand\"\ncedar = '''forbid (principal, action == Action::\"call_tool\", \
                 resource) when { context has client && context.client == \"tickets\" };'''\n";
    house.apply(&format!("{STATE}\n{cedar}")).await;
    a.refresh().await.unwrap();
    let refused = house.update(rename).await.unwrap_err();
    assert!(refused.detail.contains("the Cedar text of policy \"by hand\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_adds_or_changes_servers() {
    let house = House::open().await;
    let people = "[[users]]\nemail = \"dev@example.com\"\nroles = [\"developer\"]\n\
                  [[users]]\nemail = \"ana@example.com\"\nroles = [\"analytics_admin\"]\n";
    house.apply(&format!("{STATE}\n{people}")).await;
    house.a.governance.refresh().await.unwrap();
    let version = house.version().await;
    let new = json!({"slug": "new", "url": "https://new.example.com/mcp", "confirm": true});
    let old = json!({"server_id": "tickets", "title": "x", "confirm": true});
    for person in ["dev", "ana", "desk", "sec", "bob", "carol"] {
        for face in [Face::Tools, Face::Rest] {
            for (operation, arguments) in [("create_server", &new), ("update_server", &old)] {
                let refused = house.perform(person, face, operation, arguments.clone()).await;
                assert_eq!(
                    refused.unwrap_err().reason,
                    Reason::RoleMissing,
                    "{person} {operation}"
                );
            }
        }
    }
    assert_eq!(house.version().await, version);
    // A program does not, whatever its roles, and neither does one that acts for an administrator.
    let roles = json!({"name": "robot", "roles": ["it_admin"], "confirm": true});
    house.perform("it", Face::Rest, "create_agent_account", roles).await.unwrap();
    let leave = json!({"agent": "robot", "confirm": true});
    house.perform("it", Face::Rest, "create_delegation", leave).await.unwrap();
    let snapshot = house.a.governance.snapshot();
    let robot = snapshot.agents.iter().find(|agent| agent.principal.name == "robot").unwrap();
    let alone = snapshot.agent(robot.principal.id).unwrap().clone();
    let alone = gateway_core::caller::Caller::new(
        alone,
        gateway_core::caller::AuthMethod::OauthToken,
        robot.session.to_string(),
    );
    for caller in [house.for_person(&alone, "it"), alone] {
        for (operation, arguments) in [("create_server", &new), ("update_server", &old)] {
            let refused = house.as_caller(&caller, Face::Rest, operation, arguments.clone()).await;
            assert_eq!(refused.unwrap_err().reason, Reason::RoleMissing, "{operation}");
        }
    }
}
