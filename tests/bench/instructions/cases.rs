//! What is counted. Each case makes everything ready, and gives what one round is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, Role, User};
use gateway_core::decision::{Circumstances, Question, Target};
use gateway_core::ids::{CallId, EventId, PolicyId, ServerId, UserId};
use gateway_core::json::Json;
use gateway_core::mcp::{Client, understand};
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_core::scan::{Detectors, Guard, Modes, message};
use gateway_core::seal::Sealer;
use gateway_core::server::Server;
use gateway_server::proxy::doors::{Handles, cut_tools};
use gateway_store::audit::doors::Encoder;
use policies::{PolicySet, PolicySpec, Source};
use serde_json::json;
use uuid::Uuid;

/// One round; what it gives keeps it from being optimised away.
pub(crate) type Case = Box<dyn FnMut() -> usize>;

pub(crate) const NAMES: [&str; 9] = [
    "parse",
    "decide_10",
    "decide_100",
    "decide_1000",
    "list_filter",
    "session_seal",
    "session_open",
    "audit_encode",
    "scan_1kb",
];

pub(crate) fn named(name: &str) -> Result<Case> {
    Ok(match name {
        "parse" => parse(),
        "decide_10" => decide(10)?,
        "decide_100" => decide(100)?,
        "decide_1000" => decide(1000)?,
        "list_filter" => list_filter()?,
        "session_seal" => session_seal(),
        "session_open" => session_open(),
        "audit_encode" => audit_encode(),
        "scan_1kb" => scan(),
        other => anyhow::bail!("there are {}, not {other}", NAMES.join(", ")),
    })
}

/// A call with arguments of about 1 KB.
fn body() -> String {
    let items: Vec<_> = (0..12)
        .map(|n| json!({"sku": format!("A-{n:05}"), "count": n, "note": "as ordered \"today\""}))
        .collect();
    let arguments = json!({"customer": "c-1042", "amount": 99.5, "urgent": false, "items": items});
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "create_order", "arguments": arguments}}).to_string()
}

fn parse() -> Case {
    let body = body();
    Box::new(move || understand(body.as_bytes(), None).map_or(0, |call| call.method_name.len()))
}

fn decide(policies: usize) -> Result<Case> {
    let world = World::new(policies)?;
    let arguments = r#"{"amount":99.5,"customer":"c-1042"}"#;
    Ok(Box::new(move || {
        let question = Question {
            user: &world.caller.user,
            server: &world.server,
            target: Target::Tool("create_order"),
            arguments: Some(Json::checked_before(arguments)),
            circumstances: &world.circumstances,
            confirmed: false,
        };
        usize::from(world.set.decide(&question).cacheable)
    }))
}

