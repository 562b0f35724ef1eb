//! The scanners' settings: who reads and changes them, what a change says before it is made, what holds afterwards on
//! each replica, and what is kept.

use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::scan::{Class, Guard, Mode};
use gateway_store::scanner::ScannersWrite;
use serde_json::{Value, json};

use super::house::{House, Replica, STATE, eventually};
use crate::{Face, Refused};

const GET: &str = "get_security_scanner_settings";
const UPDATE: &str = "update_security_scanner_settings";

fn mode(replica: &Replica, server: &str, class: Class) -> Mode {
    let snapshot = replica.governance.snapshot();
    let server = snapshot.server(server).unwrap();
    snapshot.scanning(server.id).modes.of(Guard::ToolCall, class)
}

fn results(class: &str, mode: Value) -> Value {
    json!({"modes": {"tool_call": {class: mode}}})
}

async fn update(house: &House, server: Option<&str>, settings: Value) -> Result<Value, Refused> {
    let mut arguments = json!({"settings": settings, "confirm": true});
    if let Some(server) = server {
        arguments["server_id"] = json!(server);
    }
    house.perform("sec", Face::Tools, UPDATE, arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_says_what_it_does_is_made_and_kept() {
    let house = House::open().await;
    let defaults = house.perform("sec", Face::Tools, GET, json!({})).await.unwrap();
    assert_eq!((&defaults["own"], &defaults["version"]), (&json!({}), &Value::Null));
    assert_eq!(defaults["effective"]["modes"]["tool_intent"]["secrets"], "monitor");
    assert_eq!(defaults["effective"]["limit"], 1 << 20);

    // The preview changes nothing.
    let draft = json!({"settings": results("secrets", json!("block"))});
    for confirm in [None, Some(json!(false))] {
        let mut asked = draft.clone();
        if let Some(confirm) = confirm {
            asked["confirm"] = confirm;
        }
        let asked = house.perform("sec", Face::Tools, UPDATE, asked).await.unwrap_err();
        assert_eq!(asked.reason, Reason::ConfirmMissing);
        let preview = asked.preview.unwrap();
        assert_eq!(preview["before"], json!({"own": {}}));
        let change = json!([{"setting": "modes.tool_call.secrets", "before": "monitor",
            "after": "block", "loosens": false}]);
        assert_eq!(preview["after"]["changes"], change);
        let servers = json!(["runlayer", "tickets", "vault"]);
        assert_eq!(
            (&preview["after"]["servers"], &preview["after"]["among_them"]),
            (&json!(3), &servers)
        );
        assert_eq!(preview["after"]["warning"], Value::Null);
    }
    for loose in [json!("true"), json!(1)] {
        let mut asked = draft.clone();
        asked["confirm"] = loose;
        assert!(house.perform("sec", Face::Tools, UPDATE, asked).await.is_err());
    }
    assert_eq!(mode(&house.a, "tickets", Class::Secrets), Mode::Monitor, "nothing was changed");

    // Made: here at once, on the other replica soon; a server's own goes over it.
    let origin = house.origin(Face::Rest);
    house.perform_from("sec", &origin, UPDATE, draft).await.unwrap();
    assert_eq!(mode(&house.a, "tickets", Class::Secrets), Mode::Block);
    let b = &house.b;
    eventually("b sees it", async || mode(b, "tickets", Class::Secrets) == Mode::Block).await;
    let own = update(&house, Some("tickets"), results("secrets", json!("mask"))).await.unwrap();
    assert_eq!(own["own"], results("secrets", json!("mask")));
    assert_eq!(own["effective"]["modes"]["tool_call"]["secrets"], "mask");
    eventually("b sees that", async || mode(b, "tickets", Class::Secrets) == Mode::Mask).await;
    assert_eq!(mode(b, "vault", Class::Secrets), Mode::Block);

    // Only what is named changes; what lets more pass is said.
    update(&house, None, json!({"limit": 4096})).await.unwrap();
    update(&house, None, results("injection", json!("mask"))).await.unwrap();
    let of_all = house.perform("desk", Face::Tools, GET, json!({})).await.unwrap();
    let expected =
        json!({"modes": {"tool_call": {"secrets": "block", "injection": "mask"}}, "limit": 4096});
    assert_eq!(of_all["own"], expected);
    assert_eq!((&of_all["servers"], &of_all["version"]), (&json!(["tickets"]), &json!(3)));
    assert_eq!(of_all["changed_by"], "sec@example.com");
    let loosened =
        json!({"settings": {"modes": {"tool_call": {"secrets": null}}, "over_limit": "pass"}});
    let asked = house.perform("root", Face::Tools, UPDATE, loosened).await.unwrap_err();
    let after = asked.preview.unwrap()["after"].clone();
    assert_eq!(after["warning"], "this lets more pass: modes.tool_call.secrets, over_limit");
    assert_eq!(after["own"]["modes"], json!({"tool_call": {"injection": "mask"}}));
    let loosened = json!({"settings": results("secrets", Value::Null)});
    let asked = house.perform("root", Face::Tools, UPDATE, loosened).await.unwrap_err();
    let touched = asked.preview.unwrap()["after"]["among_them"].clone();
    assert_eq!(touched, json!(["runlayer", "vault"]), "tickets has its own");

    // Back to what is above: cell by cell, or all of it.
    update(&house, Some("tickets"), results("secrets", Value::Null)).await.unwrap();
    assert_eq!(mode(&house.a, "tickets", Class::Secrets), Mode::Block);
    let reset = json!({"reset": true, "confirm": true});
    let reset = house.perform("sec", Face::Tools, UPDATE, reset).await.unwrap();
    assert_eq!((&reset["own"], &reset["version"]), (&json!({}), &Value::Null));
    assert_eq!(reset["effective"], defaults["effective"]);
    assert_eq!(mode(&house.a, "tickets", Class::Secrets), Mode::Monitor);

    // One record of the change, with before and after; and all of it in the history.
    let rows = house.rows(origin.call).await;
    let row =
        rows.iter().find(|row| row.action_type == "security_scanner_settings_updated").unwrap();
    assert_eq!(row.resource_name.as_deref(), Some("organisation"));
    let id = json!({"id": row.id.to_string()});
    let entry = house.perform("sec", Face::Rest, "get_audit_log", id).await.unwrap();
    let kept = entry["result"]["text"].as_str().unwrap();
    assert!(
        kept.contains(r#""before":{"own":{}}"#) && kept.contains(r#""secrets":"block""#),
        "{kept}"
    );
    let page = json!({"limit": 2});
    let page =
        house.perform("desk", Face::Tools, "list_security_scanner_changes", page).await.unwrap();
    let newest = &page["data"][0];
    assert_eq!(
        (&newest["after"], &newest["version"], &newest["by"]),
        (&Value::Null, &json!(4), &json!("sec@example.com"))
    );
    assert_eq!(newest["before"]["limit"], 4096);
    assert_eq!(
        (&page["data"][1]["server"], &page["data"][1]["after"]),
        (&json!("tickets"), &Value::Null)
    );
    let of_server = json!({"server_id": "tickets", "cursor": page["next_cursor"]});
    let changes = house
        .perform("desk", Face::Tools, "list_security_scanner_changes", of_server)
        .await
        .unwrap();
    assert_eq!(changes["data"].as_array().unwrap().len(), 1, "{changes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let house = House::open().await;
    update(&house, None, results("secrets", json!("block"))).await.unwrap();
    let version = house.a.governance.snapshot().version;
    let pattern = |name: &str, pattern: &str| json!({"patterns": [{"name": name, "class": "secrets", "pattern": pattern}]});
    let cases = [
        (
            None,
            json!({"modes": {"tool_cal": {"secrets": "mask"}}}),
            "settings.modes.tool_cal: no such guard",
        ),
        (
            None,
            json!({"modes": {"tool_call": {"secret": "mask"}}}),
            "settings.modes.tool_call.secret: no such class",
        ),
        (
            None,
            results("secrets", json!("redact")),
            "settings.modes.tool_call.secrets: unknown variant `redact`",
        ),
        (None, json!({"mode": {}}), "settings.mode: unknown field `mode`"),
        (None, json!({"limit": 1}), "settings.limit: expected 1024 to 8388608 bytes"),
        (None, json!({"limit": 9_000_000}), "settings.limit: expected 1024 to 8388608 bytes"),
        (None, json!({"external": true}), "settings.external: "),
        (None, pattern("a", "("), "settings.patterns[0].pattern: expected regex syntax"),
        (
            None,
            pattern("a", "x*"),
            "settings.patterns[0].pattern: expected a pattern that does not match the empty string",
        ),
        (None, pattern(" a", "xyz"), "settings.patterns[0].name: expected 1 to 64 of a-z"),
        (Some("tickets"), pattern("a", "xyz"), "settings.patterns: expected none"),
    ];
    for (server, settings, expected) in cases {
        let refused = update(&house, server, settings.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{settings}");
        assert!(refused.detail.starts_with(expected), "{settings}: {}", refused.detail);
    }
    let nothing = json!({"confirm": true});
    let refused = house.perform("sec", Face::Tools, UPDATE, nothing).await.unwrap_err();
    assert!(refused.detail.starts_with("settings: required"), "{}", refused.detail);
    let origin = house.origin(Face::Rest);
    let wrong = json!({"server_id": "absent", "settings": {}});
    let refused = house.perform_from("sec", &origin, UPDATE, wrong).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ServerNotFound);
    assert_eq!(house.rows(origin.call).await.len(), 1, "one record");
    assert_eq!(house.a.governance.snapshot().version, version, "nothing was changed");

    // Who changes what somebody else has changed meanwhile learns that.
    house.b.governance.refresh().await.unwrap();
    let store = &house.b.store;
    let done = store.write_scanners(None, Some("{\"limit\":2048}"), Some(1), None).await.unwrap();
    assert_eq!(done, ScannersWrite::Written);
    let refused = store.write_scanners(None, Some("{}"), Some(1), None).await.unwrap();
    assert_eq!(refused, ScannersWrite::Changed);

    // What cannot be read keeps what there was: never no scanning.
    house.a.governance.refresh().await.unwrap();
    update(&house, None, results("secrets", json!("block"))).await.unwrap();
    house.b.governance.refresh().await.unwrap();
    for broken in [
        "",
        "{\"limit\": 5}",
        "{\"modes\": {\"x\": {}}}",
        "{\"patterns\": [{\"name\": \"a\", \"class\": \"secrets\", \"pattern\": \"(\"}]}",
    ] {
        let stored = house.a.store.load_catalogue().await.unwrap().scanners;
        let at = stored.first().map(|one| one.version);
        store.write_scanners(None, Some(broken), at, None).await.unwrap();
        for replica in [&house.a, &house.b] {
            let error = replica.governance.refresh().await.unwrap_err().to_string();
            assert!(
                error.contains("the scanners' settings of the organisation"),
                "{broken}: {error}"
            );
            assert_eq!(mode(replica, "tickets", Class::Secrets), Mode::Block, "{broken}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_s_own_admin_reads_and_tries_and_changes_nothing() {
    let house = House::open().await;
    house.admin_of_tickets("carol").await;
    let own = json!({"server_id": "tickets"});
    let read = house.perform("carol", Face::Tools, GET, own.clone()).await.unwrap();
    assert_eq!((&read["server"], &read["servers"]), (&json!("tickets"), &Value::Null));
    assert_eq!(read["effective"]["patterns"], Value::Null);
    house
        .perform("carol", Face::Tools, "list_security_scanner_changes", own.clone())
        .await
        .unwrap();
    let tried = json!({"server_id": "tickets", "text": "x"});
    house.perform("carol", Face::Tools, "test_scanner", tried).await.unwrap();
    let refused = [
        (GET, json!({}), Reason::RoleMissing),
        (GET, json!({"server_id": "vault"}), Reason::ServerNotFound),
        ("list_security_scanner_changes", json!({}), Reason::RoleMissing),
        ("test_scanner", json!({"text": "x"}), Reason::RoleMissing),
        ("test_scanner", json!({"text": "x", "server_id": "vault"}), Reason::ServerNotFound),
        (
            UPDATE,
            json!({"server_id": "tickets", "settings": results("secrets", json!("block")), "confirm": true}),
            Reason::RoleMissing,
        ),
    ];
    for (operation, arguments, reason) in refused {
        let got = house.perform("carol", Face::Tools, operation, arguments.clone()).await;
        assert_eq!(got.unwrap_err().reason, reason, "{operation} {arguments}");
    }
    let bob = house.perform("bob", Face::Tools, GET, own).await.unwrap_err();
    assert_eq!(bob.reason, Reason::RoleMissing, "who may only use it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_tried_with_the_settings_of_its_server() {
    let house = House::open().await;
    let hidden = "be\u{202e}fore";
    let tried =
        async |arguments: Value| house.perform("it", Face::Rest, "test_scanner", arguments).await;
    let plain = tried(json!({"text": format!("a \"{hidden}\" b")})).await.unwrap();
    assert_eq!((&plain["read_as"], &plain["verdict"]), (&json!("text"), &json!("pass")));
    let found = &plain["findings"][0];
    assert_eq!(
        (&found["class"], &found["mode"], &found["path"]),
        (&json!("hidden_characters"), &json!("monitor"), &json!(""))
    );
    assert_eq!(plain["found"], 1, "{plain}");
    assert_eq!(plain["masked"], format!("a \"{hidden}\" b"), "what is only watched stays");

    let as_json = json!({"a": [{"b": hidden}], "c": "clean"}).to_string();
    update(&house, Some("tickets"), results("hidden_characters", json!("mask"))).await.unwrap();
    let mut ask = json!({"text": as_json, "server_id": "tickets"});
    let masked = tried(ask.clone()).await.unwrap();
    assert_eq!((&masked["read_as"], &masked["verdict"]), (&json!("json"), &json!("mask")));
    let found = &masked["findings"][0];
    assert_eq!((&found["path"], &found["mode"]), (&json!("/a/0/b"), &json!("mask")), "{masked}");
    let (offset, length) = (found["offset"].as_u64().unwrap(), found["length"].as_u64().unwrap());
    let there = &as_json[offset as usize..(offset + length) as usize];
    assert!(there.contains('\u{202e}'), "{there:?}");
    let after: Value = serde_json::from_str(masked["masked"].as_str().unwrap()).unwrap();
    assert!(!after.to_string().contains('\u{202e}'), "{after}");
    assert_eq!(after["c"], "clean");
    // Another guard has its own modes.
    ask["guard"] = json!("tool_intent");
    assert_eq!(tried(ask.clone()).await.unwrap()["verdict"], "pass");
    ask["guard"] = json!("tool_call");
    update(&house, Some("tickets"), results("hidden_characters", json!("block"))).await.unwrap();
    let blocked = tried(ask.clone()).await.unwrap();
    assert_eq!((&blocked["verdict"], &blocked["masked"]), (&json!("block"), &Value::Null));
    update(&house, Some("tickets"), results("hidden_characters", json!("off"))).await.unwrap();
    let off = tried(ask.clone()).await.unwrap();
    assert_eq!((&off["verdict"], &off["findings"][0]["mode"]), (&json!("pass"), &json!("off")));
    // The organisation's own patterns; compiled once.
    let own =
        json!({"patterns": [{"name": "project", "class": "secrets", "pattern": "PRJ-[0-9]{6}"}]});
    update(&house, None, own.clone()).await.unwrap();
    let detectors = || house.a.governance.snapshot().scanners.scanning(None).detectors.clone();
    let compiled = detectors();
    update(&house, None, results("secrets", json!("mask"))).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&compiled, &detectors()), "compiled anew");
    let found = tried(json!({"text": "see PRJ-123456, please"})).await.unwrap();
    assert_eq!(
        (&found["findings"][0]["rule"], &found["findings"][0]["offset"]),
        (&json!("project"), &json!(4))
    );
    assert!(!found["masked"].as_str().unwrap().contains("123456"), "{found}");
    let less = json!({"settings": {"patterns": []}});
    let asked = house.perform("sec", Face::Tools, UPDATE, less).await.unwrap_err();
    assert_eq!(asked.preview.unwrap()["after"]["warning"], "this lets more pass: patterns");
    let read = house.perform("it", Face::Rest, GET, json!({})).await.unwrap();
    assert_eq!(read["effective"]["patterns"], own["patterns"]);
    // Longer than what is scanned.
    update(&house, Some("tickets"), json!({"limit": 1024})).await.unwrap();
    ask["text"] = json!("x".repeat(1025));
    assert_eq!(tried(ask.clone()).await.unwrap()["verdict"], "refuse_unread");
    update(&house, Some("tickets"), json!({"over_limit": "pass"})).await.unwrap();
    assert_eq!(tried(ask.clone()).await.unwrap()["verdict"], "pass_unread");
    ask["text"] = json!("x".repeat(1024));
    assert_eq!(tried(ask).await.unwrap()["verdict"], "pass");
    // What is no JSON is text; nothing panics, and what is too long is refused.
    for text in ["", "{", "{\"a\":1,\"a\":2}", "\\u0000\0", "\u{feff}{}", "[\"\\ud800\"]"] {
        assert_eq!(tried(json!({"text": text})).await.unwrap()["read_as"], "text", "{text:?}");
    }
    let refused = tried(json!({"text": "x".repeat(65_537)})).await.unwrap_err();
    assert_eq!(
        (refused.reason, refused.detail.as_str()),
        (Reason::InvalidParams, "text: expected at most 65536 bytes")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_what_holds_and_a_restart_finds_it() {
    let house = House::open().await;
    let before = house.a.governance.snapshot();
    let all = "[scanners]\nlimit = 65536\n[scanners.modes]\ntool_call = { secrets = \"mask\" }\n";
    let state = STATE.replace(
        "slug = \"tickets\"\n",
        "slug = \"tickets\"\nscanners = { modes = { tool_call = { secrets = \"block\" } } }\n",
    );
    house.apply(&format!("{all}{state}")).await;
    let snapshot = house.a.governance.refresh().await.unwrap();
    assert_eq!(mode(&house.a, "tickets", Class::Secrets), Mode::Block);
    assert_eq!(mode(&house.a, "vault", Class::Secrets), Mode::Mask);
    let id = |slug: &str| snapshot.server(slug).unwrap().id;
    assert_eq!(snapshot.scanning(id("tickets")).limit, 65_536);
    assert_eq!(snapshot.scanning(ServerId(uuid::Uuid::nil())).limit, 65_536, "one that is unknown");
    // What is looked for is not compiled anew, and what did not change is the same.
    let detectors = |snapshot: &crate::Snapshot| snapshot.scanning(id("vault")).detectors.clone();
    assert!(std::sync::Arc::ptr_eq(&detectors(&before), &detectors(&snapshot)));
    house.apply(&format!("{all}{state}")).await;
    assert_eq!(
        house.a.governance.refresh().await.unwrap().version,
        snapshot.version,
        "nothing to do"
    );
    let arguments = json!({"server_id": "tickets", "status": "disabled"});
    house.perform("it", Face::Rest, "set_server_status", arguments).await.unwrap();
    let again = house.a.governance.snapshot();
    assert!(
        again.version != snapshot.version
            && std::sync::Arc::ptr_eq(&again.scanners, &snapshot.scanners)
    );
    // Pruned once the file has them no more.
    house.apply(STATE).await;
    house.a.governance.refresh().await.unwrap();
    assert_eq!(mode(&house.a, "tickets", Class::Secrets), Mode::Monitor);
}
