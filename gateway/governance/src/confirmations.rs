//! People's agreement to single calls: asked for, given, waited for and used up, on any replica.
//!
//! An agreement is bound to principal, server, target, definition and arguments ([`Binding`]) and to who
//! had to agree. Postgres keeps it and lets exactly one taker win; this file says who may speak for whom.
//! How a person is asked is the faces' business.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::caller::{Caller, User};
use gateway_core::decision::{Approver, Demand, Target};
use gateway_core::ids::{CallId, ConfirmationId, EventId, ServerId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_core::{Clock, Timestamp};
use gateway_store::audit::Trail;
use gateway_store::confirmation::{self as stored, Confirmation, ConfirmationStatus};
use gateway_store::{Store, StoreError};
use ring::digest::{Context, SHA256};

use crate::notices::Notices;
use crate::perform::Refused;
use crate::ports::{Random, uuid7};
use crate::refresh::Current;

/// How often a waiter looks by itself, should a notice be lost.
const POLL: Duration = Duration::from_millis(500);

/// What an agreement is for: one principal's one call of one target with these arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding([u8; 32]);

impl Binding {
    /// The binding's bytes, for sealing handles to it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// With the people who must agree: an agreement under a milder rule is none under a stricter one.
    fn among(&self, approvers: &[Approver]) -> [u8; 32] {
        let mut names: Vec<String> = approvers.iter().cloned().map(String::from).collect();
        names.sort_unstable();
        let mut parts: Vec<&[u8]> = vec![&self.0];
        parts.extend(names.iter().map(String::as_bytes));
        hash(&parts)
    }
}

/// A call that waits for people.
#[derive(Debug, Clone)]
pub struct NewConfirmation {
    /// What the agreement is for.
    pub binding: Binding,
    /// The person behind the call: of an agent that acts for itself, its owner.
    pub user: UserId,
    /// Where it goes.
    pub server: ServerId,
    /// The target, for people: `tool:NAME`.
    pub target: String,
    /// What the policies ask for.
    pub demand: Demand,
    /// The call that asks.
    pub call: CallId,
    /// Its arguments, JSON text, for people.
    pub arguments: Option<String>,
}

/// A request for agreement that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub id: ConfirmationId,
    /// From then on it is worth nothing.
    pub expires_at: Timestamp,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Everybody agreed; the call may be made once.
    Agreed,
    /// Somebody declined.
    Declined,
    /// Nobody answered in time, or it was used already.
    Expired,
}

/// How an answer reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The client asked the person behind the call.
    Elicitation,
    /// Somebody decided elsewhere: REST, console, a tool.
    OutOfBand,
}

/// An answer's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It is settled.
    Settled(Settled),
    /// Noted, and these must agree too.
    Waiting(Vec<Approver>),
}

/// People's agreements.
pub struct Confirmations {
    store: Store,
    trail: Trail,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    current: Arc<Current>,
    notices: Arc<Notices>,
    lifetime: time::Duration,
}

