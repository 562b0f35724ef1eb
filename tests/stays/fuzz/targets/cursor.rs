//! Cursors: nothing but the very cursor that was sealed here for this caller and operation leads anywhere.

use std::sync::LazyLock;

use gateway_core::caller::Caller;
use gateway_core::seal::Sealer;
use gateway_governance::doors::{open_event_cursor, seal_cursor};

use super::Target;
use super::session::{caller, changed};

pub(super) const TARGET: Target = Target {
    name: "cursor",
    run,
    inputs: 60_000,
    words: &[
        b"=",
        b"A",
        b"-",
        b"_",
        b".",
        b"1700000000000000.",
        b"-9223372036854775808",
        b"00000000000000000000000000000001",
        b"{",
        b"urn:uuid:",
    ],
};

const PLACE: &str = "1700000000000000.00000000000000000000000000000007";
const LIST: &str = "list_audit_logs";

struct Ours {
    sealer: Sealer,
    caller: Caller,
    good: String,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let (sealer, caller) = (Sealer::new(&[4; 32]), caller(2));
    let good = seal_cursor(&sealer, LIST, &caller, PLACE);
    Ours { sealer, caller, good }
});

/// Any text as a cursor; the bytes as changes to the good one; and as a place that was sealed.
fn run(input: &[u8]) {
    let Ours { sealer, caller: ours, good } = &*OURS;
    let place = |cursor: &str| open_event_cursor(sealer, LIST, ours, cursor);
    assert_eq!(place(good).unwrap().to_string(), PLACE);
    let text = String::from_utf8_lossy(input);
    assert_eq!(place(&text).is_some(), text == *good, "{text}");
    let changed = changed(good, input);
    assert_eq!(place(&changed).is_some(), changed == *good, "{changed}");

    let sealed = seal_cursor(sealer, LIST, ours, &text);
    if let Some(place) = place(&sealed) {
        // Its own spelling leads to the same place.
        let again = seal_cursor(sealer, LIST, ours, &place.to_string());
        assert_eq!(open_event_cursor(sealer, LIST, ours, &again), Some(place));
    }
    assert!(open_event_cursor(sealer, LIST, &caller(3), &sealed).is_none(), "somebody else's");
    assert!(
        open_event_cursor(sealer, "export_audit_logs", ours, &sealed).is_none(),
        "another list's"
    );
}
