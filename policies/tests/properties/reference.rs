//! What policies mean, written as plainly as possible: no Cedar, no slices, no compiled conditions, no
//! code shared with the package. Reads policies as written and arguments as serde_json reads them.

use std::net::Ipv4Addr;

use gateway_core::caller::{PrincipalKind, User};
use gateway_core::decision::{Approver, Circumstances};
use gateway_core::ids::PolicyId;
use gateway_core::server::Server;
use policies::{ConditionSpec, PolicySpec};
use serde_json::Value;

use crate::world::{Ask, Kind, RawForm, World};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow(Vec<PolicyId>),
    Deny(bool, Vec<PolicyId>),
    Confirm(Vec<PolicyId>, Vec<Approver>),
}

pub(crate) struct Reference<'a> {
    world: &'a World,
}

/// How a test of a value ends.
#[derive(PartialEq, Clone, Copy)]
enum End {
    Yes,
    No,
    Doubt,
}

/// What is assumed of arguments and circumstances.
#[derive(PartialEq, Clone, Copy)]
enum Know {
    All,
    /// Neither arguments nor circumstances: the best is assumed.
    Nothing,
}

impl<'a> Reference<'a> {
    pub(crate) fn new(world: &'a World) -> Reference<'a> {
        Reference { world }
    }

    pub(crate) fn decide(&self, ask: &Ask) -> Answer {
        let about: Vec<usize> =
            (0..self.world.specs.len()).filter(|p| self.is_about(*p, ask)).collect();
        let with = |effect: &str| {
            about.iter().copied().filter(|p| self.effect(*p) == effect).collect::<Vec<_>>()
        };
        let holding = |effect: &str| -> Vec<usize> {
            with(effect).into_iter().filter(|p| self.holds(*p, ask, Know::All)).collect()
        };
        let possible: Vec<usize> =
            with("allow").into_iter().filter(|p| self.holds(*p, ask, Know::Nothing)).collect();
        let (allows, denies, confirms) = (holding("allow"), holding("deny"), holding("confirm"));
        if !denies.is_empty() {
            return Answer::Deny(possible.is_empty(), self.ids(&denies));
        }
        if allows.is_empty() {
            return Answer::Deny(possible.is_empty(), self.ids(&possible));
        }
        if confirms.is_empty() || ask.confirmed {
            return Answer::Allow(self.ids(&allows));
        }
        let mut approvers: Vec<Approver> = confirms.iter().map(|p| self.approver(*p)).collect();
        approvers.sort();
        approvers.dedup();
        Answer::Confirm(self.ids(&confirms), approvers)
    }

    /// Tries every name that anything speaks of, and one that nothing speaks of.
    pub(crate) fn may_enter(&self, user: usize, server: usize) -> bool {
        let mut names: Vec<String> = vec!["q9q".into()];
        for spec in &self.world.specs {
            for list in [&spec.tools, &spec.resources, &spec.prompts].into_iter().flatten() {
                names.extend(list.iter().map(|pattern| pattern.replace('*', "q9q")));
            }
        }
        names.extend(self.world.servers[server].tools.iter().map(|tool| tool.name.clone()));
        let asks = Kind::ALL
            .into_iter()
            .flat_map(|kind| names.iter().map(move |name| Ask::bare(user, server, kind, name)));
        asks.into_iter().any(|ask| {
            let could = |effect: &str| {
                (0..self.world.specs.len()).any(|p| {
                    self.effect(p) == effect
                        && self.is_about(p, &ask)
                        && self.holds(p, &ask, Know::Nothing)
                })
            };
            could("allow") && !could("deny")
        })
    }

    /// What could be done at best: 0 nothing, 1 once people agree, 2 everything.
    pub(crate) fn level(&self, ask: &Ask) -> u8 {
        let could = |effect: &str| {
            (0..self.world.specs.len()).any(|p| {
                self.effect(p) == effect
                    && self.is_about(p, ask)
                    && self.holds(p, ask, Know::Nothing)
            })
        };
        match (could("allow") && !could("deny"), could("confirm")) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        }
    }

