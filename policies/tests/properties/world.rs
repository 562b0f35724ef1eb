//! Random people, servers, policies and calls from a small vocabulary, so that they often meet.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::{PrincipalKind, Role, User};
use gateway_core::decision::{Circumstances, Target};
use gateway_core::ids::{PolicyId, ServerId, UserId};
use gateway_core::server::{Server, Tool};
use policies::{ConditionSpec, PolicySpec, Source};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::random::Random;

pub(crate) const NAMES: [&str; 8] = ["a", "ab", "abc", "b", "get_a", "get_b", "*", "x/y"];
const PATTERNS: [&str; 9] = ["*", "a*", "*a", "get_*", "a", "ab", "*b*", "get_a", "a*c"];
const PATHS: [&str; 10] = ["n", "s", "b", "o.n", "o.s", "l.*", "l.0", "l.*.n", "o.*", "o.l.*.s"];
const OPERATORS: [&str; 14] = [
    "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "prefix", "suffix", "contains", "matches",
    "exists", "missing",
];

/// The kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tool,
    Resource,
    Prompt,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Tool, Kind::Resource, Kind::Prompt];
}

/// Raw Cedar texts that the reference knows the meaning of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RawForm {
    GroupOnServer,
    SmallNumbers,
    NoClientToy,
    NamesWithB,
    TextIsNotOwner,
    AgentsOnly,
    NoAgentG0,
    AttributeOnServer,
    AttributeAmongClients,
}

impl RawForm {
    const ALL: [RawForm; 9] = [
        RawForm::GroupOnServer,
        RawForm::SmallNumbers,
        RawForm::NoClientToy,
        RawForm::NamesWithB,
        RawForm::TextIsNotOwner,
        RawForm::AgentsOnly,
        RawForm::NoAgentG0,
        RawForm::AttributeOnServer,
        RawForm::AttributeAmongClients,
    ];

    pub(crate) fn effect(self) -> &'static str {
        match self {
            RawForm::GroupOnServer
            | RawForm::SmallNumbers
            | RawForm::AgentsOnly
            | RawForm::AttributeOnServer => "allow",
            RawForm::NoClientToy
            | RawForm::TextIsNotOwner
            | RawForm::NoAgentG0
            | RawForm::AttributeAmongClients => "deny",
            RawForm::NamesWithB => "confirm",
        }
    }

    fn cedar(self) -> &'static str {
        match self {
            RawForm::GroupOnServer => {
                r#"permit (principal in Group::"g0", action, resource in Server::"s0");"#
            }
            RawForm::SmallNumbers => {
                r#"permit (principal, action == Action::"call_tool", resource in Server::"s1")
                   when { context.number.hasTag("n") && context.number.getTag("n") <= 1 };"#
            }
            RawForm::NoClientToy => {
                r#"forbid (principal, action, resource) when { context.client == "Toy" };"#
            }
            RawForm::NamesWithB => {
                r#"@confirm("b?") forbid (principal, action == Action::"call_tool", resource)
                   when { resource.name like "*b*" } unless { context.confirmed };"#
            }
            RawForm::TextIsNotOwner => {
                r#"forbid (principal, action == Action::"call_tool", resource)
                   unless { context.text.hasTag("s") && context.text.getTag("s") == "ab" };"#
            }
            RawForm::AgentsOnly => {
                r#"permit (principal is Agent, action, resource in Server::"s2");"#
            }
            RawForm::NoAgentG0 => r#"forbid (principal == Agent::"g0", action, resource);"#,
            RawForm::AttributeOnServer => {
                r#"permit (principal, action, resource in Server::"s2")
                   when { principal.attributes.hasTag("dept") &&
                          principal.attributes.getTag("dept").contains("a") };"#
            }
            RawForm::AttributeAmongClients => {
                r#"forbid (principal, action, resource)
                   when { principal.attributes.hasTag("dept") &&
                          principal.attributes.getTag("dept").contains(context.client) };"#
            }
        }
    }
}

/// A call or a question about one.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) user: usize,
    pub(crate) server: usize,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) arguments: Option<Value>,
    pub(crate) circumstances: Circumstances,
    pub(crate) confirmed: bool,
}

