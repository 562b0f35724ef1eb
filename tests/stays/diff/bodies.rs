//! Bodies as clients, buggy clients and attackers send them: JSON-RPC by a grammar, in every legal spelling, and then
//! often spoilt in one place, on the level of members or of bytes.

use gateway_core::mcp::{MODERN_VERSION, meta};

use crate::random::Random;

/// A JSON text that is not written yet.
enum Node {
    /// Its source spelling.
    Literal(String),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

const METHODS: &[&str] = &[
    "tools/call",
    "tools/call",
    "tools/call",
    "tools/call",
    "prompts/get",
    "resources/read",
    "tasks/get",
    "tools/list",
    "completion/complete",
    "initialize",
    "server/discover",
    "notifications/cancelled",
    "ping",
    "Tools/Call",
    "tools/ſ",
];
const NAMES: &[&str] = &[
    "read",
    "delete",
    "readé",
    "read\u{301}",
    "Read",
    "re\u{200b}ad",
    "a\"b\\c/d",
    "\u{10ffff}",
    "😀",
    "",
    "\0",
    "\u{7f}",
    "\u{8}\u{c}",
    "\u{2028}x",
    "\u{feff}read",
    "file:///etc/passwd",
    "ſ\u{212a}",
];
const KEYS: &[&str] = &[
    "amount",
    "to",
    "n",
    "__proto__",
    "constructor",
    "toString",
    "",
    "a.b",
    "10",
    "9",
    "😀",
    "\u{fffd}",
    "ſ",
    "key\"",
    "name",
    "arguments",
    "Amount",
    "\0",
    "\u{2029}",
];
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "100",
    "1.0",
    "1e2",
    "1E+2",
    "1e-7",
    "0.1",
    "-0.0",
    "1e400",
    "-1e400",
    "5e-324",
    "1e-400",
    "9007199254740993",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.30000000000000004",
    "4.35",
    "1e23",
    "2.2250738585072011e-308",
    "1.7976931348623159e308",
    "179769313486231580793e289",
    "0e0",
    "100000000000000000000e-20",
];
/// Members that may not be there beside the real ones.
const TWINS: &[&str] = &[
    "Method",
    "METHOD",
    "Params",
    "paramſ",
    "Id",
    "Name",
    "NAME",
    "argumentſ",
    "Arguments",
    "Uri",
    "tas\u{212a}Id",
    "_Meta",
];
/// What is not JSON, and what only some parsers take for it.
const TOKENS: &[&[u8]] = &[
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"+1",
    b"01",
    b".5",
    b"1.",
    b"0x10",
    b"'a'",
    b"/*c*/",
    b"//c\n",
    b",",
    b"]",
    b"}",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"\\ud83d\\ude00",
    b"\\u0000",
    b"\\x41",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\xa0",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"undefined",
    b"True",
    b"nul",
    b"1e",
    b"-",
    b" ",
];

/// The next body, and the version header that came with it.
pub(super) fn body(random: &mut Random) -> (Vec<u8>, Option<&'static str>) {
    let modern = random.percent(40);
    let mut members = envelope(random, modern);
    if random.percent(25) {
        spoil_members(&mut members, random);
    }
    let mut text = String::new();
    space(random, &mut text);
    write(&Node::Object(members), random, &mut text);
    space(random, &mut text);
    let mut bytes = text.into_bytes();
    if random.percent(25) {
        spoil_bytes(&mut bytes, random);
    }
    (bytes, (modern != random.percent(5)).then_some(MODERN_VERSION))
}

fn envelope(random: &mut Random, modern: bool) -> Vec<(String, Node)> {
    let mut members = vec![("jsonrpc".to_owned(), Node::Text("2.0".into()))];
    if random.percent(92) {
        let id = if random.percent(50) { number(random) } else { name(random) };
        members.push(("id".into(), id));
    }
    if random.percent(4) {
        members.push(("result".into(), value(random, 3)));
    } else {
        let method = random.pick(METHODS).to_owned();
        let params = params(random, &method, modern);
        members.push(("method".into(), Node::Text(method)));
        if random.percent(97) {
            members.push(("params".into(), params));
        }
    }
    if random.percent(10) {
        members.push((random.pick(KEYS).to_owned(), value(random, 2)));
    }
    shuffle(&mut members, random);
    members
}

fn params(random: &mut Random, method: &str, modern: bool) -> Node {
    let mut members = Vec::new();
    if modern {
        members.push(("_meta".to_owned(), modern_meta(random)));
    } else if random.percent(10) {
        members.push(("_meta".into(), value(random, 2)));
    }
    let target = match method {
        "resources/read" => "uri",
        "tasks/get" => "taskId",
        _ => "name",
    };
    if random.percent(96) {
        members.push((target.into(), name(random)));
    }
    if random.percent(80) {
        let fields = (0..random.below(5)).map(|_| (key(random), value(random, 4))).collect();
        members.push(("arguments".into(), unique(fields)));
    }
    if random.percent(15) {
        members.push((
            random.pick(&["uri", "cursor", "task", "x", "10"]).to_owned(),
            value(random, 2),
        ));
    }
    shuffle(&mut members, random);
    unique(members)
}

