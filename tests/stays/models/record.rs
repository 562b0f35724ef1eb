//! A1 to A3: no call leaves without a durable intent, and in the end each intent has exactly one event:
//! `gateway/store/src/audit` (`trail.rs`, `writer.rs`, `spooler.rs`, `sweep.rs`) and `proxy/intent.rs`, `proxy/receipt.rs`.
//!
//! Two replicas, two calls. Replicas die and start anew with an empty memory and the disk that they had; Postgres dies
//! with what was on its way and keeps what was committed; answers are lost; a replica that lives may be taken for dead.

use std::collections::BTreeSet;

use stateright::{Model, Property};

const REPLICAS: usize = 2;
const CALLS: usize = 2;

/// A fault to build in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// `intent` does not wait until the row is committed.
    NotAwaited,
    /// The sweeper does nothing.
    NoSweeper,
    /// The table takes two events for a call.
    NoConflict,
    /// What Postgres cannot take is kept in memory instead of on disk, and nobody sweeps calls that came to their end.
    NoSpool,
}

struct Records {
    fault: Fault,
    replica_crashes: u8,
    postgres_crashes: u8,
    mistakes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct State {
    postgres_up: bool,
    replica_crashes: u8,
    postgres_crashes: u8,
    /// How often somebody alive may still be taken for dead.
    mistakes: u8,
    calls: [Call; CALLS],
    statements: BTreeSet<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Call {
    phase: Phase,
    forwarded: bool,
    /// In Postgres.
    intent: bool,
    /// In Postgres.
    events: u8,
    /// On this replica's disk.
    spooled: Option<usize>,
}

/// What the call's replica knows about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    New,
    /// Its intent is on the way.
    Recording(usize),
    Recorded(usize),
    Forwarded(usize),
    /// Its event is on the way.
    Concluding(usize),
    Finished,
    /// Its replica died.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Statement {
    what: What,
    call: usize,
    /// `None` once nobody waits for it.
    from: Option<usize>,
    executed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum What {
    Intent,
    /// From the call itself.
    Event,
    /// From a disk.
    Spooled,
    /// From a sweeper.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Begin(usize, usize),
    Execute(Statement),
    /// The answer reaches whoever waits.
    Hear(Statement),
    /// What a dead replica sent never arrives.
    Vanish(Statement),
    /// The intent is not waited for any longer: the call is refused.
    GiveUp(usize),
    Forward(usize),
    /// The upstream answers, or does not, or the client leaves.
    End(usize),
    ToDisk(usize),
    Replay(usize),
    Sweep(usize, usize),
    CrashReplica(usize),
    CrashPostgres,
    StartPostgres,
}

impl Phase {
    fn replica(self) -> Option<usize> {
        match self {
            Phase::Recording(replica)
            | Phase::Recorded(replica)
            | Phase::Forwarded(replica)
            | Phase::Concluding(replica) => Some(replica),
            Phase::New | Phase::Finished | Phase::Gone => None,
        }
    }

    fn with(self, rename: impl Fn(usize) -> usize) -> Phase {
        match self {
            Phase::Recording(replica) => Phase::Recording(rename(replica)),
            Phase::Recorded(replica) => Phase::Recorded(rename(replica)),
            Phase::Forwarded(replica) => Phase::Forwarded(rename(replica)),
            Phase::Concluding(replica) => Phase::Concluding(rename(replica)),
            Phase::New | Phase::Finished | Phase::Gone => self,
        }
    }
}

impl State {
    fn send(&mut self, what: What, call: usize, from: usize) {
        self.statements.insert(Statement { what, call, from: Some(from), executed: false });
    }

    fn is_sent(&self, what: What, call: usize) -> bool {
        self.statements.iter().any(|s| s.what == what && s.call == call && s.from.is_some())
    }

    fn hear(&mut self, statement: Statement) {
        self.statements.remove(&statement);
        let call = &mut self.calls[statement.call];
        match (statement.what, call.phase) {
            (What::Intent, Phase::Recording(replica)) => call.phase = Phase::Recorded(replica),
            (What::Event, Phase::Concluding(_)) => call.phase = Phase::Finished,
            (What::Spooled, _) => call.spooled = None,
            _ => {}
        }
    }

    /// Replicas are alike, and calls: of the states that differ only in which is which, one.
    fn alike(self) -> State {
        let other = |is: bool, i: usize| if is { 1 - i } else { i };
        let called = |(calls, replicas): (bool, bool)| {
            let mut state = self.clone();
            if calls {
                state.calls.reverse();
            }
            for call in &mut state.calls {
                call.phase = call.phase.with(|replica| other(replicas, replica));
                call.spooled = call.spooled.map(|replica| other(replicas, replica));
            }
            let renamed = |s: Statement| {
                let from = s.from.map(|replica| other(replicas, replica));
                Statement { call: other(calls, s.call), from, ..s }
            };
            state.statements = self.statements.iter().copied().map(renamed).collect();
            state
        };
        [(false, false), (false, true), (true, false), (true, true)]
            .into_iter()
            .map(called)
            .min()
            .unwrap()
    }

    fn spool(&mut self, call: usize, fault: Fault) {
        let Phase::Concluding(replica) = self.calls[call].phase else { return };
        self.statements.retain(|s| !(s.what == What::Event && s.call == call));
        self.calls[call].phase = Phase::Finished;
        self.calls[call].spooled = (fault != Fault::NoSpool).then_some(replica);
    }

    fn crash_replica(&mut self, replica: usize) {
        self.replica_crashes -= 1;
        for call in self.calls.iter_mut().filter(|call| call.phase.replica() == Some(replica)) {
            call.phase = Phase::Gone;
        }
        let orphaned =
            |s: Statement| if s.from == Some(replica) { Statement { from: None, ..s } } else { s };
        self.statements = self
            .statements
            .iter()
            .copied()
            .map(orphaned)
            .filter(|s| s.from.is_some() || !s.executed)
            .collect();
    }

    /// What was committed stays. Who waits does not know whether it was, and sends the same again.
    fn crash_postgres(&mut self) {
        self.postgres_crashes -= 1;
        self.postgres_up = false;
        let sent = std::mem::take(&mut self.statements);
        let again = sent.into_iter().filter(|s| s.from.is_some());
        self.statements = again.map(|s| Statement { executed: false, ..s }).collect();
    }
}

impl Model for Records {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let call =
            Call { phase: Phase::New, forwarded: false, intent: false, events: 0, spooled: None };
        vec![State {
            postgres_up: true,
            replica_crashes: self.replica_crashes,
            postgres_crashes: self.postgres_crashes,
            mistakes: self.mistakes,
            calls: [call.clone(), call],
            statements: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (i, call) in state.calls.iter().enumerate() {
            match call.phase {
                Phase::New => {
                    actions.extend((0..REPLICAS).map(|replica| Action::Begin(i, replica)))
                }
                Phase::Recording(_) => actions.push(Action::GiveUp(i)),
                Phase::Recorded(_) => actions.extend([Action::Forward(i), Action::End(i)]),
                Phase::Forwarded(_) => actions.push(Action::End(i)),
                Phase::Concluding(_) if !state.postgres_up => actions.push(Action::ToDisk(i)),
                Phase::Concluding(_) | Phase::Finished | Phase::Gone => {}
            }
            if call.spooled.is_some() && !state.is_sent(What::Spooled, i) {
                actions.push(Action::Replay(i));
            }
            let open = call.intent
                && call.events == 0
                && state.postgres_up
                && !state.is_sent(What::Closing, i);
            let lost =
                call.phase == Phase::Gone || (call.phase.replica().is_some() && state.mistakes > 0);
            if open && lost && self.fault != Fault::NoSweeper {
                actions.extend((0..REPLICAS).map(|replica| Action::Sweep(i, replica)));
            }
        }
        for statement in &state.statements {
            match (statement.executed, statement.from) {
                (false, _) if state.postgres_up => actions.push(Action::Execute(*statement)),
                (true, Some(_)) => actions.push(Action::Hear(*statement)),
                _ => {}
            }
            if statement.from.is_none() {
                actions.push(Action::Vanish(*statement));
            }
        }
        if state.replica_crashes > 0 {
            actions.extend((0..REPLICAS).map(Action::CrashReplica));
        }
        match state.postgres_up {
            true if state.postgres_crashes > 0 => actions.push(Action::CrashPostgres),
            true => {}
            false => actions.push(Action::StartPostgres),
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(i, replica) => {
                let awaited = self.fault != Fault::NotAwaited;
                state.calls[i].phase =
                    if awaited { Phase::Recording(replica) } else { Phase::Recorded(replica) };
                state.send(What::Intent, i, replica);
            }
            Action::Execute(statement) => {
                state.statements.remove(&statement);
                let call = &mut state.calls[statement.call];
                match statement.what {
                    What::Intent => call.intent = true,
                    What::Event | What::Spooled | What::Closing => {
                        let taken = call.events == 0 || self.fault == Fault::NoConflict;
                        call.events += u8::from(taken);
                    }
                }
                if statement.from.is_some() {
                    state.statements.insert(Statement { executed: true, ..statement });
                }
            }
            Action::Hear(statement) => state.hear(statement),
            Action::Vanish(statement) => drop(state.statements.remove(&statement)),
            Action::GiveUp(i) | Action::End(i) => {
                let replica = state.calls[i].phase.replica()?;
                state.calls[i].phase = Phase::Concluding(replica);
                state.send(What::Event, i, replica);
            }
            Action::Forward(i) => {
                state.calls[i].phase = Phase::Forwarded(state.calls[i].phase.replica()?);
                state.calls[i].forwarded = true;
            }
            Action::ToDisk(i) => state.spool(i, self.fault),
            Action::Replay(i) => state.send(What::Spooled, i, state.calls[i].spooled?),
            Action::Sweep(i, replica) => {
                if state.calls[i].phase != Phase::Gone {
                    state.mistakes -= 1;
                }
                state.send(What::Closing, i, replica);
            }
            Action::CrashReplica(replica) => state.crash_replica(replica),
            Action::CrashPostgres => state.crash_postgres(),
            Action::StartPostgres => state.postgres_up = true,
        }
        Some(state.alike())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn is_over(model: &Records, state: &State) -> bool {
            let mut actions = Vec::new();
            model.actions(state, &mut actions);
            actions
                .iter()
                .all(|action| matches!(action, Action::CrashReplica(_) | Action::CrashPostgres))
        }
        vec![
            Property::always("no call without an intent", |_, state: &State| {
                state.calls.iter().all(|call| call.intent || !call.forwarded)
            }),
            Property::always("one event at most", |_, state: &State| {
                state.calls.iter().all(|call| call.events <= 1)
            }),
            Property::always("one event in the end", |model, state: &State| {
                !is_over(model, state)
                    || state.calls.iter().all(|call| call.events == 1 || !call.intent)
            }),
            Property::sometimes("a swept call was made", |_, state: &State| {
                state
                    .calls
                    .iter()
                    .any(|call| call.phase == Phase::Gone && call.forwarded && call.events == 1)
            }),
            Property::sometimes("an intent lands late", |_, state: &State| {
                state
                    .calls
                    .iter()
                    .any(|call| call.phase == Phase::Finished && call.intent && !call.forwarded)
            }),
        ]
    }
}

fn model(fault: Fault) -> Records {
    Records { fault, replica_crashes: 2, postgres_crashes: 1, mistakes: 1 }
}

#[test]
fn no_call_leaves_unrecorded_and_each_intent_gets_one_event() {
    super::holds("record", model(Fault::None));
}

#[test]
fn faults_in_recording_are_found() {
    for (fault, property) in [
        (Fault::NotAwaited, "no call without an intent"),
        (Fault::NoSweeper, "one event in the end"),
        (Fault::NoConflict, "one event at most"),
        (Fault::NoSpool, "one event in the end"),
    ] {
        super::is_found(property, model(fault));
    }
}
