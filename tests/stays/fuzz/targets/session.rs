//! Session handles: nothing but the very handle that was sealed here for this caller and server opens.

use std::sync::{Arc, LazyLock};

use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, Role, User};
use gateway_core::ids::{ServerId, UserId};
use gateway_core::mcp::Client;
use gateway_core::seal::Sealer;
use gateway_server::proxy::doors::Handles;
use uuid::Uuid;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "session",
    run,
    inputs: 60_000,
    words: &[
        b"=",
        b"A",
        b"-",
        b"_",
        b"+",
        b"/",
        b"%41",
        b"{\"x\":9999999999}",
        b"\"u\":\"up\"",
        b"\"x\":",
        b"1e99",
        b"-1",
    ],
};

static OURS: LazyLock<(Handles, String)> = LazyLock::new(|| {
    let server = ServerId(Uuid::from_u128(1));
    let handles = Handles { sealer: Sealer::new(&[3; 32]), server, caller: caller(2) };
    let handle = handles.make("upstream", &Client::default(), at(100));
    (handles, handle)
});

/// A person of that number.
pub(super) fn caller(number: u128) -> Caller {
    Caller::new(Arc::new(person(number)), AuthMethod::ApiKey, "key")
}

/// The same as the catalogue knows them.
pub(super) fn person(number: u128) -> User {
    User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::from_u128(number)),
        email: format!("{number}@example.com"),
        name: String::new(),
        roles: vec![Role::User],
        groups: vec![],
        attributes: Default::default(),
        active: true,
    }
}

/// So many seconds after a day in 2026.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + time::Duration::seconds(1_800_000_000 + seconds)
}

/// Any text as a handle; then the bytes as changes to the good one, at places that they name; then as what an older or
/// newer gateway with the same key may have sealed.
fn run(input: &[u8]) {
    let (handles, good) = &*OURS;
    let opens = |handle: &str| handles.open(handle, at(0)).is_some();
    assert!(opens(good));
    let text = String::from_utf8_lossy(input);
    assert_eq!(opens(&text), text == *good, "{text}");
    let changed = changed(good, input);
    assert_eq!(opens(&changed), changed == *good, "{changed}");

    let context = [&handles.server.0.as_bytes()[..], &handles.caller.binding()].concat();
    let sealed = handles.sealer.seal([1; 12], &context, input);
    if opens(&sealed) {
        let plain: serde_json::Value = serde_json::from_str(&text).unwrap();
        // It may be written as an object or as an array.
        let expires = plain.get("x").or_else(|| plain.get(1)).and_then(|x| x.as_i64());
        assert!(expires.unwrap() > at(0).unix_timestamp());
    }
}

/// The text with bytes changed: `input` is read as pairs of a place and what is added to the byte there.
pub(super) fn changed(text: &str, input: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for pair in input.chunks_exact(2) {
        let place = usize::from(pair[0]) % bytes.len();
        bytes[place] = bytes[place].wrapping_add(pair[1]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
