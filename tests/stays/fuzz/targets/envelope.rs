//! Strict JSON and the JSON-RPC envelope: what is accepted, serde reads the same, and its canonical spelling is stable.

use gateway_core::json::Json;
use gateway_core::mcp::{MODERN_VERSION, understand};
use gateway_core::sniff::Sniffer;

use super::Target;
use crate::reading::agrees_with_serde;

pub(super) const TARGET: Target = Target {
    name: "envelope",
    run,
    inputs: 40_000,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b"\\u0041",
        b"\\ud83d\\ude00",
        b"\\ud800",
        b"\"id\":",
        b"\"method\":",
        b"\"params\":",
        b"\"name\":",
        b"\"arguments\":",
        b"\"Name\":1,",
        b"null",
        b"true",
        b"1e400",
        b"-0",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\"_meta\":",
        b"\"result\":",
        b"\"tools/call\"",
        b"\"\\u006eame\":",
    ],
};

/// An odd first byte sends the modern version header; the rest is the body.
fn run(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let version = (first % 2 == 1).then_some(MODERN_VERSION);
    if let Ok(call) = understand(body, version) {
        agrees_with_serde(&call, body).unwrap();
    }
    if let Ok(json) = Json::parse(body) {
        let canonical = json.canonical();
        let again = Json::parse(canonical.as_bytes()).unwrap().canonical();
        assert_eq!(canonical, again);
        if json.raw().starts_with('{') {
            let mut sniffer = Sniffer::default();
            sniffer.feed(body);
            assert!(sniffer.ending().complete);
        }
    }
}
