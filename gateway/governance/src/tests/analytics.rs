//! What analytics say is what counting the raw rows would say, in every time zone and over changes of clocks; who
//! may ask; and what is answered to what cannot be asked.

use std::collections::{BTreeMap, BTreeSet};

use gateway_core::Timestamp;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_store::analytics::Span;
use gateway_store::audit::{EventEntry, EventFilter};
use jiff::Zoned;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{House, STATE};
use crate::Face;
use crate::operations::analytics::datasets::{DATASETS, SERVER_DATASETS};

const ZONES: [&str; 4] = ["UTC", "Asia/Kathmandu", "America/St_Johns", "Europe/Berlin"];
const PEOPLE: [&str; 5] = ["bob", "dora", "carol", "sec", "it"];

/// The instants when clocks were changed last, of those zones that change them.
fn changes(now: Timestamp) -> Vec<i64> {
    let now = jiff::Timestamp::from_second(now.unix_timestamp()).unwrap();
    ZONES
        .iter()
        .flat_map(|name| {
            let zone = TimeZone::get(name).unwrap();
            zone.preceding(now).take(2).map(|t| t.timestamp().as_second()).collect::<Vec<_>>()
        })
        .filter(|at| now.as_second() - at < 390 * 86_400)
        .collect()
}

fn event(house: &House, n: u64, at: i64) -> Event {
    let server =
        house.a.governance.snapshot().server(["tickets", "vault"][n as usize % 2]).unwrap().clone();
    let mut subject = Subject {
        client_name: Some(["Cursor", "VS Code", "=cmd"][n as usize % 3].into()),
        server_id: Some(server.id),
        server_slug: Some(server.slug.to_string()),
        resource_type: Some("tool"),
        resource_name: Some(format!("tool_{}", n % 4)),
        ..Subject::default()
    };
    subject.identified(&house.caller(PEOPLE[(n / 3) as usize % PEOPLE.len()]));
    let seconds = u64::try_from(at).unwrap();
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0));
    let (action, outcome, reason) = match n % 9 {
        0 => (ActionType::ToolCallFailure, Outcome::Error, Some(Reason::UpstreamTimeout)),
        1 => (ActionType::AccessDenied, Outcome::Denied, Some(Reason::PolicyDenied)),
        2 => {
            (ActionType::ConfirmationRequested, Outcome::Denied, Some(Reason::ConfirmationRequired))
        }
        3 => (ActionType::ConfirmationApproved, Outcome::Ok, None),
        _ => (ActionType::ToolCallSuccess, Outcome::Ok, None),
    };
    Event {
        id: EventId(id),
        at: Timestamp::from_unix_timestamp(at).unwrap(),
        call: CallId(id),
        concludes_intent: false,
        subject: subject.into(),
        action,
        outcome,
        reason,
        detail: None,
        latency_us: Some(700 << (n % 12)),
        upstream_us: None,
        request_bytes: None,
        response_bytes: None,
        arguments: None,
        result: None,
        count: 1 + (n % 2) as u32,
    }
}

