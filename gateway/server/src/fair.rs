//! Places that several share: nobody holds more than twice as many as are free. Whoever is alone gets two thirds of
//! them; the more there are, the smaller each one's share; and whoever holds little always finds a place. Knows not
//! who the holders are: each has a number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many times the free places one holder may hold.
const TIMES_FREE: usize = 2;

/// So many places.
#[derive(Debug)]
pub struct Places {
    all: usize,
    taken: Mutex<Taken>,
}

/// Who holds how many of so many places.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) free: usize,
    held: HashMap<u128, usize>,
}

impl Taken {
    pub(crate) fn none_of(all: usize) -> Taken {
        Taken { free: all, held: HashMap::new() }
    }

    /// How many that holder has.
    pub(crate) fn of(&self, holder: u128) -> usize {
        self.held.get(&holder).copied().unwrap_or(0)
    }

    /// Whether that holder may have one more.
    pub(crate) fn is_open_to(&self, holder: u128) -> bool {
        self.of(holder) < TIMES_FREE * self.free
    }

    /// Takes one if that is allowed.
    pub(crate) fn take(&mut self, holder: u128) -> bool {
        let open = self.is_open_to(holder);
        if open {
            self.free -= 1;
            *self.held.entry(holder).or_default() += 1;
        }
        open
    }

    /// Gives one back.
    pub(crate) fn give_back(&mut self, holder: u128) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(&holder) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&holder);
            }
        }
    }
}

/// No place for this holder now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// How many places there are.
    pub all: usize,
    /// How many of them the holder has.
    pub held: usize,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} places are the caller's, who may have twice as many as are free",
            self.held, self.all
        )
    }
}

impl Places {
    /// So many, all free.
    pub fn new(all: usize) -> Arc<Places> {
        Arc::new(Places { all, taken: Mutex::new(Taken::none_of(all)) })
    }

    /// Takes one until it is dropped.
    pub fn take(self: &Arc<Self>, holder: u128) -> Result<Place, Full> {
        let mut taken = self.taken();
        if taken.take(holder) {
            return Ok(Place { places: Arc::clone(self), holder });
        }
        Err(Full { all: self.all, held: taken.of(holder) })
    }

    /// How many are taken.
    pub fn used(&self) -> usize {
        self.all - self.taken().free
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    holder: u128,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().give_back(self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &Arc<Places>, holder: u128) -> Vec<Place> {
        std::iter::from_fn(|| places.take(holder).ok()).collect()
    }

    #[test]
    fn whoever_is_alone_gets_two_thirds_and_the_rest_stays_for_others() {
        let places = Places::new(90);
        let noisy = fill(&places, 1);
        assert_eq!(noisy.len(), 60);
        assert_eq!(places.take(1).unwrap_err(), Full { all: 90, held: 60 });
        let second = fill(&places, 2);
        assert_eq!(second.len(), 20);
        // However many come, each gets something, and what was taken before is not taken away.
        let late: Vec<_> = (3..13).map(|holder| places.take(holder).unwrap()).collect();
        assert_eq!((late.len(), places.used()), (10, 90));
        assert_eq!(places.take(99).unwrap_err(), Full { all: 90, held: 0 });
    }

    #[test]
    fn a_noisy_holder_gives_way_as_others_come() {
        let places = Places::new(90);
        let mut noisy = fill(&places, 1);
        let others: Vec<_> = (2..5).flat_map(|holder| fill(&places, holder)).collect();
        noisy.truncate(43);
        assert!(places.take(1).is_err(), "what it gives back goes to others first");
        assert!(places.take(2).is_ok(), "for instance to this one");
        drop(others);
        assert!(places.take(1).is_ok());
    }

    #[test]
    fn what_is_dropped_is_free_again() {
        let places = Places::new(1);
        for holder in 0..3 {
            let place = places.take(holder).unwrap();
            assert!(places.take(holder).is_err());
            drop(place);
        }
        assert_eq!((places.used(), places.taken().held.len()), (0, 0));
    }
}