impl Ask {
    pub(crate) fn bare(user: usize, server: usize, kind: Kind, name: &str) -> Ask {
        let circumstances = Circumstances {
            client: String::new(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            now: Timestamp::UNIX_EPOCH,
        };
        let name = name.to_owned();
        Ask { user, server, kind, name, arguments: None, circumstances, confirmed: false }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        match self.kind {
            Kind::Tool => Target::Tool(&self.name),
            Kind::Resource => Target::Resource(&self.name),
            Kind::Prompt => Target::Prompt(&self.name),
        }
    }
}

pub(crate) struct World {
    pub(crate) users: Vec<User>,
    pub(crate) servers: Vec<Server>,
    pub(crate) specs: Vec<PolicySpec>,
    /// For raw policies, which form they have.
    pub(crate) raw: Vec<Option<RawForm>>,
}

impl World {
    /// Structured and raw policies.
    pub(crate) fn new(random: &mut Random) -> World {
        let mut world = World::structured(random);
        for form in RawForm::ALL {
            if random.once_in(8) {
                let name = format!("raw {form:?}");
                let cedar = Some(form.cedar().to_owned());
                world.specs.push(PolicySpec { name, cedar, ..PolicySpec::default() });
                world.raw.push(Some(form));
            }
        }
        world
    }

    /// Structured policies only.
    pub(crate) fn structured(random: &mut Random) -> World {
        let mut world = World::empty(random);
        for number in 0..1 + random.below(8) {
            let effect = random.pick(&["allow", "allow", "allow", "deny", "confirm"]);
            let mut spec = policy(number, effect, random);
            let conditions = [0, 0, 1, 1, 2][random.below(5)];
            spec.when = (0..conditions).map(|_| condition(random)).collect();
            world.specs.push(spec);
            world.raw.push(None);
        }
        world
    }

    /// Policies with arguments of their own each, and arguments that satisfy every allow and no other.
    pub(crate) fn separable(random: &mut Random) -> (World, Value) {
        let mut world = World::empty(random);
        let mut best = Map::new();
        for number in 0..1 + random.below(8) {
            let effect = random.pick(&["allow", "allow", "deny", "confirm"]);
            let mut spec = policy(number, effect, random);
            for place in 0..random.below(3) {
                let arg = format!("p{number}x{place}");
                let (condition, satisfied, avoided) = separable_condition(&arg, random);
                let value = if effect == "allow" { satisfied } else { avoided };
                best.extend(value.map(|value| (arg, value)));
                spec.when.push(condition);
            }
            if random.once_in(4) {
                spec.when.push(other_condition(random));
            }
            world.specs.push(spec);
            world.raw.push(None);
        }
        (world, Value::Object(best))
    }

    /// One more deny or confirm rule.
    pub(crate) fn add_deny(&mut self, random: &mut Random) {
        let effect = random.pick(&["deny", "confirm"]);
        let mut spec = policy(self.specs.len(), effect, random);
        spec.when = (0..random.below(2)).map(|_| condition(random)).collect();
        self.specs.push(spec);
        self.raw.push(None);
    }

    /// One more policy of any kind.
    pub(crate) fn add(&mut self, random: &mut Random) {
        if random.once_in(4) {
            let form = RawForm::ALL[random.below(RawForm::ALL.len())];
            let (name, cedar) = (format!("more {form:?}"), Some(form.cedar().to_owned()));
            self.specs.push(PolicySpec { name, cedar, ..PolicySpec::default() });
            return self.raw.push(Some(form));
        }
        let effect = random.pick(&["allow", "allow", "deny", "confirm"]);
        let mut spec = policy(self.specs.len(), effect, random);
        spec.when = (0..random.below(2)).map(|_| condition(random)).collect();
        self.specs.push(spec);
        self.raw.push(None);
    }

    fn empty(random: &mut Random) -> World {
        let people = (0..4).map(|n| user(n, random));
        let mut users: Vec<User> = people.collect();
        users.extend((0..3).map(|n| agent(n, random)));
        let servers = (0..3).map(|n| server(n, random)).collect();
        World { users, servers, specs: vec![], raw: vec![] }
    }

    pub(crate) fn id(policy: usize) -> PolicyId {
        PolicyId(Uuid::from_u128(policy as u128 + 1))
    }

    pub(crate) fn sources(&self) -> Vec<Source> {
        let specs = self.specs.iter().cloned().enumerate();
        specs.map(|(n, spec)| Source { id: World::id(n), spec }).collect()
    }

    pub(crate) fn ask(&self, random: &mut Random) -> Ask {
        let kind = Kind::ALL[[0, 0, 0, 0, 1, 2][random.below(6)]];
        let (user, server) = (random.below(self.users.len()), random.below(self.servers.len()));
        let mut ask = Ask::bare(user, server, kind, random.pick(&NAMES));
        ask.arguments = (!random.once_in(6)).then(|| arguments(random));
        ask.circumstances = circumstances(random);
        ask.confirmed = random.once_in(4);
        ask
    }

