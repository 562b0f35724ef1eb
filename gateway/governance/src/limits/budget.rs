//! Calls of a day, counted over all replicas: each holds a block of the budget, which costs a call nothing, and asks
//! Postgres for the next one when it is used up. What nobody used for a while goes back.
//!
//! ```text
//! replica A   takes 50 of 1000 ---- 50 calls ---- takes 50 ---- stops: 31 go back
//! replica B   takes 50 ------------ dies: its block is lost for the day, never used twice
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use gateway_core::Timestamp;
use gateway_core::ids::LimitId;
use gateway_store::limit::{BudgetKey, Settlement};
use gateway_store::{Store, StoreError};
use time::Duration;
use uuid::Uuid;

use super::spec::Budget;

/// The largest block, and the largest part of a budget in one block (a twentieth).
const LARGEST_BLOCK: u32 = 50;
/// How long a replica believes that nothing is left: another may give some back.
const EMPTY_FOR: Duration = Duration::SECOND;
/// A block that nobody uses for so long goes back.
const IDLE: Duration = Duration::seconds(30);

/// A call that may not pass today.
pub(super) enum Untaken {
    /// Nothing is left until then.
    Exhausted(Timestamp),
    /// Nobody knows.
    Unknown(StoreError),
}

/// What this replica holds of the budgets.
pub(super) struct Budgets {
    store: Store,
    counts: RwLock<HashMap<(LimitId, Uuid), Arc<Count>>>,
}

/// One limit's calls of one principal, or of all.
#[derive(Default)]
struct Count {
    held: Mutex<Held>,
    // Held across a lease on purpose: those who need more wait for one and the same block.
    leasing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// The day that the rest is about.
    day: Option<time::Date>,
    left: u32,
    /// Passed, and not reported yet.
    used: u32,
    empty_until: Option<Timestamp>,
    touched: Option<Timestamp>,
    /// Of days before.
    old: Vec<(time::Date, u32, u32)>,
}

impl Count {
    /// Never held across an await.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// True when a call passes, false when nothing is left, `None` when Postgres has to be asked.
    fn take(&mut self, day: time::Date, now: Timestamp) -> Option<bool> {
        if self.day != Some(day) {
            let before = (self.day.replace(day), self.used, self.left);
            if let (Some(day), used, left) = before
                && (used, left) != (0, 0)
            {
                self.old.push((day, used, left));
            }
            (self.used, self.left, self.empty_until) = (0, 0, None);
        }
        self.touched = Some(now);
        if self.left > 0 {
            (self.left, self.used) = (self.left - 1, self.used + 1);
            return Some(true);
        }
        self.empty_until.is_some_and(|until| now < until).then_some(false)
    }
}

impl Budgets {
    pub(super) fn new(store: Store) -> Budgets {
        Budgets { store, counts: RwLock::default() }
    }

    fn count(&self, limit: LimitId, subject: Uuid) -> Arc<Count> {
        let known = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(&(limit, subject)) {
            return Arc::clone(count);
        }
        drop(known);
        let mut all = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((limit, subject)).or_default())
    }

    /// Counts one call.
    pub(super) async fn take(
        &self,
        (limit, subject): (LimitId, Uuid),
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Untaken> {
        let (day, ends_at) = budget.day(now);
        let answer = |passes: bool| match passes {
            true => Ok(()),
            false => Err(Untaken::Exhausted(ends_at)),
        };
        let count = self.count(limit, subject);
        if let Some(passes) = count.held().take(day, now) {
            return answer(passes);
        }
        let _one = count.leasing.lock().await;
        if let Some(passes) = count.held().take(day, now) {
            return answer(passes);
        }
        let most = (budget.calls / 20).clamp(1, LARGEST_BLOCK);
        let key = BudgetKey { limit, day, subject };
        let granted = self.store.lease_budget(key, budget.calls, most).await;
        let granted = granted.map_err(Untaken::Unknown)?;
        let mut held = count.held();
        if held.day != Some(day) {
            // Midnight came in between: the block is yesterday's.
            held.old.push((day, 0, granted));
            return answer(false);
        }
        held.left += granted;
        held.empty_until = (granted == 0).then(|| ends_at.min(now + EMPTY_FOR));
        answer(held.take(day, now).unwrap_or(false))
    }

    /// A call that was counted is not made after all.
    pub(super) fn put_back(&self, (limit, subject): (LimitId, Uuid), day: time::Date) {
        let count = self.count(limit, subject);
        let mut held = count.held();
        if held.day == Some(day) && held.used > 0 {
            (held.left, held.used) = (held.left + 1, held.used - 1);
        }
    }

    /// Reports what was used and gives back what nobody uses; `all`: everything.
    pub(super) async fn settle(&self, now: Timestamp, all: bool) -> Result<(), StoreError> {
        let mut settled = self.due(now, all);
        if settled.is_empty() {
            return Ok(());
        }
        // The same order on every replica.
        settled.sort_unstable_by_key(|one| one.key);
        let done = self.store.settle_budgets(&settled).await;
        if done.is_err() {
            for Settlement { key, used, returned } in settled {
                let count = self.count(key.limit, key.subject);
                count.held().old.push((key.day, used, returned));
            }
        }
        done
    }

    fn due(&self, now: Timestamp, all: bool) -> Vec<Settlement> {
        let mut settled = Vec::new();
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|&(limit, subject), count| {
            let settlement = |(day, used, returned)| Settlement {
                key: BudgetKey { limit, day, subject },
                used,
                returned,
            };
            let mut held = count.held();
            settled.extend(held.old.drain(..).map(settlement));
            let idle = held.touched.is_none_or(|touched| now - touched >= IDLE);
            let back = if idle || all { std::mem::take(&mut held.left) } else { 0 };
            let used = std::mem::take(&mut held.used);
            if let Some(day) = held.day.filter(|_| (used, back) != (0, 0)) {
                settled.push(settlement((day, used, back)));
            }
            // Somebody who holds it now may yet put something into it.
            !idle || Arc::strong_count(count) > 1
        });
        settled
    }
}
