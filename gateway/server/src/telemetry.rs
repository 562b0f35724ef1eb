//! What the gateway says about itself: log lines, traces, figures. None of them ever holds a body, a
//! token or an argument, and none makes a caller wait: lines and spans are written by threads of their
//! own, and dropped rather than queued without bound.

mod logs;
mod metrics;
mod trace;

pub use logs::{Telemetry, TelemetryError, start};
pub use metrics::{
    Gauges, InFlight, Servers, in_flight, limited, observe, observe_findings, performed, render,
};
pub use trace::{TraceParent, exchange_span, onward, trace_id};
