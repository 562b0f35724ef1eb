//! Limits on calls: how often, and how many a day, for each or for all together. Policies say what may pass at all;
//! this says how much of it.
//!
//! [`spec`] understands what is written, the snapshot holds an [`Index`] of it, [`rate`] counts in memory and
//! [`budget`] over all replicas. Only calls count (tools, resources, prompts), once policy has let them pass. Who asks
//! next: `proxy/limit.rs`, between decide and intent.

mod budget;
mod rate;
pub mod spec;

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::ids::LimitId;
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use gateway_core::{Clock, Timestamp};
use gateway_store::limit::StoredLimit;
use gateway_store::{Store, StoreError};
use governor::clock::MonotonicClock;
use time::Duration;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::snapshot::Snapshot;
use budget::{Budgets, Untaken};
use rate::Rates;
use spec::{Counts, Kind, Limit, LimitSpec};

/// How often replicas report what they have used.
const SETTLE_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// Reports between two removals of old rows: an hour.
const FORGET_EVERY: u32 = 720;
/// How long the use of past days is kept.
const KEPT: Duration = Duration::days(40);

/// The limits of one snapshot, by server.
#[derive(Debug, Default)]
pub struct Index {
    /// All, by name.
    pub all: Vec<Arc<Limit>>,
    by_slug: HashMap<String, Vec<Arc<Limit>>>,
    /// For servers that no limit names.
    everywhere: Vec<Arc<Limit>>,
}

impl Index {
    /// Reads and sorts; the name of a limit that is not readable, and what is wrong with it.
    pub(crate) fn build(stored: &[StoredLimit]) -> Result<Index, (String, String)> {
        let mut index = Index::default();
        for limit in stored {
            let unreadable = |why: String| (limit.name.clone(), why);
            let spec: LimitSpec =
                serde_json::from_str(&limit.spec_json).map_err(|e| unreadable(e.to_string()))?;
            let read = Limit::read(limit.id, spec)
                .map_err(|(field, expected)| unreadable(format!("{field}: expected {expected}")))?;
            index.all.push(Arc::new(read));
        }
        let about = |slug: &str| {
            index.all.iter().filter(|limit| limit.is_about(slug)).cloned().collect::<Vec<_>>()
        };
        let named = index.all.iter().map(|limit| limit.spec.server.clone());
        let named = named.filter(|slug| slug != "*").map(|slug| (about(&slug), slug));
        index.by_slug = named.map(|(limits, slug)| (slug, limits)).collect();
        index.everywhere = about("*");
        Ok(index)
    }

    fn of(&self, server: &Server) -> &[Arc<Limit>] {
        self.by_slug.get(server.slug.as_str()).unwrap_or(&self.everywhere)
    }
}

/// A call that a limit does not let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverLimit {
    /// [`Reason::RateLimited`], [`Reason::BudgetExhausted`], or [`Reason::AuditUnavailable`] where nobody knows.
    pub reason: Reason,
    /// The limit.
    pub limit: String,
    /// What it lets pass, when it does so again, and whom to ask.
    pub told: String,
    /// When trying again makes sense, in seconds.
    pub retry_after: u32,
}

