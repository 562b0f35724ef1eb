//! What a draft would have changed, against a count call by call.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway_core::caller::{Caller, User};
use gateway_core::decision::{Circumstances, Question, Target, Verdict};
use gateway_core::ids::{CallId, EventId, PolicyId, ServerId, UserId};
use gateway_core::json::Json;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_core::{Clock, Timestamp};
use policies::{PolicySet, Source};
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{House, STATE};
use crate::testing::settings;
use crate::{Face, GovernanceSettings, Offline};

const CALLS: usize = 1_300;
/// A request looks at that many.
const AT_ONCE: usize = 700;
const CANARY: &str = "canary-argument-91c2";

/// A call as it was made, and as the test remembers it.
struct Made {
    at: Timestamp,
    event: EventId,
    people: Option<Vec<Arc<User>>>,
    server: Option<&'static str>,
    target: (&'static str, &'static str),
    client: &'static str,
    arguments: Option<String>,
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn some_call(house: &House, indexer: &Caller, at: Timestamp, dice: &mut Dice) -> (Made, Event) {
    let mut subject = Subject {
        client_ip: Some("127.0.0.1".into()),
        client_name: Some(dice.of(&["Cursor", "Toy"]).into()),
        ..Subject::default()
    };
    let person = house.caller(dice.of(&["bob", "carol", "dora", "root"]));
    let caller = match dice.below(6) {
        0 => indexer.clone(),
        1 => house.for_person(indexer, "bob"),
        _ => person,
    };
    subject.identified(&caller);
    let mut people = Some(caller.principals().cloned().collect());
    if dice.below(12) == 0 {
        subject.actor_id = Some(UserId(Uuid::from_u128(99)));
        people = None;
    }
    let slug = dice.of(&["tickets", "tickets", "vault"]);
    let snapshot = house.a.governance.snapshot();
    let mut server = Some(slug);
    subject.server_id = Some(snapshot.server(slug).unwrap().id);
    if dice.below(14) == 0 {
        subject.server_id = Some(ServerId(Uuid::from_u128(98)));
        server = None;
    }
    subject.server_slug = Some(slug.into());
    let target = dice.of(&[
        ("tool", "list"),
        ("tool", "pay"),
        ("tool", "pay"),
        ("tool", "drop_all"),
        ("resource", "t://1"),
        ("prompt", "triage"),
    ]);
    let (method, done, failed) = match target.0 {
        "tool" => ("tools/call", ActionType::ToolCallSuccess, ActionType::ToolCallFailure),
        "resource" => {
            ("resources/read", ActionType::ResourceReadSuccess, ActionType::ResourceReadFailure)
        }
        _ => ("prompts/get", ActionType::PromptGetSuccess, ActionType::PromptGetFailure),
    };
    subject.method = Some(method.into());
    subject.resource_type = Some(target.0);
    subject.resource_name = Some(target.1.into());
    let amount = dice.of(&["5", "50", "500", "\"50\"", "[1]"]);
    let arguments = format!("{{\"amount\":{amount},\"text\":\"{CANARY}\"}}");
    let arguments = (dice.below(5) != 0).then_some(arguments);
    let action = dice.of(&[done, done, failed, ActionType::AccessDenied]);
    let event = EventId(house.a.governance.next_id(at));
    let made = Made {
        at,
        event,
        people,
        server,
        target,
        client: if subject.client_name.as_deref() == Some("Toy") { "Toy" } else { "Cursor" },
        arguments: arguments.clone(),
    };
    (made, event_of(subject, (at, event), action, arguments))
}

fn event_of(
    subject: Subject,
    (at, id): (Timestamp, EventId),
    action: ActionType,
    arguments: Option<String>,
) -> Event {
    Event {
        id,
        at,
        call: CallId(Uuid::now_v7()),
        concludes_intent: false,
        subject: Arc::new(subject),
        action,
        outcome: if action == ActionType::AccessDenied { Outcome::Denied } else { Outcome::Ok },
        reason: None,
        detail: None,
        latency_us: Some(1),
        upstream_us: None,
        request_bytes: Some(1),
        response_bytes: Some(1),
        arguments: arguments.map(Bytes::from),
        result: None,
        count: 1,
    }
}

/// What one set says of one call; `None`: it cannot be told.
fn verdict(house: &House, set: &PolicySet, made: &Made) -> Option<&'static str> {
    let snapshot = house.a.governance.snapshot();
    let server = snapshot.server(made.server?)?;
    let circumstances = Circumstances {
        client: made.client.into(),
        ip: "127.0.0.1".parse().unwrap(),
        now: made.at,
    };
    let target = match made.target {
        ("tool", name) => Target::Tool(name),
        ("resource", name) => Target::Resource(name),
        (_, name) => Target::Prompt(name),
    };
    let text = made.arguments.as_deref();
    let verdicts = made.people.as_ref()?.iter().map(|user| {
        set.decide(&Question {
            user,
            server,
            target,
            arguments: text.map(|text| Json::parse(text.as_bytes()).unwrap()),
            circumstances: &circumstances,
            confirmed: false,
        })
        .verdict
    });
    Some(match verdicts.reduce(Verdict::and)? {
        Verdict::Allow { .. } => "allow",
        Verdict::Confirm(_) => "confirm",
        Verdict::Deny(_) => "deny",
    })
}

