//! Two protocols as models, whose every order of events a model checker walks through, crashes included.
//!
//! The models are as small as the questions allow and name the functions that they stand for. Each has switches that
//! build in a fault; a checker that finds nothing then would be worth nothing, so the tests demand that it does.

mod agreement;
mod record;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// No walk goes further; that it ends before is demanded.
const MOST: usize = 3_000_000;

/// Walks through everything; no property may be hurt, and what shall be possible must be.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().target_state_count(MOST).spawn_bfs().join();
    println!("{name}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

/// Finds a way in which the property is hurt.
fn is_found<M>(property: &'static str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let found = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(found).target_state_count(MOST).spawn_bfs().join();
    let path = checker.assert_any_discovery(property);
    println!("found after {} steps: {:?}", path.clone().into_actions().len(), path.into_actions());
}