    /// The same person and target, called otherwise.
    pub(crate) fn vary(&self, ask: &Ask, random: &mut Random) -> Ask {
        Ask {
            user: ask.user,
            server: ask.server,
            kind: ask.kind,
            name: ask.name.clone(),
            ..self.ask(random)
        }
    }
}

fn user(number: usize, random: &mut Random) -> User {
    let roles = [Role::SuperAdmin, Role::Developer, Role::User];
    User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::from_u128(number as u128)),
        email: format!("u{number}@example.com"),
        name: format!("U{number}"),
        roles: roles.into_iter().filter(|_| random.once_in(2)).collect(),
        groups: random.some(&["g0", "g1", "g2"]),
        attributes: ["dept", "x"].into_iter().filter_map(|name| attribute(name, random)).collect(),
        active: true,
    }
}

/// Of agents nothing comes of them.
fn attribute(name: &str, random: &mut Random) -> Option<(String, Vec<String>)> {
    let values = random.some(&["Toy", "a", "b"]);
    random.once_in(2).then(|| (name.to_owned(), values))
}

/// Agents that are called like people, groups and each other's client ids, to be mistaken for them.
fn agent(number: usize, random: &mut Random) -> User {
    let (name, client_id) = [("a", "u1@example.com"), ("u0@example.com", "a"), ("g0", "b")][number];
    User {
        kind: PrincipalKind::Agent,
        id: UserId(Uuid::from_u128(100 + number as u128)),
        email: client_id.into(),
        name: name.into(),
        ..user(9, random)
    }
}

fn server(number: usize, random: &mut Random) -> Server {
    let names = if random.once_in(5) { vec![] } else { random.some(&NAMES) };
    let tools = names.into_iter().map(|name| {
        let annotations = random.some(&["destructiveHint", "readOnlyHint"]);
        Tool { name, definition: "{}".into(), hash: [0; 32], pin: [0; 32], annotations }
    });
    Server {
        tools: Arc::new(tools.collect()),
        ..Server::named(
            ServerId(Uuid::from_u128(number as u128)),
            format!("s{number}").parse().unwrap(),
        )
    }
}

fn policy(number: usize, effect: &str, random: &mut Random) -> PolicySpec {
    let everybody = [
        "everyone",
        "everyone",
        "group:g0",
        "group:g1",
        "group:g9",
        "user:U0@example.com",
        "user:u1@example.com",
        "role:developer",
        "role:super_admin",
        "agent:a",
        "agent:a",
        "agent:u0@example.com",
        "agent:b",
        "attribute:dept=a",
        "attribute:dept=b",
        "attribute:x=a",
        "attribute:none=a",
    ];
    let mut patterns = |one_in| {
        let count = 1 + random.below(2);
        let list = (0..count).map(|_| random.pick(&PATTERNS).to_owned()).collect();
        random.once_in(one_in).then_some(list)
    };
    let (tools, resources, prompts) = (patterns(2), patterns(6), patterns(8));
    let principals = (0..1 + random.below(2)).map(|_| random.pick(&everybody).to_owned());
    let principals = Some(principals.collect());
    let end = random.pick(&["2024-10-04T09:00:00Z", "2024-10-04T17:00:30.5Z"]).to_owned();
    let until = random.once_in(6).then_some(end);
    let by = (effect == "confirm" && random.once_in(2)).then(|| "group:g1".to_owned());
    PolicySpec {
        name: format!("p{number}"),
        effect: Some(effect.to_owned()),
        by,
        principals,
        server: Some(random.pick(&["s0", "s1", "*", "*"]).to_owned()),
        tools,
        resources,
        prompts,
        until,
        ..PolicySpec::default()
    }
}

fn condition(random: &mut Random) -> ConditionSpec {
    if random.once_in(4) {
        return other_condition(random);
    }
    let op = random.pick(&OPERATORS);
    let number = || [json!(0), json!(1), json!(1.5), json!(100), json!(-1)];
    let value = match op {
        "lt" | "le" | "gt" | "ge" => Some(number()[random.below(5)].clone()),
        "in" | "not_in" => Some(json!([scalar(random), scalar(random)])),
        "prefix" | "suffix" => Some(json!(random.pick(&["a", "b", "ab"]))),
        "matches" => Some(json!(random.pick(&["^a", "b$", "^ab", "a$"]))),
        "exists" | "missing" => None,
        "contains" => Some(match random.below(3) {
            0 => json!(random.pick(&["a", "b"])),
            _ => number()[random.below(5)].clone(),
        }),
        _ => Some(scalar(random)),
    };
    let arg = Some(random.pick(&PATHS).to_owned());
    ConditionSpec { arg, op: Some(op.to_owned()), value, ..ConditionSpec::default() }
}

