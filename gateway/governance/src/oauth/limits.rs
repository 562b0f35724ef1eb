//! How often one address may do what costs us something before anybody has signed in. Bounded in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use gateway_core::Timestamp;
use time::Duration;

/// Addresses that are remembered at once.
const MOST: usize = 10_000;

/// Lets so many through in an hour from each address, evenly; as many at once after a pause.
pub(crate) struct Limiter {
    interval: Duration,
    burst: Duration,
    // When an address that went on asking evenly would be where it is now.
    due: Mutex<HashMap<IpAddr, Timestamp>>,
}

impl Limiter {
    pub(crate) fn per_hour(most: u32) -> Limiter {
        let interval = Duration::HOUR / most.max(1);
        let burst = interval * most.max(1).saturating_sub(1);
        Limiter { interval, burst, due: Mutex::default() }
    }

    /// Whether one more is let through.
    pub(crate) fn admit(&self, from: IpAddr, now: Timestamp) -> bool {
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let key = block(from);
        if all.len() >= MOST && !all.contains_key(&key) {
            all.retain(|_, due| *due > now);
            if all.len() >= MOST {
                return false;
            }
        }
        let due = all.entry(key).or_insert(now);
        let from = (*due).max(now);
        if from - now > self.burst {
            return false;
        }
        *due = from + self.interval;
        true
    }
}

/// One household's addresses of IPv6 count as one.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}