    fn ids(&self, policies: &[usize]) -> Vec<PolicyId> {
        policies.iter().map(|p| World::id(*p)).collect()
    }

    fn effect(&self, policy: usize) -> &str {
        match &self.world.raw[policy] {
            Some(raw) => raw.effect(),
            None => self.world.specs[policy].effect.as_deref().unwrap(),
        }
    }

    fn approver(&self, policy: usize) -> Approver {
        let by = self.world.specs[policy].by.clone().unwrap_or("caller".into());
        Approver::try_from(by).unwrap()
    }

    fn is_about(&self, policy: usize, ask: &Ask) -> bool {
        let spec = &self.world.specs[policy];
        if self.world.raw[policy].is_some() {
            return true;
        }
        let user = &self.world.users[ask.user];
        let agent = user.kind == PrincipalKind::Agent;
        let person = spec.principals.as_ref().unwrap().iter().any(|principal| {
            match principal.split_once(':') {
                None => principal == "everyone",
                Some(("user", email)) => !agent && user.email == email.to_lowercase(),
                Some(("group", name)) => !agent && user.groups.iter().any(|group| group == name),
                Some(("agent", name)) => agent && user.name == name,
                Some(("attribute", test)) => {
                    let (name, value) = test.split_once('=').unwrap();
                    !agent && has(user, name, value)
                }
                Some(("role", name)) => user.roles.iter().any(|role| role.as_str() == name),
                Some(_) => false,
            }
        });
        let slug = self.world.servers[ask.server].slug.as_str();
        let server = spec.server.as_deref().unwrap();
        person && (server == "*" || server == slug) && covers(spec, ask)
    }

    fn holds(&self, policy: usize, ask: &Ask, know: Know) -> bool {
        let server = &self.world.servers[ask.server];
        if let Some(raw) = &self.world.raw[policy] {
            return self.raw_holds(raw, ask, know);
        }
        let allow = self.effect(policy) == "allow";
        let spec = &self.world.specs[policy];
        if let Some(until) = &spec.until {
            let now = ask.circumstances.now;
            let now = format!("2024-10-04T{:02}:{:02}:00Z", now.hour(), now.minute());
            if if know == Know::Nothing { !allow } else { now >= *until } {
                return false;
            }
        }
        spec.when.iter().all(|condition| holds(condition, allow, ask, server, know))
    }

    fn raw_holds(&self, raw: &RawForm, ask: &Ask, know: Know) -> bool {
        let user = &self.world.users[ask.user];
        let tool = ask.kind == Kind::Tool;
        let agent = user.kind == PrincipalKind::Agent;
        let slug = self.world.servers[ask.server].slug.as_str();
        match raw {
            RawForm::GroupOnServer => {
                !agent && user.groups.iter().any(|g| g == "g0") && slug == "s0"
            }
            RawForm::AgentsOnly => agent && slug == "s2",
            RawForm::NoAgentG0 => agent && user.name == "g0",
            RawForm::AttributeOnServer => !agent && has(user, "dept", "a") && slug == "s2",
            RawForm::AttributeAmongClients => {
                know == Know::All && !agent && has(user, "dept", &ask.circumstances.client)
            }
            RawForm::SmallNumbers => {
                let small = || {
                    let n = ask.arguments.as_ref().and_then(|a| a.get("n"));
                    n.and_then(Value::as_f64).is_some_and(|n| n.fract() == 0.0 && n <= 1.0)
                };
                tool && slug == "s1" && (know == Know::Nothing || small())
            }
            RawForm::NoClientToy => know == Know::All && ask.circumstances.client == "Toy",
            RawForm::NamesWithB => tool && ask.name.contains('b'),
            RawForm::TextIsNotOwner => {
                let is = || {
                    let s = ask.arguments.as_ref().and_then(|a| a.get("s"));
                    s.and_then(Value::as_str) == Some("ab")
                };
                tool && know == Know::All && !is()
            }
        }
    }
}