/// A condition on anything but arguments.
fn other_condition(random: &mut Random) -> ConditionSpec {
    let none = ConditionSpec::default();
    match random.below(4) {
        0 => ConditionSpec { client: Some(random.pick(&["Toy", "T*", "Cursor"]).into()), ..none },
        1 => ConditionSpec {
            ip: Some(random.pick(&["10.0.0.0/8", "10.1.0.0/16", "127.0.0.1"]).into()),
            ..none
        },
        2 => ConditionSpec {
            annotation: Some(random.pick(&["destructiveHint", "readOnlyHint"]).into()),
            is: [None, Some(true), Some(false)][random.below(3)],
            ..none
        },
        _ => ConditionSpec {
            time: Some(random.pick(&["09:00-17:00", "22:00-06:00", "12:30-24:00"]).into()),
            ..none
        },
    }
}

/// A condition, a value for which it holds, and one for which it neither holds nor is in doubt.
fn separable_condition(
    arg: &str,
    random: &mut Random,
) -> (ConditionSpec, Option<Value>, Option<Value>) {
    type Form = (&'static str, Option<Value>, Option<Value>, Option<Value>);
    let forms: [Form; 12] = [
        ("eq", Some(json!("a")), Some(json!("a")), Some(json!("b"))),
        ("ne", Some(json!(1)), Some(json!(2)), Some(json!(1.0))),
        ("le", Some(json!(10)), Some(json!(10)), Some(json!(10.5))),
        ("gt", Some(json!(10)), Some(json!(11)), Some(json!(10))),
        ("in", Some(json!(["a", 1])), Some(json!(1)), Some(json!("b"))),
        ("not_in", Some(json!(["a", 1])), Some(json!("b")), Some(json!("a"))),
        ("prefix", Some(json!("a")), Some(json!("ab")), Some(json!("ba"))),
        ("suffix", Some(json!("a")), Some(json!("ba")), None),
        ("contains", Some(json!("a")), Some(json!(["a"])), Some(json!(["b"]))),
        ("matches", Some(json!("^a")), Some(json!("abc")), Some(json!("cba"))),
        ("exists", None, Some(json!([])), None),
        ("missing", None, None, Some(json!(0))),
    ];
    let (op, value, satisfied, avoided) = forms[random.below(forms.len())].clone();
    let (arg, op) = (Some(arg.to_owned()), Some(op.to_owned()));
    (ConditionSpec { arg, op, value, ..ConditionSpec::default() }, satisfied, avoided)
}

fn scalar(random: &mut Random) -> Value {
    match random.below(7) {
        0 | 1 => json!(random.pick(&["a", "ab", "b", "1"])),
        2 => json!(1.5),
        3 => json!(true),
        _ => json!([0, 1, 100, -1][random.below(4)]),
    }
}

fn value(depth: usize, random: &mut Random) -> Value {
    match random.below(if depth == 0 { 6 } else { 10 }) {
        0..=4 => scalar(random),
        5 => Value::Null,
        6 | 7 => Value::Array((0..random.below(3)).map(|_| value(depth - 1, random)).collect()),
        _ => object(depth - 1, random),
    }
}

fn object(depth: usize, random: &mut Random) -> Value {
    let mut keys = random.some(&["n", "s", "b", "o", "l", "0", "*"]);
    if random.once_in(12) {
        // Raw Cedar, which here names `n` and `s` at the top, refuses their twins altogether.
        let nested = (1..=2).contains(&depth);
        let twins: &[&str] = if nested { &["N", "S", "O"] } else { &["O", "B"] };
        keys.push(random.pick(twins).to_owned());
    }
    Value::Object(keys.into_iter().map(|key| (key, value(depth, random))).collect())
}

fn arguments(random: &mut Random) -> Value {
    if random.once_in(40) { value(1, random) } else { object(3, random) }
}

fn circumstances(random: &mut Random) -> Circumstances {
    let ips = [[10, 1, 2, 3], [10, 9, 9, 9], [127, 0, 0, 1], [8, 8, 8, 8]];
    let minutes = [0, 359, 360, 540, 750, 1019, 1020, 1320, 1439][random.below(9)];
    Circumstances {
        client: random.pick(&["", "Toy", "Toy box", "Cursor"]).to_owned(),
        ip: IpAddr::V4(Ipv4Addr::from(ips[random.below(4)])),
        now: Timestamp::UNIX_EPOCH + time::Duration::minutes(20_000 * 1440 + minutes),
    }
}
