//! Fail points: one in every stage of the line, at which a test makes it panic, to show that a panic costs one
//! request. They are in debug builds only: in a release build [`point`] and [`arm`] are empty, and nothing reads the
//! header or the environment. In a debug build they sleep unless the process was started with
//! `GATEWAY_FAIL_POINTS=on`.

#[cfg(debug_assertions)]
pub(super) use armed::{arm, point};

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(super) fn arm(_: &http::HeaderMap) {}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(super) fn point(_: &'static str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{LazyLock, Mutex, PoisonError};

    /// Names the stage at which the exchange panics.
    const HEADER: &str = "x-gateway-fail";

    static ON: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("GATEWAY_FAIL_POINTS").is_some_and(|set| set == "on"));
    /// The stage that is to panic next. One for the process: tests ask one thing at a time.
    static ARMED: Mutex<Option<String>> = Mutex::new(None);

    /// Takes the exchange's wish.
    pub(in super::super) fn arm(headers: &http::HeaderMap) {
        let wish = headers.get(HEADER).filter(|_| *ON).and_then(|stage| stage.to_str().ok());
        if let Some(stage) = wish {
            *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(stage.to_owned());
        }
    }

    /// Panics once if this stage is to.
    pub(in super::super) fn point(stage: &'static str) {
        if !*ON {
            return;
        }
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        if armed.as_deref() == Some(stage) {
            *armed = None;
            drop(armed);
            std::panic::panic_any(format!("fail point {stage}"));
        }
    }
}
