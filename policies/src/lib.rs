//! Who may do what: policies as operators write them, compiled to Cedar, and the questions put to them.
//!
//! This crate does no IO and knows nothing of HTTP, SQL or clocks: texts come in, verdicts go out. Read
//! [`PolicySpec`] (what is written), then [`PolicySet`] (what is answered); inside, `check` and `raw` read
//! policies, `render` and `compile` make Cedar of them, `slice`, `condition` and `request` put a question.
//! What policies mean is fixed twice: here, and in the slow reference evaluator of the tests.

mod answer;
mod case_line;
mod cases;
mod check;
mod compile;
mod condition;
mod difference;
mod explain;
mod glob;
mod number;
mod operators;
mod path;
mod platform;
mod raw;
mod render;
mod request;
mod roles;
mod set;
mod slice;
mod spec;
mod statement;
mod times;
mod visible;
mod who;

pub use answer::{Considered, Decided, Explanation, Listed};
pub use cases::{CaseFailure, CaseRun, run_cases};
pub use compile::RUNLAYER_POLICY;
pub use difference::{Class, Difference, Shift, Shifted, Thing};
pub use glob::hidden_character;
pub use platform::Stance;
pub use roles::Reach;
pub use set::PolicySet;
pub use spec::{ConditionSpec, PolicySpec, Problem, Source};
pub use who::{Names, Who};