type Counts = (BTreeMap<String, usize>, BTreeMap<String, usize>, usize, Vec<String>);

/// changes, undecidable, unchanged, the changed ones newest first; `looked_at`: servers and tools of which
/// policies look at arguments.
fn brute_force(
    house: &House,
    draft: &PolicySet,
    calls: &[Made],
    looked_at: &[(&str, &str)],
) -> Counts {
    let present = house.a.governance.snapshot().policies.clone();
    let mut counts = Counts::default();
    for made in calls.iter().rev() {
        let why = match made {
            Made { people: None, .. } => Some("principal_gone"),
            Made { server: None, .. } => Some("server_gone"),
            Made { arguments: None, server: Some(server), target: ("tool", name), .. }
                if looked_at.contains(&(server, name)) =>
            {
                Some("arguments_not_kept")
            }
            _ => None,
        };
        if let Some(why) = why {
            *counts.1.entry(why.into()).or_default() += 1;
            continue;
        }
        let verdicts = [&present, draft].map(|set| verdict(house, set, made).unwrap());
        if verdicts[0] == verdicts[1] {
            counts.2 += 1;
        } else {
            *counts.0.entry(format!("{}_to_{}", verdicts[0], verdicts[1])).or_default() += 1;
            counts.3.push(made.event.to_string());
        }
    }
    counts
}

