//! Server-sent events: the same events however the stream is cut, no byte lost, and new data changes nothing else.

use gateway_core::sse::{Splitter, data, with_data};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "sse",
    run,
    inputs: 30_000,
    words: &[
        b"data: ",
        b"data:",
        b"data",
        b"event: message\n",
        b"id: 1\n",
        b"retry: 10\n",
        b": hi\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"{\"a\":1}",
        b"\xff",
    ],
};

fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut splitter = Splitter::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        splitter.push(piece);
        while let Some(event) = splitter.next_event().unwrap() {
            events.push(event.to_vec());
        }
    }
    (events, splitter.rest().to_vec())
}

/// The first byte says how long the pieces are; the rest is the stream.
fn run(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let whole = split(std::iter::once(stream));
    assert_eq!([whole.0.concat(), whole.1.clone()].concat(), stream);
    for length in [1, 2, 1 + usize::from(*first)] {
        assert_eq!(split(stream.chunks(length)), whole, "in pieces of {length}");
    }
    for event in whole.0.iter().filter_map(|event| std::str::from_utf8(event).ok()) {
        let Some(had) = data(event) else { continue };
        assert_eq!(with_data(event, &had), event, "the same data");
        for new in ["x", "x\ny", ""] {
            let replaced = with_data(event, new);
            assert_eq!(data(&replaced).as_deref(), Some(new), "in {replaced:?}");
            // A last carriage return counts once it is known that no line feed follows.
            let (events, rest) = split([replaced.as_bytes(), b"x"].into_iter());
            assert!(events == [replaced.as_bytes()] && rest == b"x", "{replaced:?} is no event");
        }
    }
}
