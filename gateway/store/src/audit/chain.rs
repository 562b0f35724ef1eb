//! The hash chains of one replica, of its intents and of its events: a tag for each row, a mac for each batch that covers the one before it,
//! and a seal over the end. All keyed, so that who can write to the database cannot make them.

use gateway_core::Timestamp;
use ring::hmac;
use serde::Serialize;
use uuid::Uuid;

/// Bytes of a row's tag.
pub(super) const TAG: usize = 16;
/// The tag of a place whose row was there already (a replay).
pub(super) const VOID: [u8; TAG] = [0; TAG];

/// The key, ready for use.
#[derive(Clone)]
pub(super) struct ChainKey(hmac::Key);

/// Where a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Number of the last batch; 0 before the first.
    pub(super) batch: i64,
    /// Its mac.
    pub(super) mac: [u8; 32],
}

impl Link {
    /// Before the first batch.
    pub(super) const GENESIS: Link = Link { batch: 0, mac: [0; 32] };
}

/// The name of the chain of a replica's events; that of its intents is the replica itself.
pub(super) fn chain_of_events(replica: Uuid) -> Uuid {
    Uuid::from_u128(replica.as_u128() ^ 1)
}

/// Which place in which chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) replica: Uuid,
    pub(super) batch: i64,
    pub(super) place: i32,
}

impl ChainKey {
    pub(super) fn new(key: &[u8; 32]) -> ChainKey {
        ChainKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The tag of `row` of `table` at `place`. `scratch` is reused between rows.
    pub(super) fn row<T: Serialize>(
        &self,
        table: &str,
        place: Place,
        row: &T,
        scratch: &mut Vec<u8>,
    ) -> [u8; TAG] {
        scratch.clear();
        // Plain structs of numbers and text: writing them to memory cannot fail.
        let written = serde_json::to_writer(&mut *scratch, row);
        debug_assert!(written.is_ok());
        let head = format!("row/{table}/{}/{}/{}/", place.replica, place.batch, place.place);
        self.tag(&[head.as_bytes(), scratch])
    }

    /// The link that follows `before`.
    pub(super) fn next(&self, replica: Uuid, before: Link, ts: Timestamp, tags: &[u8]) -> Link {
        let batch = before.batch + 1;
        let micros = ts.unix_timestamp_nanos() / 1000;
        let head = format!("batch/{replica}/{batch}/{micros}/");
        Link { batch, mac: self.mac(&[head.as_bytes(), &before.mac, tags]) }
    }

    /// The seal over a chain's end. Other than a mac it is never kept for an older end.
    pub(super) fn seal(&self, replica: Uuid, end: Link) -> [u8; 32] {
        self.mac(&[format!("end/{replica}/{}/", end.batch).as_bytes(), &end.mac])
    }

    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG] {
        let mut out = [0; TAG];
        out.copy_from_slice(&self.mac(parts)[..TAG]);
        // All zero is the mark of a void place.
        if out == VOID {
            out[0] = 1;
        }
        out
    }

    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}
