//! Verdicts, with a memory for those that nothing but a new catalogue could change.
//!
//! Where an agent acts for a person, both are asked. The policies say which answers may be kept; the key
//! holds the snapshot's generation, so that a new one forgets everything. A question about a principal or
//! server of another snapshot is not remembered.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::caller::{Caller, User};
use gateway_core::decision::{Circumstances, Denial, Question, Target, Verdict};
use gateway_core::ids::{ServerId, UserId};
use gateway_core::json::Json;
use gateway_core::server::Server;
use moka::sync::Cache;

use crate::snapshot::Snapshot;

/// Most answers that are remembered.
const REMEMBERED: u64 = 200_000;
/// Answers that nobody asked for in this time are forgotten.
const IDLE: Duration = Duration::from_secs(300);

/// What a caller wants to do: a [`Question`] but for who asks.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Where.
    pub server: &'a Server,
    /// What.
    pub target: Target<'a>,
    /// The call's arguments.
    pub arguments: Option<Json<'a>>,
    /// How it reached us.
    pub circumstances: &'a Circumstances,
    /// True once the people whom the matching confirm rules ask for have agreed.
    pub confirmed: bool,
}

impl<'a> Attempt<'a> {
    /// The question whether `user` may.
    pub(crate) fn by(&self, user: &'a User) -> Question<'a> {
        let Attempt { server, target, arguments, circumstances, confirmed } = *self;
        Question { user, server, target, arguments, circumstances, confirmed }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    generation: u64,
    user: UserId,
    server: ServerId,
    kind: &'static str,
    name: Box<str>,
}

/// Remembered verdicts and listings.
pub(crate) struct Decider {
    verdicts: Cache<Key, Arc<Verdict>>,
    listings: Cache<Key, bool>,
}

impl Decider {
    pub(crate) fn new() -> Decider {
        Decider {
            verdicts: Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE).build(),
            listings: Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE).build(),
        }
    }

    /// The verdict on `attempt`: of everybody whose permission it needs.
    pub(crate) fn decide(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        attempt: &Attempt<'_>,
    ) -> Verdict {
        let verdicts = caller.principals().map(|user| self.one(snapshot, &attempt.by(user)));
        verdicts.reduce(Verdict::and).unwrap_or_else(|| {
            Verdict::Deny(Denial { invisible: true, policies: vec![], message: None })
        })
    }

    fn one(&self, snapshot: &Snapshot, question: &Question<'_>) -> Verdict {
        let target = (question.target.kind(), question.target.name());
        let key = key(snapshot, question.user, question.server, target);
        if let Some(known) = key.as_ref().and_then(|key| self.verdicts.get(key)) {
            return (*known).clone();
        }
        let decided = snapshot.policies.decide(question);
        if let (true, Some(key)) = (decided.cacheable, key) {
            self.verdicts.insert(key, Arc::new(decided.verdict.clone()));
        }
        decided.verdict
    }

    /// Whether policies let everybody enter `server` whose permission a call needs.
    pub(crate) fn enters(&self, snapshot: &Snapshot, caller: &Caller, server: &Server) -> bool {
        caller.principals().all(|user| {
            let key = key(snapshot, user, server, ("server", ""));
            if let Some(known) = key.as_ref().and_then(|key| self.listings.get(key)) {
                return known;
            }
            let enters = snapshot.policies.may_enter(user, server);
            if let Some(key) = key {
                self.listings.insert(key, enters);
            }
            enters
        })
    }

    /// Whether a listing shows `target`: what everybody may use whose permission a call needs.
    pub(crate) fn listed(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        (server, target): (&Server, Target<'_>),
        circumstances: &Circumstances,
    ) -> bool {
        caller
            .principals()
            .all(|user| self.listed_for(snapshot, user, (server, target), circumstances))
    }

    fn listed_for(
        &self,
        snapshot: &Snapshot,
        user: &User,
        (server, target): (&Server, Target<'_>),
        circumstances: &Circumstances,
    ) -> bool {
        let key = key(snapshot, user, server, (target.kind(), target.name()));
        if let Some(known) = key.as_ref().and_then(|key| self.listings.get(key)) {
            return known;
        }
        let answer = snapshot.policies.listed(user, server, target, circumstances);
        if let (true, Some(key)) = (answer.cacheable, key) {
            self.listings.insert(key, answer.listed);
        }
        answer.listed
    }
}

/// `None` when the principal or the server is not the snapshot's own: then the answer is this question's
/// alone.
fn key(
    snapshot: &Snapshot,
    user: &User,
    server: &Server,
    (kind, name): (&'static str, &str),
) -> Option<Key> {
    let own_server = snapshot.server_by_id(server.id)?;
    let own_user = snapshot.principal(user.id)?;
    let same = std::ptr::eq(Arc::as_ptr(own_server), server)
        && (std::ptr::eq(Arc::as_ptr(own_user), user) || **own_user == *user);
    same.then(|| Key {
        generation: snapshot.generation,
        user: user.id,
        server: server.id,
        kind,
        name: name.into(),
    })
}
