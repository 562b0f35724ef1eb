//! Waiting for something to become true, with a bound: the only way in which tests wait.

use std::time::{Duration, Instant};

/// Asks `probe` again and again until it has an answer. Panics after `bound` with `what`.
pub async fn eventually<T, P>(what: &str, bound: Duration, mut probe: P) -> T
where
    P: AsyncFnMut() -> Option<T>,
{
    let end = Instant::now() + bound;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
