//! When API keys were last used, to the minute, for the people who keep them. Whoever identifies a caller notes it in
//! memory and goes on; a task writes what was noted, off the line's path. A replica that is killed loses five seconds of
//! it. It knows nothing of requests and decides nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::ids::KeyId;
use gateway_store::Store;
use tokio_util::sync::CancellationToken;

/// How often it is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// A key that was noted is not noted again within this time.
const MINUTE: time::Duration = time::Duration::MINUTE;

/// The last use of each key that this replica has seen lately.
#[derive(Default)]
pub(crate) struct KeyUses(Mutex<HashMap<KeyId, Use>>);

struct Use {
    at: Timestamp,
    written: bool,
}

impl KeyUses {
    /// The key was used now.
    pub(super) fn note(&self, key: KeyId, now: Timestamp) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(&key) {
            Some(last) if now < last.at + MINUTE => {}
            Some(last) => *last = Use { at: now, written: false },
            None => {
                uses.insert(key, Use { at: now, written: false });
            }
        }
    }

    /// What is to be written.
    fn unwritten(&self) -> Vec<(KeyId, Timestamp)> {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.iter().filter(|(_, last)| !last.written).map(|(key, last)| (*key, last.at)).collect()
    }

    /// Those are written. What was written before the last of them by a minute is forgotten.
    fn wrote(&self, written: &[(KeyId, Timestamp)]) {
        let Some(latest) = written.iter().map(|(_, at)| *at).max() else { return };
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, at) in written {
            if let Some(last) = uses.get_mut(key).filter(|last| last.at == *at) {
                last.written = true;
            }
        }
        uses.retain(|_, last| !last.written || last.at + MINUTE > latest);
    }

    /// Writes what is noted. What could not be written is tried again the next time.
    async fn write(&self, store: &Store) {
        let noted = self.unwritten();
        if noted.is_empty() {
            return;
        }
        match store.note_key_uses(&noted).await {
            Ok(()) => self.wrote(&noted),
            Err(error) => tracing::debug!(%error, "the use of API keys could not be noted"),
        }
    }

    /// Writes every few seconds until `shutdown`, and then once more.
    pub(crate) async fn follow(&self, store: Store, shutdown: CancellationToken) {
        let mut ticker = tokio::time::interval(WRITE_EVERY);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ends = tokio::select! {
                () = shutdown.cancelled() => true,
                _ = ticker.tick() => false,
            };
            self.write(&store).await;
            if ends {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::START;

    #[test]
    fn a_key_is_written_once_a_minute_and_what_failed_is_written_later() {
        let uses = KeyUses::default();
        let (a, b) = (KeyId(Uuid::from_u128(1)), KeyId(Uuid::from_u128(2)));
        let at = |seconds: i64| Timestamp::from_unix_timestamp(START + seconds).unwrap();
        for seconds in [0, 1, 59] {
            uses.note(a, at(seconds));
        }
        let noted = uses.unwritten();
        assert_eq!(noted, [(a, at(0))]);
        assert_eq!(uses.unwritten(), noted, "not written yet, so still to be written");
        uses.wrote(&noted);
        assert_eq!(uses.unwritten(), []);
        uses.note(a, at(59));
        assert_eq!(uses.unwritten(), []);
        // Used again while it was being written.
        uses.note(a, at(60));
        let noted = uses.unwritten();
        uses.note(a, at(121));
        uses.wrote(&noted);
        assert_eq!(uses.unwritten(), [(a, at(121))]);
        // Nothing is kept for ever.
        uses.wrote(&uses.unwritten());
        uses.note(b, at(1000));
        uses.wrote(&uses.unwritten());
        assert_eq!(uses.0.lock().unwrap().len(), 1);
    }
}