/// Calls around every change of clocks, and lately.
async fn busy() -> (House, Vec<EventEntry>) {
    let house = House::open().await;
    let more = STATE
        .replace("title = \"Tickets\"", "title = \"Tickets\"\nadmins = [\"dora@example.com\"]");
    let ana = "[[users]]\nemail = \"ana@example.com\"\nroles = [\"analytics_admin\"]\n";
    house.apply(&format!("{more}{ana}")).await;
    house.later(0).await;
    let now = Timestamp::now_utc();
    let mut centres = changes(now);
    centres.push(now.unix_timestamp() - 2 * 86_400);
    let mut n = 0;
    for centre in centres {
        for _ in 0..400 {
            n += 1;
            // Three days, most of them near the middle.
            let away = i64::try_from(n * 7919 % 1000).unwrap() - 500;
            house.a.governance.trail().conclude(event(
                &house,
                n,
                centre + away * away.abs() / 2 + away,
            ));
        }
        assert!(house.a.governance.trail().flush(std::time::Duration::from_secs(30)).await);
    }
    let store = &house.a.store;
    let raw = store.export_events(&EventFilter::default(), None, 10_000).await.unwrap();
    assert!(raw.next.is_none() && raw.events.len() > 1500, "{}", raw.events.len());
    (house, raw.events)
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Zoned {
    jiff::Timestamp::from_second(at.unix_timestamp()).unwrap().to_zoned(zone.clone())
}

fn made(event: &EventEntry) -> bool {
    matches!(&*event.action_type, "tool_call_success" | "tool_call_failure")
}

/// Calls, failures, denied of raw rows, by whatever `key` says; rows without a key are left out.
fn brute<K: Ord>(
    rows: &[&EventEntry],
    key: impl Fn(&EventEntry) -> Option<K>,
) -> BTreeMap<K, [i64; 3]> {
    let mut counts: BTreeMap<K, [i64; 3]> = BTreeMap::new();
    for event in rows {
        let refused = event.outcome == "denied" && event.action_type != "confirmation_requested";
        let kinds = [made(event), event.action_type == "tool_call_failure", refused];
        if !kinds.contains(&true) {
            continue;
        }
        if let Some(key) = key(event) {
            let count = counts.entry(key).or_default();
            for (sum, counts) in count.iter_mut().zip(kinds) {
                *sum += if counts { event.count } else { 0 };
            }
        }
    }
    counts
}

/// The same of an answer, by the members of those names.
fn told(answer: &Value, names: &[&str]) -> BTreeMap<String, [i64; 3]> {
    let rows = answer["data"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    rows.map(|row| {
        let key: Vec<String> = names.iter().map(|name| text(&row[*name])).collect();
        let [calls, failures, denied] =
            ["calls", "failures", "denied"].map(|name| row[name].as_i64().unwrap());
        let rate = if calls == 0 {
            Value::Null
        } else {
            json!((failures as f64 / calls as f64 * 10_000.0).round() / 10_000.0)
        };
        assert_eq!(row["failure_rate"], rate, "{row}");
        (key.join("/"), [calls, failures, denied])
    })
    .collect()
}

/// Rows in which something was counted.
fn counted(mut told: BTreeMap<String, [i64; 3]>) -> BTreeMap<String, [i64; 3]> {
    told.retain(|_, counts| *counts != [0; 3]);
    told
}

struct Asked<'a> {
    house: &'a House,
    rows: Vec<&'a EventEntry>,
    zone: TimeZone,
    arguments: Value,
}

impl Asked<'_> {
    async fn about(&self, dataset: &str) -> Value {
        self.ask("export_analytics_dataset", json!({"dataset": dataset})).await
    }

    async fn ask(&self, operation: &str, more: Value) -> Value {
        let mut arguments = self.arguments.clone();
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.house
            .perform("ana", Face::Rest, operation, arguments.clone())
            .await
            .unwrap_or_else(|refused| panic!("{operation} {arguments}: {refused}"))
    }

    async fn rankings_agree(&self) {
        let tool = |e: &EventEntry| {
            Some(format!("{}/{}", e.server_slug.clone()?, e.resource_name.clone()?))
        };
        let got = told(&self.about("top_tools").await, &["server", "tool"]);
        let mut expected = brute(&self.rows, tool);
        expected.retain(|_, counts| counts[0] > 0);
        assert_eq!(got, expected, "top_tools {}", self.arguments);
        let got = told(&self.about("top_users").await, &["user"]);
        assert_eq!(got, brute(&self.rows, |e| e.actor_email.clone()), "top_users");
        let got = told(&self.about("top_servers").await, &["server"]);
        assert_eq!(got, brute(&self.rows, |e| e.server_slug.clone()), "top_servers");
        let clients = self.about("mcp_clients").await;
        assert_eq!(told(&clients, &["client"]), brute(&self.rows, |e| e.client_name.clone()));
        for row in clients["data"].as_array().unwrap() {
            let theirs =
                self.rows.iter().filter(|e| e.client_name.as_deref() == row["client"].as_str());
            let theirs = theirs.filter(|e| made(e) || e.action_type == "access_denied");
            let people: BTreeSet<_> = theirs.map(|e| e.actor_id).collect();
            assert_eq!(row["people"], people.len(), "{row}");
        }
        self.latency_agrees().await;
    }

    /// The exact percentile lies in the same class.
    async fn latency_agrees(&self) {
        let answer = self.about("latency").await;
        assert!(!answer["data"].as_array().unwrap().is_empty());
        for row in answer["data"].as_array().unwrap() {
            let theirs = self
                .rows
                .iter()
                .filter(|e| made(e) && e.server_slug.as_deref() == row["server"].as_str());
            let theirs = theirs.filter(|e| e.resource_name.as_deref() == row["tool"].as_str());
            let mut micros: Vec<i64> = theirs
                .flat_map(|e| std::iter::repeat_n(e.latency_us.unwrap(), e.count as usize))
                .collect();
            micros.sort_unstable();
            let mean = micros.iter().sum::<i64>() as f64 / micros.len() as f64 / 1000.0;
            assert!((row["mean_ms"].as_f64().unwrap() - mean).abs() < 0.01, "{row} {mean}");
            for (name, percent) in [("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)] {
                let exact = micros[(micros.len() * percent).div_ceil(100) - 1] as f64 / 1000.0;
                let told = row[name].as_f64().unwrap();
                assert!(
                    told <= exact * 2.6 + 1.0 && exact <= told * 2.6 + 1.0,
                    "{name} {told} {exact}"
                );
            }
        }
    }

    async fn series_agree(&self) {
        let hour = |e: &EventEntry| {
            Some(zoned(e.timestamp, &self.zone).strftime("%Y-%m-%dT%H:00:00%:z").to_string())
        };
        let hourly = self.about("tool_calls_hourly").await;
        assert_eq!(
            counted(told(&hourly, &["hour"])),
            brute(&self.rows, hour),
            "{}",
            self.arguments
        );
        let day = |e: &EventEntry| Some(zoned(e.timestamp, &self.zone).date().to_string());
        let daily = self.about("tool_calls_daily").await;
        assert_eq!(counted(told(&daily, &["day"])), brute(&self.rows, day), "{}", self.arguments);
        let hours: f64 =
            daily["data"].as_array().unwrap().iter().map(|r| r["hours"].as_f64().unwrap()).sum();
        assert_eq!(
            hours as usize,
            hourly["data"].as_array().unwrap().len(),
            "whole days of whole hours"
        );
        let adoption = self.about("adoption").await;
        for row in adoption["data"].as_array().unwrap() {
            let start: jiff::civil::Date = row["start"].as_str().unwrap().parse().unwrap();
            let same = |e: &&&EventEntry| {
                let date = zoned(e.timestamp, &self.zone).date();
                let monday = date.iso_week_date() == start.iso_week_date()
                    || (date.iso_week_date().year(), date.iso_week_date().week())
                        == (start.iso_week_date().year(), start.iso_week_date().week());
                made(e) && if row["period"] == "day" { date == start } else { monday }
            };
            let people: BTreeSet<_> = self.rows.iter().filter(same).map(|e| e.actor_id).collect();
            assert_eq!(row["people"], people.len(), "{row} {}", self.arguments);
        }
    }

    async fn verdicts_agree(&self) {
        let sum = |of: &dyn Fn(&EventEntry) -> bool| -> i64 {
            self.rows.iter().filter(|e| of(e)).map(|e| e.count).sum()
        };
        let denials = self.about("denials").await;
        let told: i64 = denials["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["denials"].as_i64().unwrap())
            .sum();
        assert_eq!(
            told,
            sum(&|e| e.outcome == "denied" && !e.action_type.starts_with("confirmation"))
        );
        assert_eq!(denials["data"][0]["reason"], "policy_denied");
        let confirmations = self.about("confirmations").await;
        for row in confirmations["data"].as_array().unwrap() {
            let here = |action: &'static str, e: &EventEntry| {
                e.action_type == action && e.server_slug.as_deref() == row["server"].as_str()
            };
            assert_eq!(row["requested"], sum(&|e| here("confirmation_requested", e)), "{row}");
            assert_eq!(row["approved"], sum(&|e| here("confirmation_approved", e)), "{row}");
            assert_eq!(row["declined"], 0);
        }
    }

    async fn server_agrees(&self) {
        let here = |e: &EventEntry| (e.server_slug.as_deref() == Some("tickets")).then_some(());
        let of = |dataset: &str| {
            let more = json!({"server_id": "tickets", "dataset": dataset});
            async move { self.ask("export_server_analytics", more).await }
        };
        let health = of("tool_health").await;
        let tool = |e: &EventEntry| here(e).and(e.resource_name.clone());
        assert_eq!(told(&health, &["tool"]), brute(&self.rows, tool), "tool_health");
        for row in health["data"].as_array().unwrap() {
            let last = |action: &str| {
                let theirs =
                    self.rows.iter().filter(|e| tool(e).as_deref() == row["tool"].as_str());
                theirs.filter(|e| e.action_type == action).map(|e| e.timestamp).max()
            };
            assert_eq!(
                row["last_success"],
                json!(last("tool_call_success").map(crate::operations::rfc3339))
            );
            let failed = last("tool_call_failure");
            assert_eq!(row["last_error"], json!(failed.map(crate::operations::rfc3339)));
            assert_eq!(row["last_error_reason"], json!(failed.map(|_| "upstream_timeout")));
        }
        let mut expected = BTreeMap::new();
        let mut add = |by: &str, counts: BTreeMap<String, [i64; 3]>| {
            expected
                .extend(counts.into_iter().map(|(key, counts)| (format!("{by}/{key}"), counts)));
        };
        add("person", brute(&self.rows, |e| here(e).and(e.actor_email.clone())));
        add("client", brute(&self.rows, |e| here(e).and(e.client_name.clone())));
        let day = |e: &EventEntry| Some(zoned(e.timestamp, &self.zone).date().to_string());
        add("day", brute(&self.rows, |e| here(e).and(day(e))));
        assert_eq!(counted(told(&of("usage").await, &["by", "name"])), expected, "usage");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dataset_equals_brute_force() {
    let (house, raw) = busy().await;
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let now = Timestamp::now_utc();
        let mut centres = changes(now);
        centres.truncate(if name == "UTC" { 1 } else { usize::MAX });
        centres.push(now.unix_timestamp() - 2 * 86_400);
        for centre in centres {
            // Five local days around it: every clock change of that zone is among them.
            let date = zoned(Timestamp::from_unix_timestamp(centre).unwrap(), &zone).date();
            let (start, end) = (date - jiff::Span::new().days(2), date + jiff::Span::new().days(3));
            let at = |date: jiff::civil::Date| {
                let zoned = date.to_zoned(zone.clone()).unwrap();
                Timestamp::from_unix_timestamp(zoned.timestamp().as_second()).unwrap()
            };
            let span = Span::around(at(start), at(end)).unwrap();
            let within = |e: &&EventEntry| span.first() <= e.timestamp && e.timestamp < span.past();
            let asked = Asked {
                house: &house,
                rows: raw.iter().filter(within).collect(),
                zone: zone.clone(),
                arguments: json!({
                    "timezone": name, "start": start.to_string(), "end": end.to_string(), "format": "json"
                }),
            };
            assert!(asked.rows.len() > 100, "{name} {start}");
            asked.rankings_agree().await;
            asked.series_agree().await;
            asked.verdicts_agree().await;
            asked.server_agrees().await;
        }
    }
    who_may_ask(&house).await;
    pages_and_files(&house).await;
    wrong_questions_are_answered_by_their_field(&house).await;
}

async fn who_may_ask(house: &House) {
    let usage = |server: &str| json!({"server_id": server, "dataset": "usage"});
    for face in [Face::Tools, Face::Rest] {
        for (person, server, expected) in [
            ("ana", "tickets", None),
            ("root", "tickets", None),
            // Its own administrator, and of no other.
            ("dora", "tickets", None),
            ("dora", "vault", Some(Reason::RoleMissing)),
            ("dora", "absent", Some(Reason::RoleMissing)),
            ("bob", "tickets", Some(Reason::RoleMissing)),
            ("sec", "tickets", Some(Reason::RoleMissing)),
            ("carol", "absent", Some(Reason::RoleMissing)),
        ] {
            let got = house.perform(person, face, "export_server_analytics", usage(server)).await;
            assert_eq!(got.err().map(|refused| refused.reason), expected, "{person} {server}");
        }
        for (dataset, _) in DATASETS {
            let of = json!({"dataset": dataset});
            let got = house.perform("ana", face, "export_analytics_dataset", of.clone()).await;
            assert!(got.is_ok(), "{dataset}");
            for person in ["dora", "bob", "sec", "it", "desk"] {
                let got = house.perform(person, face, "export_analytics_dataset", of.clone()).await;
                assert_eq!(got.unwrap_err().reason, Reason::RoleMissing, "{person} {dataset}");
            }
        }
    }
}

async fn pages_and_files(house: &House) {
    let ask =
        |arguments: Value| house.perform("ana", Face::Rest, "export_analytics_dataset", arguments);
    // Every row once, over pages that are about the same range.
    let all = ask(json!({"dataset": "top_users", "format": "json"})).await.unwrap();
    let mut seen = Vec::new();
    let mut arguments = json!({"dataset": "top_users", "format": "json", "limit": 1});
    loop {
        let page = ask(arguments.clone()).await.unwrap();
        seen.extend(page["data"].as_array().unwrap().clone());
        assert_eq!((&page["start"], &page["end"]), (&all["start"], &all["end"]));
        match page["next_cursor"].as_str() {
            Some(cursor) => arguments["cursor"] = json!(cursor),
            None => break,
        }
    }
    assert_eq!(json!(seen), all["data"]);
    assert!(seen.len() > 3);
    let cursor = arguments["cursor"].clone();
    for other in [
        json!({"dataset": "top_tools", "cursor": cursor}),
        json!({"dataset": "top_users", "cursor": cursor, "timezone": "Europe/Berlin"}),
        json!({"dataset": "top_users", "cursor": "x"}),
    ] {
        let refused = ask(other.clone()).await.unwrap_err();
        assert!(refused.detail.starts_with("cursor: "), "{other} {}", refused.detail);
    }
    // CSV has the columns that the answer explains, and no cell that is a formula.
    for (dataset, columns) in DATASETS {
        let answer = ask(json!({"dataset": dataset})).await.unwrap();
        let text = answer["csv"].as_str().unwrap();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        assert!(text.starts_with(&format!("{}\r\n", names.join(","))), "{dataset}: {text}");
        for (name, meaning) in *columns {
            assert_eq!(answer["columns"][name], *meaning);
        }
        assert!(answer.get("data").is_none());
    }
    let clients = ask(json!({"dataset": "mcp_clients"})).await.unwrap();
    let text = clients["csv"].as_str().unwrap();
    assert!(text.contains("\r\n'=cmd,") && !text.contains("\n=cmd"), "{text}");
}

async fn wrong_questions_are_answered_by_their_field(house: &House) {
    for (wrong, field) in [
        (json!({"timezone": "Mars/Olympus"}), "timezone: expected a name of the IANA"),
        (json!({"start": "yesterday"}), "start: expected RFC 3339"),
        (json!({"end": "2026-02-30"}), "end: expected RFC 3339"),
        (
            json!({"start": "2026-02-02", "end": "2026-02-01"}),
            "start: expected an instant before end",
        ),
        (json!({"start": "2020-02-02", "end": "2026-02-01"}), "start: expected at most 400 days"),
        (json!({"limit": 0}), "limit: expected 1 to 10000"),
        (json!({"limit": 10_001}), "limit: expected 1 to 10000"),
        (json!({"cursor": "abc"}), "cursor: expected"),
    ] {
        let mut arguments = json!({"dataset": "top_tools"});
        arguments.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let asked = house.perform("ana", Face::Rest, "export_analytics_dataset", arguments.clone());
        let refused = asked.await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{wrong}");
        assert!(refused.detail.starts_with(field), "{wrong}: {}", refused.detail);
        arguments["server_id"] = json!("tickets");
        arguments["dataset"] = json!("usage");
        let asked = house.perform("ana", Face::Rest, "export_server_analytics", arguments);
        assert!(asked.await.unwrap_err().detail.starts_with(field), "{wrong}");
    }
}

/// What is documented is what there is.
#[test]
fn every_column_is_documented() {
    let text = include_str!("../../analytics.md");
    for (dataset, columns) in DATASETS.iter().chain(SERVER_DATASETS) {
        let names: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
        let row = format!("| `{dataset}` | {} |", names.join(", "));
        assert!(text.contains(&row), "gateway/governance/analytics.md lacks: {row}");
        for (name, meaning) in *columns {
            let row = format!("| `{name}` | {meaning} |");
            assert!(text.contains(&row), "gateway/governance/analytics.md lacks: {row}");
        }
    }
}
