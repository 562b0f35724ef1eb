//! What a condition means. Each has three ends: it holds, it fails, or the value is of another type than
//! the operator needs.
//!
//! An absent argument fails (except for `missing`). A value of another type fails for allow and holds for
//! deny and confirm, so that no rule is slipped by changing a type. With `*` in a path, allow needs every
//! element to hold, deny and confirm need one.

use std::cmp::Ordering;
use std::net::IpAddr;

use gateway_core::decision::{Circumstances, Target};
use gateway_core::json::{Json, Kind, write_string};
use gateway_core::server::Server;
use ipnet::IpNet;
use regex::Regex;
use time::UtcOffset;

use crate::glob::Glob;
use crate::number::Decimal;
use crate::path::{Arguments, Leaf, Path};

/// A checked condition.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// On an argument.
    Argument { path: Path, text: String, test: Test },
    /// On the client's name.
    Client(Glob),
    /// On the caller's address.
    Ip(IpNet),
    /// On an annotation of the tool.
    Annotation { name: String, is: bool },
    /// On the time of day.
    Time(Span),
}

/// What an argument is tested for.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Equal(Vec<Scalar>, Shown),
    NotEqual(Vec<Scalar>, Shown),
    Compare(Comparison, Decimal, Shown),
    Prefix(String),
    Suffix(String),
    Contains(Scalar, Shown),
    Matches(Regex),
    Exists,
    Missing,
}

/// How `Equal` and friends were written, for messages: the operator and the value as JSON.
pub(crate) type Shown = String;

/// Which orders satisfy a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Lt,
    Le,
    Gt,
    Ge,
}

/// A value in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text(String),
    Number(Decimal),
    Truth(bool),
}

/// Part of a day, in minutes after midnight at `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) offset: UtcOffset,
}

/// How a test of one value ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Holds,
    Fails,
    WrongType,
}

/// Whose condition it is decides what counts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// Of an allowing policy: in doubt it does not hold.
    Allow,
    /// Of a denying or confirming policy: in doubt it holds.
    Deny,
}

/// What a condition is about, which says when its end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Arguments,
    Circumstances,
    Definition,
}

/// Everything that a condition may look at.
pub(crate) struct View<'a> {
    pub(crate) server: &'a Server,
    pub(crate) target: Target<'a>,
    pub(crate) arguments: &'a Arguments<'a>,
    pub(crate) circumstances: &'a Circumstances,
}

impl Condition {
    pub(crate) fn about(&self) -> About {
        match self {
            Condition::Argument { .. } => About::Arguments,
            Condition::Client(_) | Condition::Ip(_) | Condition::Time(_) => About::Circumstances,
            Condition::Annotation { .. } => About::Definition,
        }
    }

    /// True when it holds for a policy of that side.
    pub(crate) fn holds(&self, side: Side, view: &View<'_>) -> bool {
        match self {
            Condition::Argument { path, test, .. } => match side {
                Side::Allow => !path.any(view.arguments, &mut |leaf| test.on(leaf) != End::Holds),
                Side::Deny => path.any(view.arguments, &mut |leaf| test.on(leaf) != End::Fails),
            },
            Condition::Client(glob) => {
                let client = &view.circumstances.client;
                !client.is_empty() && glob.matches(client)
            }
            Condition::Ip(net) => net.contains(&canonical(view.circumstances.ip)),
            Condition::Annotation { name, is } => annotated(name, *is, side, view),
            Condition::Time(span) => span.contains(view.circumstances),
        }
    }

    /// One text per meaning: two conditions with the same text are the same condition.
    pub(crate) fn text(&self) -> String {
        match self {
            Condition::Argument { text, test, .. } => {
                format!("arg {} {}", quoted(text), test.text())
            }
            Condition::Client(glob) => format!("client {}", quoted(glob.as_str())),
            Condition::Ip(net) => format!("ip {net}"),
            Condition::Annotation { name, is } => format!("annotation {} is {is}", quoted(name)),
            Condition::Time(Span { from, to, offset }) => format!(
                "time {:02}:{:02}-{:02}:{:02} {offset}",
                from / 60,
                from % 60,
                to / 60,
                to % 60
            ),
        }
    }
}

