//! Answers other than the verdict itself (which is `gateway_core::decision::Verdict`).

use gateway_core::decision::{Approver, Verdict};
use gateway_core::ids::PolicyId;
use serde::Serialize;

/// A verdict and how long it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The answer.
    pub verdict: Verdict,
    /// True when neither arguments nor circumstances nor agreement could change the verdict: it holds as
    /// long as the policies, the person and the server's definitions stay.
    pub cacheable: bool,
}

/// Whether a target shows in listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// True when a call with some arguments would be allowed, or allowed once people agree.
    pub listed: bool,
    /// True when circumstances could not change that.
    pub cacheable: bool,
}

/// How the policies came to a verdict, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `allow`, `deny` or `confirm`.
    pub verdict: &'static str,
    /// Of a denial: the target looks as if it did not exist.
    pub invisible: bool,
    /// Of a denial or confirmation: the message shown.
    pub message: Option<String>,
    /// Of a confirmation: who must agree.
    pub approvers: Vec<Approver>,
    /// One sentence.
    pub reason: String,
    /// Every policy about this person and this server.
    pub policies: Vec<Considered>,
}

/// One policy's part in a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// `allow`, `deny` or `confirm`. Raw Cedar with several statements has an entry for each.
    pub effect: &'static str,
    /// True when it is one of those that the verdict rests on.
    pub deciding: bool,
    /// True when it applies to the target and all its conditions hold.
    pub holds: bool,
    /// Why it holds or does not, one phrase.
    pub why: String,
}
