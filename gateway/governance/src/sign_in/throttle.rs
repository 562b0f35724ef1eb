//! Holds back who tries too often. Attempts are counted per address and per account, whether there is such an
//! account or not, in a memory that cannot grow: two generations of counters, of which the older one goes when
//! the younger one is full or old. Whoever fills it from many addresses makes it forget, and is still held to
//! what each address and a password's cost allow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gateway_core::Timestamp;
use time::Duration;

/// How long a generation is the younger one; a failed attempt counts for one to two of these.
const WINDOW: Duration = Duration::minutes(5);
/// Counters of a generation.
const MOST: usize = 20_000;

/// Counters of failed attempts.
pub(super) struct Throttle(Mutex<Generations>);

struct Generations {
    began: Option<Timestamp>,
    young: HashMap<[u8; 32], u32>,
    old: HashMap<[u8; 32], u32>,
}

impl Throttle {
    pub(super) fn new() -> Throttle {
        Throttle(Mutex::new(Generations {
            began: None,
            young: HashMap::new(),
            old: HashMap::new(),
        }))
    }

    /// Counts an attempt for each key, unless one of them has had its number: then false, and nothing is
    /// counted. Counted before the attempt is made, so that many at once are not let in together.
    pub(super) fn attempt(&self, keys: &[([u8; 32], u32)], now: Timestamp) -> bool {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.turn(now);
        if keys.iter().any(|(key, most)| counters.count(key) >= *most) {
            return false;
        }
        for (key, _) in keys {
            let count = counters.young.entry(*key).or_default();
            *count = count.saturating_add(1);
        }
        true
    }

    /// The attempt was a good one: it does not count.
    pub(super) fn forgive(&self, keys: &[([u8; 32], u32)]) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys {
            if let Some(count) = counters.young.get_mut(key) {
                *count = count.saturating_sub(1);
            }
        }
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        let counters = self.0.lock().unwrap();
        counters.young.len() + counters.old.len()
    }
}

impl Generations {
    fn count(&self, key: &[u8; 32]) -> u32 {
        let of = |counters: &HashMap<[u8; 32], u32>| counters.get(key).copied().unwrap_or(0);
        of(&self.young).saturating_add(of(&self.old))
    }

    fn turn(&mut self, now: Timestamp) {
        let age = self.began.map_or(Duration::MAX, |began| now - began);
        if age >= WINDOW || self.young.len() + 2 > MOST {
            self.old = std::mem::take(&mut self.young);
            if age >= WINDOW * 2 {
                self.old.clear();
            }
            self.began = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_timestamp(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn after_so_many_attempts_a_key_waits_for_the_window() {
        let throttle = Throttle::new();
        let key = [([1; 32], 3)];
        for _ in 0..3 {
            assert!(throttle.attempt(&key, at(0)));
        }
        for second in [0, 299, 300, 599] {
            assert!(!throttle.attempt(&key, at(second)), "{second}");
        }
        assert!(throttle.attempt(&[([2; 32], 3)], at(599)), "another one is not held back");
        assert!(throttle.attempt(&key, at(600)));
    }

    #[test]
    fn a_refused_attempt_counts_for_no_other_key() {
        let throttle = Throttle::new();
        assert!(throttle.attempt(&[([1; 32], 1)], at(0)));
        for _ in 0..10 {
            assert!(!throttle.attempt(&[([1; 32], 1), ([2; 32], 1)], at(0)));
        }
        assert!(throttle.attempt(&[([2; 32], 1)], at(0)));
    }

    #[test]
    fn a_good_attempt_does_not_count() {
        let throttle = Throttle::new();
        for _ in 0..10 {
            assert!(throttle.attempt(&[([1; 32], 1)], at(0)));
            throttle.forgive(&[([1; 32], 1)]);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new();
        for number in 0..100_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            throttle.attempt(&[(key, 5)], at(0));
        }
        assert!(throttle.held() <= 2 * MOST, "{}", throttle.held());
    }
}