/// An IPv4 address in IPv6 clothes is the IPv4 address.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn annotated(name: &str, is: bool, side: Side, view: &View<'_>) -> bool {
    match view.target {
        Target::Tool(tool) => match view.server.tool(tool) {
            Some(tool) => tool.annotations.iter().any(|a| a == name) == is,
            // Nothing is known of the tool: in doubt.
            None => side == Side::Deny,
        },
        Target::Resource(_) | Target::Prompt(_) => false,
    }
}

impl Span {
    fn contains(&self, circumstances: &Circumstances) -> bool {
        let now = circumstances.now.to_offset(self.offset);
        let minute = u16::from(now.hour()) * 60 + u16::from(now.minute());
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl Test {
    fn on(&self, leaf: Leaf<'_>) -> End {
        let value = match (leaf, self) {
            (Leaf::Obstructed | Leaf::Twin, _) => return End::WrongType,
            (Leaf::Absent, Test::Missing) => return End::Holds,
            (Leaf::Absent, _) => return End::Fails,
            (Leaf::Value(value), _) if value.kind() == Kind::Null => return End::WrongType,
            (Leaf::Value(value), _) => value,
        };
        match self {
            Test::Equal(any, _) => among(any, value),
            Test::NotEqual(any, _) => match among(any, value) {
                End::Holds => End::Fails,
                End::Fails => End::Holds,
                End::WrongType => End::WrongType,
            },
            Test::Compare(comparison, with, _) => match value.as_number() {
                Some(number) => end(comparison.accepts(Decimal::parse(number).cmp(with))),
                None => End::WrongType,
            },
            Test::Prefix(prefix) => on_text(value, |text| text.starts_with(prefix)),
            Test::Suffix(suffix) => on_text(value, |text| text.ends_with(suffix)),
            Test::Matches(regex) => on_text(value, |text| regex.is_match(text)),
            Test::Contains(part, _) => contains(value, part),
            Test::Exists => End::Holds,
            Test::Missing => End::Fails,
        }
    }

    /// Operator and operand, as written.
    fn text(&self) -> String {
        match self {
            Test::Equal(_, shown)
            | Test::NotEqual(_, shown)
            | Test::Compare(_, _, shown)
            | Test::Contains(_, shown) => shown.clone(),
            Test::Prefix(text) => format!("prefix {}", quoted(text)),
            Test::Suffix(text) => format!("suffix {}", quoted(text)),
            Test::Matches(regex) => format!("matches {}", quoted(regex.as_str())),
            Test::Exists => "exists".into(),
            Test::Missing => "missing".into(),
        }
    }
}

impl Comparison {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Comparison::Lt => order.is_lt(),
            Comparison::Le => order.is_le(),
            Comparison::Gt => order.is_gt(),
            Comparison::Ge => order.is_ge(),
        }
    }
}

fn end(holds: bool) -> End {
    if holds { End::Holds } else { End::Fails }
}

fn on_text(value: Json<'_>, test: impl FnOnce(&str) -> bool) -> End {
    value.as_str().map_or(End::WrongType, |text| end(test(&text)))
}

fn equal(scalar: &Scalar, value: Json<'_>) -> End {
    let same = match scalar {
        Scalar::Text(text) => value.as_str().map(|v| v == *text),
        Scalar::Number(number) => value.as_number().map(|v| Decimal::parse(v) == *number),
        Scalar::Truth(truth) => value.as_bool().map(|v| v == *truth),
    };
    same.map_or(End::WrongType, end)
}

/// Equal to one of several; of another type only when it is of another type than each.
fn among(any: &[Scalar], value: Json<'_>) -> End {
    let mut best = End::WrongType;
    for scalar in any {
        match equal(scalar, value) {
            End::Holds => return End::Holds,
            End::Fails => best = End::Fails,
            End::WrongType => {}
        }
    }
    best
}

/// A text that holds a text, or an array that holds an equal element.
fn contains(value: Json<'_>, part: &Scalar) -> End {
    match (value.kind(), part) {
        (Kind::String, Scalar::Text(part)) => on_text(value, |text| text.contains(part)),
        (Kind::Array, part) => {
            let mut worst = End::Fails;
            for element in value.elements() {
                match equal(part, element) {
                    End::Holds => return End::Holds,
                    End::WrongType => worst = End::WrongType,
                    End::Fails => {}
                }
            }
            worst
        }
        (Kind::String | Kind::Null | Kind::Bool | Kind::Number | Kind::Object, _) => End::WrongType,
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}
