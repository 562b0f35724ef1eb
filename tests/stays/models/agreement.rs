//! E2: an agreement lets one call run, once, over three replicas: `gateway/store/src/confirmation.rs`, whose statements
//! are `Take` and `Return` here, and `proxy/confirm.rs`, `proxy/limit.rs`, which send them.
//!
//! Statements are on their way for any time, may be lost before they are executed, and their answers after; replicas
//! give up waiting and die at any point; people decide whenever they like, and agreements expire.

use stateright::{Model, Property};

const REPLICAS: usize = 3;
/// Rows of one binding: what is asked for again is a row of its own.
const ROWS: usize = 2;

/// A fault to build in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// `take_agreed` leaves the row as it is.
    NotUsedUp,
    /// `take_agreed` reads, and then writes.
    ReadThenWrite,
    /// A replica that hears nothing of its `return_agreed` sends it again.
    ReturnedTwice,
}

struct Agreements {
    fault: Fault,
    calls: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: Vec<Row>,
    replicas: [Replica; REPLICAS],
    statements: Vec<Statement>,
    calls: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    status: Status,
    expired: bool,
    returned: bool,
    runs: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Pending,
    Agreed,
    Used,
    Declined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Replica {
    Idle,
    Taking,
    /// It took this row, and may make the call.
    Holding(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Statement {
    /// On its way; `from` is `None` once nobody waits for the answer.
    Take {
        from: Option<usize>,
    },
    /// Of the fault `ReadThenWrite`: it has read.
    Read {
        from: Option<usize>,
        row: usize,
    },
    /// Executed; the answer is on its way.
    Taken {
        from: usize,
        row: Option<usize>,
    },
    Return {
        row: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// A call comes, and its replica asks whether it was agreed to.
    Call(usize),
    Execute(Statement),
    Lose(Statement),
    Hear(Statement),
    /// A replica does not wait any longer, or dies.
    GiveUp(usize),
    /// It dies before the call has left.
    Die(usize),
    /// The call leaves.
    Run(usize),
    /// A limit stops the call, and the agreement is given back.
    Refuse(usize),
    Agree(usize),
    Decline(usize),
    Expire(usize),
}

impl State {
    fn lives(&self) -> bool {
        self.rows
            .iter()
            .any(|row| !row.expired && matches!(row.status, Status::Pending | Status::Agreed))
    }

    fn agreed(&self) -> Option<usize> {
        self.rows.iter().position(|row| row.status == Status::Agreed && !row.expired)
    }

    fn remove(&mut self, statement: Statement) {
        let at = self.statements.iter().position(|other| *other == statement).unwrap();
        self.statements.remove(at);
    }

    /// States that differ only in the order of what is on its way are one.
    fn add(&mut self, statement: Statement) {
        self.statements.push(statement);
        self.statements.sort();
    }

    /// The replica waits for nothing any more; its statements stay on their way.
    fn forget(&mut self, replica: usize) {
        self.replicas[replica] = Replica::Idle;
        for statement in &mut self.statements {
            match statement {
                Statement::Take { from } | Statement::Read { from, .. } => {
                    *from = from.filter(|from| *from != replica);
                }
                Statement::Taken { .. } | Statement::Return { .. } => {}
            }
        }
        self.statements.retain(|s| !matches!(s, Statement::Taken { from, .. } if *from == replica));
        self.statements.sort();
    }

    fn execute(&mut self, statement: Statement, fault: Fault) {
        self.remove(statement);
        match statement {
            Statement::Take { from } => {
                let row = self.agreed();
                match row {
                    Some(row) if fault == Fault::ReadThenWrite => {
                        return self.add(Statement::Read { from, row });
                    }
                    Some(row) if fault != Fault::NotUsedUp => self.rows[row].status = Status::Used,
                    _ => {}
                }
                self.answer(from, row);
            }
            Statement::Read { from, row } => {
                self.rows[row].status = Status::Used;
                self.answer(from, Some(row));
            }
            Statement::Return { row } => {
                let back = self.rows[row].status == Status::Used
                    && !self.rows[row].expired
                    && !self.lives();
                if back {
                    self.rows[row].status = Status::Agreed;
                    self.rows[row].returned = true;
                }
            }
            Statement::Taken { .. } => {}
        }
    }

    /// Replicas are alike: of the states that differ only in which is which, one.
    fn alike(self) -> State {
        const ORDERS: [[usize; REPLICAS]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let called = |order: [usize; REPLICAS]| {
            let mut state = self.clone();
            (0..REPLICAS).for_each(|i| state.replicas[order[i]] = self.replicas[i]);
            for statement in &mut state.statements {
                match statement {
                    Statement::Take { from: Some(from) }
                    | Statement::Read { from: Some(from), .. }
                    | Statement::Taken { from, .. } => {
                        *from = order[*from];
                    }
                    Statement::Take { from: None }
                    | Statement::Read { from: None, .. }
                    | Statement::Return { .. } => {}
                }
            }
            state.statements.sort();
            state
        };
        let all = ORDERS.into_iter().map(called);
        all.min_by(|a, b| (&a.replicas, &a.statements).cmp(&(&b.replicas, &b.statements))).unwrap()
    }

    fn answer(&mut self, from: Option<usize>, row: Option<usize>) {
        if let Some(from) = from {
            self.add(Statement::Taken { from, row });
        }
    }
}

impl Model for Agreements {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let replicas = [Replica::Idle; REPLICAS];
        vec![State { rows: vec![], replicas, statements: vec![], calls: self.calls }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (i, replica) in state.replicas.iter().enumerate() {
            match replica {
                Replica::Idle if state.calls > 0 => actions.push(Action::Call(i)),
                Replica::Idle => {}
                Replica::Taking => actions.push(Action::GiveUp(i)),
                Replica::Holding(_) => {
                    actions.extend([Action::Run(i), Action::Refuse(i), Action::Die(i)])
                }
            }
        }
        for statement in &state.statements {
            match statement {
                Statement::Taken { .. } => actions.push(Action::Hear(*statement)),
                Statement::Take { .. } | Statement::Read { .. } | Statement::Return { .. } => {
                    actions.extend([Action::Execute(*statement), Action::Lose(*statement)]);
                }
            }
        }
        for (i, row) in state.rows.iter().enumerate() {
            if row.status == Status::Pending && !row.expired {
                actions.extend([Action::Agree(i), Action::Decline(i)]);
            }
            if !row.expired && row.status != Status::Declined {
                actions.push(Action::Expire(i));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Call(i) => {
                state.calls -= 1;
                state.replicas[i] = Replica::Taking;
                state.add(Statement::Take { from: Some(i) });
            }
            Action::Execute(statement) => state.execute(statement, self.fault),
            Action::Lose(statement) => state.remove(statement),
            Action::Hear(statement) => {
                state.remove(statement);
                let Statement::Taken { from, row } = statement else { return None };
                state.replicas[from] = row.map_or(Replica::Idle, Replica::Holding);
                if row.is_none() && !state.lives() && state.rows.len() < ROWS {
                    let row =
                        Row { status: Status::Pending, expired: false, returned: false, runs: 0 };
                    state.rows.push(row);
                }
            }
            Action::GiveUp(i) | Action::Die(i) => state.forget(i),
            Action::Run(i) => {
                let Replica::Holding(row) = state.replicas[i] else { return None };
                state.rows[row].runs += 1;
                state.replicas[i] = Replica::Idle;
            }
            Action::Refuse(i) => {
                let Replica::Holding(row) = state.replicas[i] else { return None };
                state.replicas[i] = Replica::Idle;
                let times = if self.fault == Fault::ReturnedTwice { 2 } else { 1 };
                (0..times).for_each(|_| state.add(Statement::Return { row }));
            }
            Action::Agree(i) => state.rows[i].status = Status::Agreed,
            Action::Decline(i) => state.rows[i].status = Status::Declined,
            Action::Expire(i) => state.rows[i].expired = true,
        }
        Some(state.alike())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("once", |_, state: &State| state.rows.iter().all(|row| row.runs <= 1)),
            Property::always("nothing declined runs", |_, state: &State| {
                state.rows.iter().all(|row| row.runs == 0 || row.status != Status::Declined)
            }),
            Property::sometimes("what was given back runs", |_, state: &State| {
                state.rows.iter().any(|row| row.returned && row.runs == 1)
            }),
            Property::sometimes("asked anew, it runs again", |_, state: &State| {
                state.rows.len() == ROWS && state.rows.iter().all(|row| row.runs == 1)
            }),
        ]
    }
}

fn model(fault: Fault) -> Agreements {
    Agreements { fault, calls: 6 }
}

#[test]
fn an_agreement_lets_one_call_run_once() {
    super::holds("agreement", model(Fault::None));
}

#[test]
fn faults_in_using_agreements_up_are_found() {
    for fault in [Fault::NotUsedUp, Fault::ReadThenWrite, Fault::ReturnedTwice] {
        super::is_found("once", model(fault));
    }
}
