//! What instruction counts (`tests/bench/instructions`) hold on to: parts that are private otherwise. Nothing else uses
//! this.

use gateway_core::record::{Event, Intent};
use uuid::Uuid;

use super::chain::{ChainKey, Place};
use super::payload::Packed;
use super::row::{EventRow, IntentRow};

/// Makes rows of records as the writer does, short of sending them.
pub struct Encoder {
    key: ChainKey,
    scratch: Vec<u8>,
}

impl Encoder {
    /// With the key of the chain.
    pub fn new(key: &[u8; 32]) -> Encoder {
        Encoder { key: ChainKey::new(key), scratch: Vec::with_capacity(2048) }
    }

    /// The bytes of both rows and their bodies.
    pub fn call(&mut self, intent: &Intent, event: &Event) -> Option<usize> {
        let at = Place { replica: Uuid::nil(), batch: 1, place: 0 };
        let mut row = IntentRow::of(intent)?;
        let arguments = intent.arguments.as_ref().map(|bytes| Packed::pack(bytes, usize::MAX));
        row.arguments_digest = arguments.as_ref().map(|packed| packed.digest(&self.key));
        self.key.row("audit_intent", at, &row, &mut self.scratch);
        let written = self.scratch.len() + arguments.map_or(0, |packed| packed.body.len());
        let mut row = EventRow::of(event);
        let result = event.result.as_ref().map(|bytes| Packed::pack(bytes, usize::MAX));
        row.result_digest = result.as_ref().map(|packed| packed.digest(&self.key));
        self.key.row("audit_event", at, &row, &mut self.scratch);
        Some(written + self.scratch.len() + result.map_or(0, |packed| packed.body.len()))
    }
}
