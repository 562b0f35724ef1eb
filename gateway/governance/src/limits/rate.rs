//! Calls in some time, counted in this replica's memory: the generic cell rate algorithm, evenly, with a burst.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::ids::LimitId;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use uuid::Uuid;

use super::spec::Rate;

/// Most counts that are kept.
const KEPT: u64 = 200_000;
/// After that long everybody may begin anew: longer than any rate looks back.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);

/// A changed rate begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) limit: LimitId,
    pub(super) subject: Uuid,
    pub(super) rate: Rate,
}

type Count<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Every count of this replica.
pub(super) struct Rates<C: Clock = MonotonicClock> {
    clock: C,
    counts: Cache<Key, Arc<Count<C>>>,
}

impl<C: Clock + Clone + Send + Sync + 'static> Rates<C>
where
    C::Instant: Send + Sync,
{
    pub(super) fn new(clock: C) -> Rates<C> {
        let counts = Cache::builder().max_capacity(KEPT).time_to_idle(FORGOTTEN).build();
        Rates { clock, counts }
    }

    /// Counts one call; else how long until one passes.
    pub(super) fn take(&self, key: Key) -> Result<(), Duration> {
        let count = self.counts.get_with(key, || {
            let quota = Quota::with_period(key.rate.each)
                .unwrap_or(Quota::per_second(key.rate.burst))
                .allow_burst(key.rate.burst);
            Arc::new(RateLimiter::direct_with_clock(quota, self.clock.clone()))
        });
        count.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn key(subject: u128, calls: u32, burst: u32) -> Key {
        Key {
            limit: LimitId(Uuid::nil()),
            subject: Uuid::from_u128(subject),
            rate: Rate {
                each: Duration::from_secs(60) / calls,
                burst: NonZeroU32::new(burst).unwrap(),
            },
        }
    }

    #[test]
    fn a_burst_passes_and_then_one_after_the_other() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::new(clock.clone());
        let take = |subject| rates.take(key(subject, 6, 3));
        for _ in 0..3 {
            assert_eq!(take(1), Ok(()));
        }
        assert_eq!(take(1), Err(Duration::from_secs(10)));
        // Whoever else is another count, and so is another rate.
        assert_eq!(take(2), Ok(()));
        assert_eq!(rates.take(key(1, 7, 3)), Ok(()));
        clock.advance(Duration::from_secs(4));
        assert_eq!(take(1), Err(Duration::from_secs(6)), "asking costs nothing");
        clock.advance(Duration::from_secs(6));
        assert_eq!(take(1), Ok(()));
        assert!(take(1).is_err());
        // After a pause of any length, no more than the burst.
        clock.advance(Duration::from_secs(3600));
        let passed = (0..10).filter(|_| take(1).is_ok()).count();
        assert_eq!(passed, 3);
    }
}
