//! Whether a server is worth asking. After so many failures in a row nobody is sent there for a while; then one call is
//! let through and decides for all. No call is ever made twice for it: whoever is let through is a caller's own call.
//!
//! ```text
//! closed --failures in a row--> open --a while--> half open: one call --it is answered--> closed
//!                                 ^---------------------------- it is not -----'
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gateway_core::reason::Reason;
use tokio::time::Instant;

use super::failure::LegError;
use crate::telemetry::BreakerState;

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BreakerSettings {
    /// Failures in a row; 0: it never opens.
    pub failures: u32,
    /// How long nobody is sent.
    pub pause: Duration,
}

/// One server's.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Present: open until then, half open after that.
    until: Option<Instant>,
    /// The number of the call that decides, while it is under way.
    trying: Option<u64>,
    /// How many have been let through to decide.
    trials: u64,
}

/// The call that decides. Dropped without a decision, the next call decides.
#[derive(Debug)]
pub(super) struct Trial {
    breaker: Arc<Breaker>,
    number: u64,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Arc<Breaker> {
        Arc::new(Breaker { settings, state: Mutex::default() })
    }

    /// Lets a call through, or says how long nobody will be. `Some`: this call decides.
    pub(super) fn pass(self: &Arc<Self>) -> Result<Option<Trial>, Duration> {
        let mut state = self.state();
        let Some(until) = state.until else { return Ok(None) };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(left);
        }
        if state.trying.is_some() {
            return Err(self.settings.pause);
        }
        state.trials += 1;
        state.trying = Some(state.trials);
        Ok(Some(Trial { breaker: Arc::clone(self), number: state.trials }))
    }

    /// The server has answered, whatever it said. True: it had not before.
    pub(super) fn answered(&self) -> bool {
        let mut state = self.state();
        let was_open = state.until.is_some();
        *state = State { trials: state.trials, ..State::default() };
        was_open
    }

    /// It has not. True: from now on nobody is sent.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let was_open = state.until.is_some();
        let most = self.settings.failures;
        if most == 0 || (!was_open && state.failures < most) {
            return false;
        }
        state.until = Some(Instant::now() + self.settings.pause);
        state.trying = None;
        !was_open
    }

    pub(super) fn state_now(&self) -> BreakerState {
        match self.state().until {
            None => BreakerState::Closed,
            Some(until) if until > Instant::now() => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        // A later one may have begun since.
        if state.trying == Some(self.number) {
            state.trying = None;
        }
    }
}

/// Whether an error says that the server is not there: no connection, none that lasted, or no answer in time.
pub(super) fn is_absence(error: &LegError) -> bool {
    matches!(error.reason, Reason::UpstreamUnreachable | Reason::UpstreamTimeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn breaker() -> Arc<Breaker> {
        Breaker::new(BreakerSettings { failures: 3, pause: PAUSE })
    }

    fn fail(breaker: &Breaker, times: u32) -> bool {
        (0..times).any(|_| breaker.failed())
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_answer_closes_it() {
        let breaker = breaker();
        assert!(!fail(&breaker, 2) && !breaker.answered() && !fail(&breaker, 2));
        assert!(breaker.pass().is_ok_and(|trial| trial.is_none()));
        assert!(fail(&breaker, 1));
        assert_eq!(breaker.pass().unwrap_err(), PAUSE);
        tokio::time::advance(PAUSE).await;
        let trial = breaker.pass().unwrap().expect("one is let through");
        assert!(breaker.pass().is_err(), "and no second one beside it");
        assert_eq!(breaker.state_now(), BreakerState::HalfOpen);
        assert!(breaker.answered());
        drop(trial);
        assert!(breaker.pass().is_ok_and(|trial| trial.is_none()));
        assert!(!fail(&breaker, 2), "it counts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_fails_opens_it_again_and_one_that_leaves_decides_nothing() {
        let breaker = breaker();
        fail(&breaker, 3);
        for _ in 0..3 {
            tokio::time::advance(PAUSE).await;
            let _trial = breaker.pass().unwrap().expect("one is let through");
            assert!(!breaker.failed(), "it was open before");
            assert!(breaker.pass().is_err());
        }
        tokio::time::advance(PAUSE).await;
        drop(breaker.pass().unwrap().expect("one is let through"));
        assert!(breaker.pass().unwrap().is_some(), "the next one decides");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_leaves_late_does_not_make_room_beside_the_next() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(PAUSE).await;
        let late = breaker.pass().unwrap().expect("one is let through");
        breaker.failed();
        tokio::time::advance(PAUSE).await;
        let next = breaker.pass().unwrap().expect("one is let through");
        drop(late);
        assert!(breaker.pass().is_err(), "the next one still decides");
        drop(next);
        assert!(breaker.pass().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_number_it_never_opens() {
        let breaker = Breaker::new(BreakerSettings { failures: 0, pause: PAUSE });
        assert!(!fail(&breaker, 100));
        assert!(breaker.pass().is_ok());
    }
}