/// 200 tools under 100 policies, nothing remembered, half of them cut.
fn list_filter() -> Result<Case> {
    let world = World::new(100)?;
    let tool = |n: usize| {
        let name = if n.is_multiple_of(2) { format!("read_{n}") } else { format!("write_{n}") };
        json!({"name": name, "description": "Reads or writes one thing.", "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}}})
    };
    let tools: Vec<_> = (0..200).map(tool).collect();
    let text = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).to_string();
    Ok(Box::new(move || {
        let listed = |name: &str| {
            let target = Target::Tool(name);
            world.set.listed(&world.caller.user, &world.server, target, &world.circumstances).listed
        };
        cut_tools(&text, &listed).ok().flatten().map_or(0, |text| text.len())
    }))
}

fn handles() -> Handles {
    Handles {
        sealer: Sealer::new(&[3; 32]),
        server: ServerId(Uuid::from_u128(1)),
        caller: caller(),
    }
}

fn session_seal() -> Case {
    let (handles, client) =
        (handles(), Client { name: Some("Cursor".into()), ..Client::default() });
    Box::new(move || handles.make("0f8fad5b-d9cb-469f-a165-70867728950e", &client, at(3600)).len())
}

fn session_open() -> Case {
    let handles = handles();
    let handle = handles.make("0f8fad5b-d9cb-469f-a165-70867728950e", &Client::default(), at(3600));
    Box::new(move || handles.open(&handle, at(0)).flatten().map_or(0, |id| id.len()))
}

/// Both rows of a call with a result of 1 KB.
fn audit_encode() -> Case {
    let mut subject = Subject {
        client_name: Some("Cursor".into()),
        client_ip: Some("10.0.0.1".into()),
        method: Some("tools/call".into()),
        resource_type: Some("tool"),
        resource_name: Some("create_order".into()),
        policy_ids: vec![Uuid::from_u128(9).to_string()],
        ..Subject::default()
    };
    subject.identified(&caller());
    let subject = Arc::new(subject);
    let body = Bytes::from(body());
    // A UUIDv7 of 2026.
    let call = CallId(Uuid::from_u128(0x019b_76da_a800_7000_8000_0000_0000_0001));
    let arguments = Some(body.clone());
    let intent = Intent {
        id: call,
        at: at(0),
        subject: Arc::clone(&subject),
        arguments,
        request_bytes: 1000,
    };
    let mut event =
        Event::new(EventId(call.0), at(1), call, subject, ActionType::ToolCallSuccess, Outcome::Ok);
    event.concludes_intent = true;
    event.result = Some(body);
    let mut encoder = Encoder::new(&[8; 32]);
    Box::new(move || encoder.call(&intent, &event).unwrap_or_default())
}

fn scan() -> Case {
    let (detectors, modes) = (Detectors::built_in(), Modes::default());
    detectors.prepare(&modes);
    let text: String =
        "The order of customer 1042 was shipped on Monday; see the tracker for what is left. "
            .repeat(12);
    let text =
        json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": text}]}})
            .to_string();
    Box::new(move || message::read(&detectors, Guard::ToolCall, &modes, &text).len())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + time::Duration::seconds(1_800_000_000 + seconds)
}

fn caller() -> Caller {
    let user = User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::from_u128(2)),
        email: "bob@example.com".into(),
        name: "Bob".into(),
        roles: vec![Role::User],
        groups: vec!["engineering".into(), "group3".into()],
        attributes: Default::default(),
        active: true,
    };
    Caller::new(Arc::new(user), AuthMethod::ApiKey, "key")
}

/// Policies of an organisation: most about other people and servers.
struct World {
    set: PolicySet,
    caller: Caller,
    server: Server,
    circumstances: Circumstances,
}

impl World {
    fn new(policies: usize) -> Result<World> {
        let sources: Vec<Source> = (0..policies).map(source).collect::<Result<_>>()?;
        let set =
            PolicySet::compile(&sources).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let server = Server::named(ServerId(Uuid::from_u128(1)), "orders".parse()?);
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let circumstances = Circumstances { client: "Cursor".into(), ip, now: at(0) };
        Ok(World { set, caller: caller(), server, circumstances })
    }
}

/// Of ten policies one is about everybody, one about every server, three have conditions.
fn source(n: usize) -> Result<Source> {
    let effect = ["allow", "allow", "allow", "deny", "confirm"][n % 5];
    let mut spec = json!({
        "name": format!("policy {n}"),
        "effect": effect,
        "principals": [if n.is_multiple_of(10) { "everyone".into() } else { format!("group:group{}", n % 25) }],
        "server": match n % 10 { 0 => "orders".into(), 1 => "*".into(), _ => format!("server{}", n % 40) },
        "tools": if n.is_multiple_of(10) { json!(["create_order", "read_*"]) } else { json!([format!("tool{n}_*")]) },
    });
    if n % 10 < 3 {
        spec["when"] = json!([{"arg": "amount", "op": "le", "value": 100 + n}]);
    }
    Ok(Source {
        id: PolicyId(Uuid::from_u128(1000 + n as u128)),
        spec: serde_json::from_value::<PolicySpec>(spec)?,
    })
}