impl Confirmations {
    pub(crate) fn new(
        store: Store,
        trail: Trail,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
        (current, notices): (Arc<Current>, Arc<Notices>),
        lifetime: Duration,
    ) -> Confirmations {
        let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::MINUTE);
        Confirmations { store, trail, clock, random, current, notices, lifetime }
    }

    /// What an agreement to this call is bound to; `arguments` in canonical spelling.
    pub fn binding(
        &self,
        caller: &Caller,
        server: ServerId,
        target: Target<'_>,
        definition: [u8; 32],
        arguments: &str,
    ) -> Binding {
        Binding(hash(&[
            b"gateway/confirmation/2",
            &caller.binding(),
            server.0.as_bytes(),
            target.kind().as_bytes(),
            target.name().as_bytes(),
            &definition,
            arguments.as_bytes(),
        ]))
    }

    /// Uses up an agreement to this call by everybody whom `demand` names: of any number of takers, on
    /// any replica, one gets it.
    pub async fn take_agreed(
        &self,
        binding: &Binding,
        demand: &Demand,
    ) -> Result<Option<ConfirmationId>, StoreError> {
        self.store.take_agreed(&binding.among(&demand.approvers), self.clock.now()).await
    }

    /// The call for which the agreement was taken is not made after all: people need not be asked again while
    /// the agreement lives. Where it cannot be given back it is lost, which costs a question and no safety.
    pub async fn give_back(&self, id: ConfirmationId) {
        if let Err(error) = self.store.return_agreed(id, self.clock.now()).await {
            tracing::warn!(%id, %error, "an agreement could not be given back");
        }
    }

    /// Asks for agreement; equal calls share one living request.
    pub async fn request(&self, new: NewConfirmation) -> Result<Pending, StoreError> {
        let now = self.clock.now();
        let new = stored::NewConfirmation {
            id: ConfirmationId(uuid7(now, &*self.random)),
            binding: new.binding.among(&new.demand.approvers),
            user: new.user,
            server: new.server,
            tool: new.target,
            message: new.demand.message,
            arguments: new.arguments,
            policies: new.demand.policies,
            approvers: new.demand.approvers,
            call: new.call,
            created_at: now,
            expires_at: now + self.lifetime,
        };
        let living = self.store.request_confirmation(&new).await?;
        if living.id == new.id {
            let told = self.notices.of_confirmation(&self.current.snapshot(), &living);
            self.notices.keep(&told).await;
        }
        Ok(Pending { id: living.id, expires_at: living.expires_at })
    }

    /// Waits until it is settled, here or on another replica, at most until `until`.
    pub async fn wait(&self, id: ConfirmationId, until: Timestamp) -> Settled {
        let mut notices = self.current.settled();
        loop {
            let now = self.clock.now();
            // A store that is away for a moment must not end the wait.
            if let Ok(found) = self.store.get_confirmation(id).await {
                let status = found.map_or(ConfirmationStatus::Expired, |c| c.status_at(now));
                if let Some(settled) = settled(status) {
                    return settled;
                }
            }
            if now >= until {
                return Settled::Expired;
            }
            let told = async {
                while let Ok(about) = notices.recv().await {
                    if about == id {
                        return;
                    }
                }
                // Lagged: look now, and rely on the poll if the channel is gone.
                tokio::time::sleep(POLL / 10).await;
            };
            let _ = tokio::time::timeout(POLL, told).await;
        }
    }

    /// The call's own person answers the client's question.
    pub async fn settle(
        &self,
        caller: &Caller,
        id: ConfirmationId,
        approve: bool,
        via: Via,
    ) -> Result<Settled, Refused> {
        if caller.agent().is_some() {
            // A program's word is no human's, whoever it acts for.
            return Err(absent());
        }
        let (decided, confirmation) = self.answer(&caller.user, id, approve, via).await?;
        if via == Via::Elicitation {
            self.record(caller, &confirmation, approve);
        }
        match decided {
            Decided::Settled(settled) => Ok(settled),
            Decided::Waiting(others) => Err(Refused::new(
                Reason::ConfirmationRequired,
                format!("{} must agree too", names(&others)),
            )),
        }
    }

    /// Notes an answer of `user`, who must be one of those who were asked.
    pub(crate) async fn answer(
        &self,
        user: &User,
        id: ConfirmationId,
        approve: bool,
        via: Via,
    ) -> Result<(Decided, Confirmation), Refused> {
        let confirmation = self.store.get_confirmation(id).await.map_err(Refused::store)?;
        let Some(confirmation) = confirmation.filter(|found| concerns(user, found)) else {
            return Err(absent());
        };
        if via == Via::Elicitation && user.id != confirmation.user {
            return Err(absent());
        }
        let speaks_for = speaks_for(user, &confirmation, via);
        if speaks_for.is_empty() {
            let detail = format!("{} must decide this", names(&confirmation.approvers));
            return Err(Refused::new(Reason::RoleMissing, detail));
        }
        let decision = stored::Decision {
            id,
            decider: user.id,
            email: &user.email,
            speaks_for: &speaks_for,
            approve,
            now: self.clock.now(),
        };
        let settled = self.store.settle_confirmation(decision).await.map_err(Refused::store)?;
        Ok((decided(settled, approve)?, confirmation))
    }

    fn record(&self, caller: &Caller, confirmation: &Confirmation, approve: bool) {
        let now = self.clock.now();
        let mut subject = Subject {
            server_id: Some(confirmation.server),
            server_slug: Some(confirmation.server_slug.clone()),
            method: Some("elicitation".into()),
            resource_type: Some("confirmation"),
            resource_name: Some(confirmation.id.to_string()),
            policy_ids: confirmation.policies.iter().map(ToString::to_string).collect(),
            confirmation_id: Some(confirmation.id),
            ..Subject::default()
        };
        subject.identified(caller);
        self.trail.conclude(Event {
            detail: Some(format!("answered for call {}", confirmation.call)),
            ..Event::new(
                EventId(uuid7(now, &*self.random)),
                now,
                CallId(uuid7(now, &*self.random)),
                subject,
                action(approve),
                Outcome::Ok,
            )
        });
    }
}

