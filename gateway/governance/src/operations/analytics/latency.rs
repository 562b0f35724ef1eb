//! Percentiles from counts by latency class.
//!
//! A percentile lies in the class of the call of that rank; inside it calls are taken to be spread evenly. The
//! classes are steps of 1, 2 and 5 from 1 ms to 10 s, then 30 s and 60 s: the figure is off by less than the
//! width of its class, a factor of 2.5 (3 above 10 s). Beyond 60 s it says 60 s.

use gateway_store::analytics::{LATENCY_BOUNDS, LATENCY_CLASSES, ToolFigures};
use serde_json::{Value, json};

/// Added figures of several tools, or one's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Latency {
    total_us: i64,
    classes: [i64; LATENCY_CLASSES],
}

impl Latency {
    pub(super) fn of(tool: &ToolFigures) -> Latency {
        Latency { total_us: tool.latency_us, classes: tool.latency }
    }

    fn measured(&self) -> i64 {
        self.classes.iter().sum()
    }

    /// The mean, in milliseconds; null where nothing was measured. Exact.
    pub(super) fn mean_ms(&self) -> Value {
        match self.measured() {
            0 => Value::Null,
            measured => millis(self.total_us as f64 / measured as f64),
        }
    }

    /// The latency that `percent` of the calls did not exceed, in milliseconds; null where nothing was measured.
    pub(super) fn percentile_ms(&self, percent: u8) -> Value {
        let measured = self.measured();
        if measured == 0 {
            return Value::Null;
        }
        let rank = (measured as f64 * f64::from(percent) / 100.0).ceil().max(1.0);
        let mut below = 0.0;
        for (class, count) in self.classes.iter().enumerate() {
            let count = *count as f64;
            if below + count >= rank {
                let low = class.checked_sub(1).map_or(0, |below| LATENCY_BOUNDS[below]) as f64;
                let high = LATENCY_BOUNDS.get(class).map_or(low, |bound| *bound as f64);
                return millis(low + (high - low) * (rank - below) / count);
            }
            below += count;
        }
        Value::Null
    }
}

/// Microseconds as milliseconds with two places.
fn millis(micros: f64) -> Value {
    json!((micros / 10.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(classes: &[(usize, i64)]) -> Latency {
        let mut latency = Latency::default();
        for (class, count) in classes {
            latency.classes[*class] = *count;
        }
        latency
    }

    #[test]
    fn percentiles_lie_in_the_class_of_their_rank() {
        let none = latency(&[]);
        assert_eq!((none.mean_ms(), none.percentile_ms(50)), (Value::Null, Value::Null));
        // Ten calls of 5 to 10 ms: the fifth is in the middle.
        let even = latency(&[(3, 10)]);
        assert_eq!(even.percentile_ms(50), json!(7.5));
        assert_eq!(even.percentile_ms(99), json!(10.0));
        let one = latency(&[(0, 1)]);
        assert_eq!(one.percentile_ms(50), json!(1.0));
        let tail = latency(&[(0, 98), (10, 1), (15, 1)]);
        assert_eq!(tail.percentile_ms(50), json!(0.51));
        assert_eq!(tail.percentile_ms(99), json!(2000.0));
        assert_eq!(latency(&[(15, 3)]).percentile_ms(50), json!(60000.0), "beyond the last bound");
    }

    /// The figure and the true percentile lie in one class, whatever the calls.
    #[test]
    fn the_true_percentile_is_in_the_same_class() {
        let mut state = 12_345_u64;
        for _ in 0..500 {
            let mut calls: Vec<i64> = (0..200)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    1 + i64::try_from(state >> 33).unwrap() % (1 << (10 + state % 15))
                })
                .collect();
            calls.sort_unstable();
            let class = |micros: i64| LATENCY_BOUNDS.iter().filter(|b| **b <= micros).count();
            let mut latency = Latency::default();
            calls.iter().for_each(|call| latency.classes[class(*call)] += 1);
            for percent in [50_u8, 95, 99] {
                let rank = (calls.len() * usize::from(percent)).div_ceil(100);
                let truth = class(calls[rank - 1]);
                let micros = latency.percentile_ms(percent).as_f64().unwrap() * 1000.0;
                let low = truth.checked_sub(1).map_or(0, |below| LATENCY_BOUNDS[below]) as f64;
                let high = LATENCY_BOUNDS[truth] as f64;
                assert!(
                    low <= micros + 5.0 && micros <= high + 5.0,
                    "{percent}: {micros} in {low}..{high}"
                );
            }
        }
    }
}
