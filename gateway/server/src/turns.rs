//! Whose turn it is to be worked on. So many exchanges at a time get through what is the gateway's own work, up to the
//! request's leaving; the rest waits, each client in a line of its own, served in rounds. Who would wait too long is
//! turned away early, so that those who are let in are answered as fast as ever:
//!
//! - an exchange waits at most `patience`, which lets a burst pass;
//! - once somebody has been waiting without a break for that long, no burst is it: from then on, until nobody waits
//!   any more, at most `standing`.
//!
//! A turn ends when the request leaves for its server, when the exchange is over, or when its time is up: then it waits
//! for something that is not the gateway's work, such as a person.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::fair::Taken;

/// How many turns, and how long to wait for one.
#[derive(Debug, Clone, Copy)]
pub struct TurnSettings {
    /// Exchanges that are worked on at once.
    pub turns: usize,
    /// Exchanges that may wait.
    pub waiting: usize,
    /// How long one waits in a burst.
    pub patience: Duration,
    /// How long one waits while the line does not get empty.
    pub standing: Duration,
    /// How long a turn lasts.
    pub lasts: Duration,
}

impl Default for TurnSettings {
    fn default() -> TurnSettings {
        TurnSettings {
            turns: 256,
            waiting: 2_048,
            patience: Duration::from_millis(500),
            standing: Duration::from_millis(25),
            lasts: Duration::from_secs(1),
        }
    }
}

/// The turns of one listener.
#[derive(Debug)]
pub struct Turns {
    settings: TurnSettings,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    turns: Taken,
    /// Places in the lines.
    places: Taken,
    waiting: HashMap<u128, VecDeque<oneshot::Sender<Turn>>>,
    /// The clients that wait, in the order in which they are served.
    round: VecDeque<u128>,
    /// Since when somebody has been waiting without a break.
    since: Option<Instant>,
}

/// Why there is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTurn {
    /// The client's line is full, or all lines are.
    Full,
    /// It would have waited longer than this.
    TooLong(Duration),
}

/// An exchange's turn; over when it ends or the last clone is dropped. The default is one that nobody waits for.
#[derive(Debug, Clone, Default)]
pub struct Turn(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    turns: Arc<Turns>,
    client: u128,
    over: AtomicBool,
}

impl Turns {
    /// All free.
    pub fn new(settings: TurnSettings) -> Arc<Turns> {
        let lines = Lines {
            turns: Taken::none_of(settings.turns),
            places: Taken::none_of(settings.waiting),
            waiting: HashMap::new(),
            round: VecDeque::new(),
            since: None,
        };
        Arc::new(Turns { settings, lines: Mutex::new(lines) })
    }

    /// Waits for a turn.
    pub async fn take(self: &Arc<Self>, client: u128) -> Result<Turn, NoTurn> {
        let (mut granted, patience) = {
            let mut lines = self.lines();
            if !lines.is_waiting(client) && lines.turns.take(client) {
                return Ok(self.turn(client));
            }
            if !lines.places.take(client) {
                return Err(NoTurn::Full);
            }
            (lines.queue(client), self.patience(&mut lines))
        };
        let _place = Waiting { turns: self, client };
        match timeout(patience, &mut granted).await {
            Ok(Ok(turn)) => Ok(turn),
            // The sender is never dropped unsent.
            Ok(Err(_)) => Err(NoTurn::Full),
            Err(_) => {
                granted.close();
                // It may have come at the very end.
                granted.try_recv().map_err(|_| NoTurn::TooLong(patience))
            }
        }
    }

    /// How long a turn lasts.
    pub fn last(&self) -> Duration {
        self.settings.lasts
    }

    /// How many turns are taken, how many there are, and how many wait.
    pub fn used(&self) -> (usize, usize, usize) {
        let (turns, waiting) = (self.settings.turns, self.settings.waiting);
        let lines = self.lines();
        (turns - lines.turns.free, turns, waiting - lines.places.free)
    }

    fn patience(&self, lines: &mut Lines) -> Duration {
        let now = Instant::now();
        let since = *lines.since.get_or_insert(now);
        let TurnSettings { patience, standing, .. } = self.settings;
        if now.saturating_duration_since(since) >= patience { standing } else { patience }
    }

    fn turn(self: &Arc<Self>, client: u128) -> Turn {
        let turns = Arc::clone(self);
        Turn(Some(Arc::new(Held { turns, client, over: AtomicBool::new(false) })))
    }

    /// Gives a turn back, and on to who is next.
    fn give_back(self: &Arc<Self>, client: u128) {
        let mut lines = self.lines();
        lines.turns.give_back(client);
        while let Some((next, sender)) = lines.next() {
            if let Err(turn) = sender.send(self.turn(next)) {
                // Its client has gone, or was turned away: it goes to the one after. Dropped, it would come here again.
                turn.0.iter().for_each(|held| held.over.store(true, Ordering::Relaxed));
                lines.turns.give_back(next);
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn queue(&mut self, client: u128) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        if !self.waiting.contains_key(&client) {
            self.round.push_back(client);
        }
        self.waiting.entry(client).or_default().push_back(sender);
        receiver
    }

    /// Whether one of that client's waits; those who have gone are taken out.
    fn is_waiting(&mut self, client: u128) -> bool {
        let Some(line) = self.waiting.get_mut(&client) else { return false };
        while line.front().is_some_and(oneshot::Sender::is_closed) {
            line.pop_front();
        }
        !line.is_empty()
    }

    /// Takes a turn for the next who may have one: each client in its round, the longest waiting first.
    fn next(&mut self) -> Option<(u128, oneshot::Sender<Turn>)> {
        for _ in 0..self.round.len() {
            let client = self.round.pop_front()?;
            if !self.is_waiting(client) {
                self.waiting.remove(&client);
                continue;
            }
            self.round.push_back(client);
            if self.turns.take(client) {
                let sender = self.waiting.get_mut(&client).and_then(VecDeque::pop_front);
                return sender.map(|sender| (client, sender));
            }
        }
        None
    }
}

/// A place in a line; free again when it is dropped.
struct Waiting<'a> {
    turns: &'a Turns,
    client: u128,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        lines.places.give_back(self.client);
        if lines.places.free == self.turns.settings.waiting {
            lines.since = None;
        }
    }
}

impl Turn {
    /// It is over, for all clones.
    pub fn end(&self) {
        if let Some(held) = &self.0 {
            held.end();
        }
    }
}

impl Held {
    fn end(&self) {
        if !self.over.swap(true, Ordering::AcqRel) {
            self.turns.give_back(self.client);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