fn has(user: &User, name: &str, value: &str) -> bool {
    let values = user.attributes.get(name).into_iter().flatten();
    values.into_iter().any(|known| known == value)
}

fn covers(spec: &PolicySpec, ask: &Ask) -> bool {
    let lists = [&spec.tools, &spec.resources, &spec.prompts];
    if lists.iter().all(|list| list.is_none()) {
        return true;
    }
    let list = match ask.kind {
        Kind::Tool => &spec.tools,
        Kind::Resource => &spec.resources,
        Kind::Prompt => &spec.prompts,
    };
    list.as_ref().is_some_and(|list| list.iter().any(|pattern| glob(pattern, &ask.name)))
}

fn glob(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            (0..=name.len()).any(|n| name.is_char_boundary(n) && glob(rest, &name[n..]))
        }
        Some(c) => name.strip_prefix(c).is_some_and(|name| glob(&pattern[c.len_utf8()..], name)),
    }
}

fn holds(condition: &ConditionSpec, allow: bool, ask: &Ask, server: &Server, know: Know) -> bool {
    if let Some(path) = &condition.arg {
        if know == Know::Nothing && ask.kind != Kind::Resource {
            return allow;
        }
        let none = Value::Object(serde_json::Map::new());
        let arguments = match ask.kind {
            Kind::Resource => &none,
            Kind::Tool | Kind::Prompt => ask.arguments.as_ref().unwrap_or(&none),
        };
        let path: Vec<&str> = path.split('.').collect();
        let mut ends = vec![];
        follow(Some(arguments), &path, &mut ends);
        let results = ends.into_iter().map(|end| match end {
            Found::Value(value) => test(condition, value),
            Found::Nothing if condition.op.as_deref() == Some("missing") => End::Yes,
            Found::Nothing => End::No,
            Found::Blocked => End::Doubt,
        });
        let results: Vec<End> = results.collect();
        return if allow {
            results.iter().all(|end| *end == End::Yes)
        } else {
            results.iter().any(|end| *end != End::No)
        };
    }
    if let Some(name) = &condition.annotation {
        if ask.kind != Kind::Tool {
            return know == Know::Nothing && server.tools.is_empty() && allow;
        }
        if know == Know::Nothing && server.tools.is_empty() {
            return allow;
        }
        return match server.tools.iter().find(|tool| tool.name == ask.name) {
            Some(tool) => tool.annotations.contains(name) == condition.is.unwrap_or(true),
            None => !allow,
        };
    }
    if know == Know::Nothing {
        return allow;
    }
    circumstance(condition, &ask.circumstances)
}

fn circumstance(condition: &ConditionSpec, circumstances: &Circumstances) -> bool {
    if let Some(client) = &condition.client {
        return !circumstances.client.is_empty() && glob(client, &circumstances.client);
    }
    if let Some(net) = &condition.ip {
        let (address, bits) = net.split_once('/').unwrap_or((net, "32"));
        let (address, bits): (Ipv4Addr, u32) = (address.parse().unwrap(), bits.parse().unwrap());
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        let std::net::IpAddr::V4(ip) = circumstances.ip else { return false };
        return u32::from(ip) & mask == u32::from(address) & mask;
    }
    let (from, to) = condition.time.as_deref().unwrap().split_once('-').unwrap();
    let now = format!("{:02}:{:02}", circumstances.now.hour(), circumstances.now.minute());
    let (from, to, now) = (from, to, now.as_str());
    if from < to { from <= now && now < to } else { from <= now || now < to }
}

enum Found<'a> {
    Value(&'a Value),
    Nothing,
    Blocked,
}

