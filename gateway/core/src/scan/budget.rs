//! What reading a message may cost. Work is counted, not time: every text has an allowance in proportion to its length,
//! and what that does not cover comes out of one pot for the whole message. A text that has used up both is not read on:
//! it counts as one find of each class (`Forms::text`). So a message costs what its length allows, however it was made.

#[cfg(test)]
mod tests;

/// The rule under which a text is found that takes more reading than any that was not made for it.
pub(super) const TOO_DENSE: &str = "too_dense";

/// So much work goes with each byte of a text. A unit is about a nanosecond.
const PER_BYTE: usize = 8;
/// So much goes with each text, however short: the finds that it would count as if it were cut off.
const PER_TEXT: usize = 5 * FIND;
/// So much more may be used by all texts of a message together.
const POT: usize = 1 << 19;

/// Trying a pattern at a place.
pub(super) const ATTEMPT: usize = 110;
/// Asking a function at a place.
pub(super) const CALL: usize = 5;
/// Something that was found.
pub(super) const FIND: usize = 150;
/// Reading one more byte by a pattern.
pub(super) const STEP: usize = 6;
/// Looking through one more byte of what a text says once it is decoded.
pub(super) const LOOK: usize = 3;

/// What is left of what a message may cost.
#[derive(Debug)]
pub(super) struct Budget {
    pot: usize,
    /// Of the present text, the pot included.
    left: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        #[cfg(not(test))]
        let pot = POT;
        #[cfg(test)]
        let pot = NEXT_POT.with(std::cell::Cell::get);
        Budget { pot, left: pot }
    }
}

impl Budget {
    /// The next text of the message begins.
    pub(super) fn begin(&mut self, len: usize) {
        self.pot = self.pot.min(self.left);
        self.left = len.saturating_mul(PER_BYTE).saturating_add(PER_TEXT + self.pot);
    }

    /// Some work is done.
    pub(super) fn spend(&mut self, work: usize) {
        #[cfg(test)]
        SPENT.with(|spent| spent.set(spent.get() + work));
        self.left = self.left.saturating_sub(work);
    }

    /// Some work is done if there is enough left for all of it; if not, nothing more is.
    pub(super) fn afford(&mut self, work: usize) -> bool {
        if work < self.left {
            self.spend(work);
        } else {
            self.left = 0;
        }
        !self.is_used_up()
    }

    /// The present text is not read on.
    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
thread_local! {
    /// All work that was done, for tests that say how much there may be.
    static SPENT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// The pot of the next message.
    static NEXT_POT: std::cell::Cell<usize> = const { std::cell::Cell::new(POT) };
}
