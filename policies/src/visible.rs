//! What a person may know to exist: targets that some policy allows them in some circumstances, and
//! servers on which there is such a target that is not always denied.

use gateway_core::caller::User;
use gateway_core::decision::{Circumstances, Target};
use gateway_core::server::Server;

use crate::check::Effect;
use crate::condition::{About, Side, View};
use crate::glob::WITNESS;
use crate::path::Arguments;
use crate::set::PolicySet;
use crate::slice::Slice;
use crate::statement::{Body, Statement, Structured, TargetKind};

impl PolicySet {
    /// Whether the person may do anything at all on the server, in some circumstances. False: the
    /// server must look as if it did not exist.
    pub fn may_enter(&self, user: &User, server: &Server) -> bool {
        TargetKind::ALL.into_iter().any(|kind| self.may_enter_for(user, server, kind))
    }

    fn may_enter_for(&self, user: &User, server: &Server, kind: TargetKind) -> bool {
        let slice = self.slices.get(&self.compiled, user, server, kind);
        let statements = || slice.statements.iter().map(|number| self.statement(*number));
        let permits = || statements().filter(|statement| statement.effect == Effect::Allow);
        if permits().next().is_none() {
            return false;
        }
        let is_open = |name: &str| self.is_open(user, &slice, server, kind.target(name));
        permits().flat_map(|permit| witnesses(permit, kind)).any(|name| is_open(&name))
            || kind == TargetKind::Tool && server.tools.iter().any(|tool| is_open(&tool.name))
    }

    /// True when the target could be allowed to this person with some arguments, in some
    /// circumstances, once people agree.
    pub(crate) fn is_open(
        &self,
        user: &User,
        slice: &Slice,
        server: &Server,
        target: Target<'_>,
    ) -> bool {
        let arguments = Arguments::new(None);
        let circumstances = nowhere();
        let view = View { server, target, arguments: &arguments, circumstances: &circumstances };
        let structured = |allow: bool| {
            slice.statements.iter().any(|number| {
                let statement = self.statement(*number);
                (statement.effect == Effect::Allow) == allow
                    && statement.effect.approver().is_none()
                    && self.may_hold(statement, &view)
            })
        };
        if structured(false) || !self.any_raw(&slice.loose_forbids, user, slice, &view).is_empty() {
            return false;
        }
        structured(true) || !self.any_raw(&slice.loose_permits, user, slice, &view).is_empty()
    }

    /// The permits that would allow the target with other arguments or in other circumstances.
    pub(crate) fn possible_permits(
        &self,
        user: &User,
        slice: &Slice,
        view: &View<'_>,
    ) -> Vec<usize> {
        let structured = slice.statements.iter().copied().filter(|number| {
            let statement = self.statement(*number);
            statement.effect == Effect::Allow && self.may_hold(statement, view)
        });
        let raw = self.any_raw(&slice.loose_permits, user, slice, view);
        let mut permits: Vec<usize> = structured.chain(raw).collect();
        permits.sort_unstable();
        permits
    }

    /// Of a structured permit: true when it could hold. Of a structured forbid: true when it always does.
    pub(crate) fn may_hold(&self, statement: &Statement, view: &View<'_>) -> bool {
        let Body::Structured(structured) = &statement.body else { return false };
        // An end is a circumstance: a permit may still hold, a forbid does not always.
        structured.covers(view.target)
            && (structured.until.is_none() || statement.effect == Effect::Allow)
            && structured.when.iter().all(|number| self.condition_may_hold(*number, view))
    }

    fn condition_may_hold(&self, number: usize, view: &View<'_>) -> bool {
        let held = &self.compiled.conditions[number];
        let open = match held.condition.about() {
            About::Circumstances => true,
            About::Arguments => TargetKind::of(view.target) != TargetKind::Resource,
            // Nothing has been read of the server yet.
            About::Definition => view.server.tools.is_empty(),
        };
        if open { held.side == Side::Allow } else { held.condition.holds(held.side, view) }
    }
}

/// Names that stand for all that a permit covers: if each of them is always denied, so is everything.
fn witnesses(permit: &Statement, kind: TargetKind) -> Vec<String> {
    match &permit.body {
        Body::Structured(Structured { patterns, .. }) => match &patterns[kind as usize] {
            Some(globs) => globs.iter().map(|glob| glob.witness()).collect(),
            None => vec![WITNESS.to_owned()],
        },
        Body::Raw(raw) => raw.names.iter().cloned().chain([WITNESS.to_owned()]).collect(),
    }
}

/// Circumstances that are not looked at.
pub(crate) fn nowhere() -> Circumstances {
    Circumstances {
        client: String::new(),
        ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
        now: gateway_core::Timestamp::UNIX_EPOCH,
    }
}