fn follow<'a>(value: Option<&'a Value>, path: &[&str], ends: &mut Vec<Found<'a>>) {
    let Some(value) = value else { return ends.push(Found::Nothing) };
    let Some((first, rest)) = path.split_first() else { return ends.push(Found::Value(value)) };
    match value {
        Value::Object(members) if *first != "*" => {
            // The names of these worlds have no other twins.
            if members.keys().any(|key| key != first && key.to_lowercase() == *first) {
                ends.push(Found::Blocked);
            }
            follow(members.get(*first), rest, ends);
        }
        Value::Array(items) if *first == "*" && items.is_empty() => ends.push(Found::Nothing),
        Value::Array(items) if *first == "*" => {
            items.iter().for_each(|item| follow(Some(item), rest, ends));
        }
        Value::Array(items) => match first.parse::<usize>() {
            Ok(index) => follow(items.get(index), rest, ends),
            Err(_) => ends.push(Found::Blocked),
        },
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            ends.push(Found::Blocked);
        }
    }
}

fn test(condition: &ConditionSpec, value: &Value) -> End {
    let wanted = condition.value.as_ref().unwrap_or(&Value::Null);
    let yes = |holds: bool| if holds { End::Yes } else { End::No };
    let not = |end: End| match end {
        End::Yes => End::No,
        End::No => End::Yes,
        End::Doubt => End::Doubt,
    };
    if value.is_null() {
        return End::Doubt;
    }
    let texts = || Some((value.as_str()?, wanted.as_str()?));
    let numbers = || Some((value.as_f64()?, wanted.as_f64()?));
    let on_text = |holds: fn(&str, &str) -> bool| {
        texts().map_or(End::Doubt, |(value, wanted)| yes(holds(value, wanted)))
    };
    let on_number = |holds: fn(&f64, &f64) -> bool| {
        numbers().map_or(End::Doubt, |(value, wanted)| yes(holds(&value, &wanted)))
    };
    match condition.op.as_deref().unwrap() {
        "eq" => same(value, wanted),
        "ne" => not(same(value, wanted)),
        "in" => any_same(value, wanted),
        "not_in" => not(any_same(value, wanted)),
        "lt" => on_number(|a, b| a < b),
        "le" => on_number(|a, b| a <= b),
        "gt" => on_number(|a, b| a > b),
        "ge" => on_number(|a, b| a >= b),
        "prefix" => on_text(|value, wanted| value.starts_with(wanted)),
        "suffix" => on_text(|value, wanted| value.ends_with(wanted)),
        "contains" => match value {
            Value::String(text) if wanted.is_string() => {
                yes(text.contains(wanted.as_str().unwrap()))
            }
            Value::Array(items) => {
                let ends: Vec<End> = items.iter().map(|item| same(item, wanted)).collect();
                if ends.contains(&End::Yes) {
                    End::Yes
                } else if ends.contains(&End::Doubt) {
                    End::Doubt
                } else {
                    End::No
                }
            }
            Value::String(_)
            | Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_) => End::Doubt,
        },
        // The only patterns in use are ^x and x$.
        "matches" => match wanted.as_str().unwrap().strip_prefix('^') {
            Some(start) => value.as_str().map_or(End::Doubt, |v| yes(v.starts_with(start))),
            None => {
                let end = wanted.as_str().unwrap().trim_end_matches('$');
                value.as_str().map_or(End::Doubt, |v| yes(v.ends_with(end)))
            }
        },
        "exists" => End::Yes,
        "missing" => End::No,
        other => panic!("{other}"),
    }
}

fn same(value: &Value, wanted: &Value) -> End {
    let equal = match (value, wanted) {
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => return End::Doubt,
    };
    if equal { End::Yes } else { End::No }
}

fn any_same(value: &Value, wanted: &Value) -> End {
    let ends: Vec<End> = wanted.as_array().unwrap().iter().map(|one| same(value, one)).collect();
    if ends.contains(&End::Yes) {
        End::Yes
    } else if ends.contains(&End::No) {
        End::No
    } else {
        End::Doubt
    }
}