fn modern_meta(random: &mut Random) -> Node {
    let version = if random.percent(95) { MODERN_VERSION } else { "2025-11-25" };
    Node::Object(vec![
        (meta::PROTOCOL_VERSION.into(), Node::Text(version.into())),
        (meta::CLIENT_CAPABILITIES.into(), Node::Object(vec![])),
    ])
}

fn value(random: &mut Random, depth: usize) -> Node {
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 => Node::Literal(random.pick(&["null", "true", "false"]).into()),
        1 | 2 => number(random),
        3 | 4 => name(random),
        5 | 6 => Node::Array((0..random.below(4)).map(|_| value(random, depth - 1)).collect()),
        _ => {
            unique((0..random.below(5)).map(|_| (key(random), value(random, depth - 1))).collect())
        }
    }
}

fn number(random: &mut Random) -> Node {
    if random.percent(50) {
        return Node::Literal(random.pick(NUMBERS).into());
    }
    let digits: String =
        (0..1 + random.below(20)).map(|_| char::from(b'0' + random.below(10) as u8)).collect();
    let whole = digits.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction =
        if random.percent(40) { format!(".{:04}", random.below(10_000)) } else { String::new() };
    let exponent = if random.percent(20) {
        format!("e{}", random.below(600) as i64 - 300)
    } else {
        String::new()
    };
    Node::Literal(format!("{}{whole}{fraction}{exponent}", random.pick(&["", "-"])))
}

fn name(random: &mut Random) -> Node {
    Node::Text(random.pick(NAMES).into())
}

fn key(random: &mut Random) -> String {
    random.pick(KEYS).to_owned()
}

/// Without members that are there already: doubles come from [`spoil_members`] alone.
fn unique(members: Vec<(String, Node)>) -> Node {
    let mut seen = std::collections::HashSet::new();
    Node::Object(members.into_iter().filter(|(key, _)| seen.insert(key.clone())).collect())
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i + 1));
    }
}

/// Doubles a member, puts another's twin beside it, or nests very deep, somewhere.
fn spoil_members(members: &mut Vec<(String, Node)>, random: &mut Random) {
    let inner = members.iter_mut().filter_map(|(_, node)| match node {
        Node::Object(inner) => Some(inner).filter(|inner| !inner.is_empty()),
        Node::Literal(_) | Node::Text(_) | Node::Array(_) => None,
    });
    let mut inner: Vec<_> = inner.collect();
    if !inner.is_empty() && random.percent(60) {
        let which = random.below(inner.len());
        return spoil_members(inner.swap_remove(which), random);
    }
    let place = random.below(members.len() + 1);
    match random.below(5) {
        0..=2 if !members.is_empty() => {
            let key = members[random.below(members.len())].0.clone();
            members.insert(place, (key, value(random, 2)));
        }
        3 => members.insert(place, (random.pick(TWINS).into(), name(random))),
        _ => {
            let deep = 55 + random.below(12);
            let node = (0..deep).fold(number(random), |inner, _| Node::Array(vec![inner]));
            members.insert(place, ("deep".into(), node));
        }
    }
}

fn spoil_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    let place = random.below(bytes.len() + 1);
    match random.below(6) {
        0 => bytes[random.below(place.max(1))] = random.next() as u8,
        1 => bytes.truncate(place),
        2 => {
            let end = (place + random.below(8)).min(bytes.len());
            bytes.drain(place..end);
        }
        3 => {
            let again = bytes[random.below(place.max(1))..place].to_vec();
            bytes.splice(place..place, again);
        }
        4 => bytes
            .splice(0..0, random.pick(&[&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\0", b"["]).to_vec())
            .for_each(drop),
        _ => bytes.splice(place..place, random.pick(TOKENS).to_vec()).for_each(drop),
    }
}

fn space(random: &mut Random, out: &mut String) {
    if random.percent(12) {
        out.push_str(random.pick(&[" ", "\n", "\t", "\r\n", "  "]));
    }
}

fn write(node: &Node, random: &mut Random, out: &mut String) {
    match node {
        Node::Literal(source) => out.push_str(source),
        Node::Text(text) => write_text(text, random, out),
        Node::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                space(random, out);
                write(item, random, out);
                space(random, out);
            }
            out.push(']');
        }
        Node::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                space(random, out);
                write_text(key, random, out);
                space(random, out);
                out.push(':');
                space(random, out);
                write(value, random, out);
                space(random, out);
            }
            out.push('}');
        }
    }
}

/// A string in one of its many spellings.
fn write_text(text: &str, random: &mut Random, out: &mut String) {
    let escape_all = random.percent(6);
    out.push('"');
    for c in text.chars() {
        let must = c == '"' || c == '\\' || (c as u32) < 0x20;
        match c {
            _ if !must && !escape_all && !random.percent(3) => out.push(c),
            '"' | '\\' | '/' if random.percent(70) => out.extend(['\\', c]),
            '\u{8}' if random.percent(50) => out.push_str("\\b"),
            '\u{c}' if random.percent(50) => out.push_str("\\f"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let hex = format!("{unit:04x}");
                    out.push_str("\\u");
                    out.push_str(&if random.percent(50) { hex.to_uppercase() } else { hex });
                }
            }
        }
    }
    out.push('"');
}