/// The action type of an answer.
pub(crate) fn action(approve: bool) -> ActionType {
    if approve { ActionType::ConfirmationApproved } else { ActionType::ConfirmationDeclined }
}

/// Whether the person may know of it: their own call, or one that they may be asked about.
pub(crate) fn concerns(user: &User, confirmation: &Confirmation) -> bool {
    user.id == confirmation.user || !speaks_for(user, confirmation, Via::OutOfBand).is_empty()
}

/// For which of the approvers the person may answer. Nobody who makes a call answers for an approver
/// whom a rule names, and nobody else answers for the caller.
pub(crate) fn speaks_for(user: &User, confirmation: &Confirmation, via: Via) -> Vec<Approver> {
    let own = user.id == confirmation.user;
    let speaks = |approver: &&Approver| match approver {
        Approver::Caller => own,
        Approver::Group(group) => !own && via == Via::OutOfBand && user.groups.contains(group),
        Approver::User(email) => !own && via == Via::OutOfBand && user.email == *email,
    };
    if !user.active {
        return Vec::new();
    }
    confirmation.approvers.iter().filter(speaks).cloned().collect()
}

/// People as a text: `the caller, group:security`.
pub(crate) fn names(approvers: &[Approver]) -> String {
    let name = |approver: &Approver| match approver {
        Approver::Caller => "the person behind the call".to_owned(),
        Approver::Group(_) | Approver::User(_) => String::from(approver.clone()),
    };
    approvers.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such confirmation, or it is not yours to decide")
}

fn decided(settled: stored::Settled, approve: bool) -> Result<Decided, Refused> {
    match settled {
        stored::Settled::Agreed => Ok(Decided::Settled(Settled::Agreed)),
        stored::Settled::Declined => Ok(Decided::Settled(Settled::Declined)),
        stored::Settled::Missing(others) => Ok(Decided::Waiting(others)),
        stored::Settled::NotTheirs | stored::Settled::Absent => Err(absent()),
        // The same answer twice is the same answer; another one comes too late.
        stored::Settled::Over(ConfirmationStatus::Agreed) if approve => {
            Ok(Decided::Settled(Settled::Agreed))
        }
        stored::Settled::Over(ConfirmationStatus::Declined) => {
            Ok(Decided::Settled(Settled::Declined))
        }
        stored::Settled::Over(status) => Err(Refused::new(
            Reason::ConfirmationExpired,
            format!("it is over: {}", status.as_str()),
        )),
    }
}

fn settled(status: ConfirmationStatus) -> Option<Settled> {
    match status {
        ConfirmationStatus::Pending => None,
        ConfirmationStatus::Agreed => Some(Settled::Agreed),
        ConfirmationStatus::Declined => Some(Settled::Declined),
        ConfirmationStatus::Used | ConfirmationStatus::Expired => Some(Settled::Expired),
    }
}

/// Each part with its length, so that no two lists of parts hash alike.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