fn map(value: &Value) -> BTreeMap<String, usize> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Every page of a replay, added up.
async fn replayed(house: &House, mut arguments: Value) -> (Counts, usize, usize) {
    let mut all = Counts::default();
    let (mut calls, mut pages) = (0, 0);
    loop {
        let page =
            house.perform("sec", Face::Tools, "replay_policy", arguments.clone()).await.unwrap();
        assert!(!page.to_string().contains(CANARY), "arguments are shown");
        let looked_at = page["calls"].as_u64().unwrap() as usize;
        assert!(looked_at <= AT_ONCE);
        calls += looked_at;
        pages += 1;
        for (name, count) in map(&page["changes"]) {
            *all.0.entry(name).or_default() += count;
        }
        for (name, count) in map(&page["undecidable"]) {
            *all.1.entry(name).or_default() += count;
        }
        all.2 += page["unchanged"].as_u64().unwrap() as usize;
        let rows = page["data"].as_array().unwrap();
        let limit = arguments["limit"].as_u64().unwrap() as usize;
        let changed = page["changed"].as_u64().unwrap() as usize;
        assert_eq!(rows.len(), changed.min(limit));
        all.3.extend(rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => arguments["cursor"] = json!(cursor),
            None => return (all, calls, pages),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_counts_what_call_by_call_would_be_counted() {
    let settings = GovernanceSettings { replayed_calls: AT_ONCE, ..settings() };
    let house = House::open_with(&settings, Arc::new(Offline)).await;
    house.apply(&format!("{STATE}{}", super::agents::POLICIES)).await;
    house.later(0).await;
    let indexer = house.agent("indexer", "bob").await;
    house.later(0).await;
    let mut dice = Dice(7);
    let mut calls = vec![];
    let began = house.clock.now() - time::Duration::seconds(2);
    for n in 0..CALLS {
        // A millisecond apart, so that their order is known.
        let at = began + time::Duration::milliseconds(n as i64);
        let (made, event) = some_call(&house, &indexer, at, &mut dice);
        house.a.governance.trail().conclude(event);
        calls.push(made);
        if n % 200 == 0 {
            let patience = std::time::Duration::from_secs(30);
            assert!(house.a.governance.trail().flush(patience).await);
        }
    }
    assert!(house.a.governance.trail().flush(std::time::Duration::from_secs(30)).await);

    let span = json!({
        "start": crate::operations::rfc3339(began - time::Duration::seconds(1)),
        "limit": 50
    });
    let snapshot = house.a.governance.snapshot();
    let id = |name: &str| snapshot.stored_policy(name).unwrap().id;
    let paying = json!({
        "name": "all pay", "effect": "allow", "principals": ["everyone"], "server": "*",
        "tools": ["pay"], "when": [{"arg": "amount", "op": "le", "value": 60}]
    });
    let wide = json!({
        "name": "not much at once", "effect": "confirm", "principals": ["everyone"], "server": "tickets",
        "tools": ["pay", "list"], "when": [{"arg": "amount", "op": "gt", "value": 10}]
    });
    let toys = json!({"name": "no toys", "cedar": "forbid (principal, action, resource) when { context.client == \"Toy\" };"});
    let cases = [
        (json!({"spec": paying}), None, Some(&paying), &[("tickets", "pay"), ("vault", "pay")][..]),
        (json!({"spec": toys}), None, Some(&toys), &[("tickets", "pay")][..]),
        (
            json!({"policy_id": "not much at once", "spec": wide}),
            Some(id("not much at once")),
            Some(&wide),
            &[("tickets", "pay"), ("tickets", "list")][..],
        ),
        (
            json!({"policy_id": "engineers use tickets", "delete": true}),
            Some(id("engineers use tickets")),
            None,
            &[("tickets", "pay")][..],
        ),
    ];
    for (mut arguments, replaced, spec, looked_at) in cases {
        let kept = snapshot.sources.iter().filter(|s| Some(s.id) != replaced).cloned();
        let mut sources: Vec<Source> = kept.collect();
        if let Some(spec) = spec {
            let spec = serde_json::from_value(spec.clone()).unwrap();
            sources.push(Source { id: PolicyId(Uuid::from_u128(5)), spec });
        }
        let draft = PolicySet::compile(&sources).unwrap();
        let expected = brute_force(&house, &draft, &calls, looked_at);
        arguments.as_object_mut().unwrap().extend(span.as_object().unwrap().clone());
        let version = house.a.store.catalogue_version().await.unwrap();
        let (found, total, pages) = replayed(&house, arguments.clone()).await;
        assert_eq!((total, pages), (CALLS, CALLS.div_ceil(AT_ONCE)));
        assert_eq!(
            (&found.0, &found.1, found.2),
            (&expected.0, &expected.1, expected.2),
            "{arguments}"
        );
        assert!(expected.0.values().sum::<usize>() > 20 && expected.1.len() == 3, "{expected:?}");
        // The first of each page, newest first.
        assert_eq!(found.3[..20], expected.3[..20]);
        assert_eq!(house.a.store.catalogue_version().await.unwrap(), version, "a replay wrote");
    }
}