/// What is counted. Shared; lives as long as the gateway.
pub struct Limits {
    rates: Rates,
    budgets: Budgets,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Limits {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Limits {
        let budgets = Budgets::new(store.clone());
        Limits { rates: Rates::new(MonotonicClock), budgets, store, clock }
    }

    /// Counts a call that policy has let pass; `tool`: which, of a tool's call. Where several limits are about it,
    /// all must let it pass, and a refused call counts against no budget.
    pub async fn count(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        server: &Server,
        tool: Option<&str>,
    ) -> Result<(), OverLimit> {
        let about = snapshot.limits.of(server);
        if about.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let counts = || {
            let counting = about.iter().filter(|limit| limit.counts(tool));
            counting.flat_map(|limit| subjects(limit, caller).map(move |subject| (limit, subject)))
        };
        for (limit, subject) in counts() {
            if let Kind::Rate(rate) = limit.kind {
                let key = rate::Key { limit: limit.id, subject, rate };
                self.rates.take(key).map_err(|wait| too_often(limit, wait))?;
            }
        }
        let mut taken: Vec<((LimitId, Uuid), time::Date)> = Vec::new();
        for (limit, subject) in counts() {
            let Kind::Budget(budget) = &limit.kind else { continue };
            let key = (limit.id, subject);
            if let Err(untaken) = self.budgets.take(key, budget, now).await {
                for (key, day) in taken {
                    self.budgets.put_back(key, day);
                }
                return Err(too_many(limit, untaken, now));
            }
            taken.push((key, budget.day(now).0));
        }
        Ok(())
    }

    /// Who has used how much of a budget today, the most first, at most 20: a principal's id, or the nil id where
    /// all count together. What other replicas have not reported yet is missing.
    pub(crate) async fn used(
        &self,
        limits: &[Arc<Limit>],
    ) -> Result<HashMap<LimitId, Vec<(Uuid, u64)>>, StoreError> {
        let now = self.clock.now();
        let days: Vec<_> = limits
            .iter()
            .filter_map(|limit| match &limit.kind {
                Kind::Budget(budget) => Some((limit.id, budget.day(now).0)),
                Kind::Rate(_) => None,
            })
            .collect();
        if days.is_empty() {
            return Ok(HashMap::new());
        }
        // What this replica knows of is told, too.
        self.settle(false).await?;
        let mut used: HashMap<LimitId, Vec<(Uuid, u64)>> = HashMap::new();
        for one in self.store.budget_use(&days).await? {
            used.entry(one.key.limit).or_default().push((one.key.subject, one.used));
        }
        Ok(used)
    }

    async fn settle(&self, all: bool) -> Result<(), StoreError> {
        self.budgets.settle(self.clock.now(), all).await
    }

    /// Reports and gives back, until `shutdown`; then all of it.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        for round in 0u32.. {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(SETTLE_EVERY) => {}
            }
            if let Err(error) = self.settle(false).await {
                tracing::warn!(%error, "the use of budgets could not be reported; it will be");
            }
            if round % FORGET_EVERY == 0 {
                let before = (self.clock.now() - KEPT).date();
                if let Err(error) = self.store.forget_budget_use(before).await {
                    tracing::warn!(%error, "the use of past days could not be removed");
                }
            }
        }
        if let Err(error) = self.settle(true).await {
            tracing::warn!(%error, "what is left of budgets could not be given back");
        }
    }
}

/// Whose counts a call belongs to: the nil id's where all count together.
fn subjects<'a>(limit: &'a Limit, caller: &'a Caller) -> impl Iterator<Item = Uuid> + 'a {
    let meant = caller.principals().filter(|user| limit.has(user)).map(|user| user.id.0);
    let (together, most) = match limit.spec.counts {
        Counts::Each => (false, usize::MAX),
        Counts::Together => (true, 1),
    };
    meant.take(most).map(move |id| if together { Uuid::nil() } else { id })
}

fn too_often(limit: &Limit, wait: std::time::Duration) -> OverLimit {
    let seconds = whole_seconds(wait);
    let told = format!("try again in {seconds} s");
    over(limit, Reason::RateLimited, seconds, &told)
}

fn too_many(limit: &Limit, untaken: Untaken, now: Timestamp) -> OverLimit {
    match untaken {
        Untaken::Exhausted(until) => {
            let seconds = whole_seconds((until - now).unsigned_abs());
            let at = until.format(&Rfc3339).unwrap_or_default();
            let told = format!("try again after {at}");
            over(limit, Reason::BudgetExhausted, seconds, &told)
        }
        Untaken::Unknown(error) => {
            tracing::error!(%error, limit = limit.spec.name, "a budget could not be asked for");
            let reason = Reason::AuditUnavailable;
            over(limit, reason, reason.retry_after().unwrap_or(1), "its budget cannot be read now")
        }
    }
}

/// Rounded up: who comes then gets through.
fn whole_seconds(wait: std::time::Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

fn over(limit: &Limit, reason: Reason, retry_after: u32, again: &str) -> OverLimit {
    let name = limit.spec.name.clone();
    let told = format!(
        "the limit \"{name}\" lets {} pass; {again}, or ask an administrator to change it",
        limit.told()
    );
    OverLimit { reason, limit: name, told, retry_after }
}
