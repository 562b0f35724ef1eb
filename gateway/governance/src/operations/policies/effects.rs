//! Who gains and who loses what by a draft: every active person and agent account, on every server that the
//! policy is about. Counted whole, shown in part.

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::caller::{PrincipalKind, User};
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use policies::{Class, Difference, Shift, Shifted, Thing};
use serde::Serialize;

use super::draft::Draft;
use crate::perform::Refused;

/// Rows that are shown.
const ROWS: usize = 50;
/// Things that are named in one cell of a row.
const NAMED: usize = 12;
/// Comparisons at most; a larger organisation is told of in part.
const MOST: usize = 1_000_000;

/// What a draft does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Effects {
    /// How many principals something changes for.
    pub(super) principals: usize,
    /// How often something becomes possible: a tool (or pattern) of a principal.
    pub(super) gained: usize,
    /// How often something becomes impossible.
    pub(super) lost: usize,
    /// How often people must agree from then on.
    pub(super) now_needs_confirmation: usize,
    /// How often nobody must agree any more.
    pub(super) no_longer_needs_confirmation: usize,
    /// How often arguments or circumstances decide whether anything changes.
    pub(super) depends: usize,
    /// The first of them.
    pub(super) rows: Vec<Row>,
    /// True when there are more rows than shown.
    pub(super) more_rows: bool,
    /// False when the organisation is too large to be compared whole.
    pub(super) complete: bool,
}

/// What changes for one principal on one server. Marked `(conditional)`: arguments or circumstances decide
/// about single calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) principal: String,
    pub(super) server: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) gained: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) lost: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) now_needs_confirmation: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) no_longer_needs_confirmation: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) depends: Vec<String>,
}

/// Compares the draft with what is.
pub(super) async fn of(draft: &Draft) -> Result<Effects, Refused> {
    let (snapshot, set, id) = (Arc::clone(&draft.snapshot), Arc::clone(&draft.set), draft.id);
    let comparing = tokio::task::spawn_blocking(move || {
        let difference = Difference { before: &snapshot.policies, after: &set, policy: id };
        let agents = snapshot.agents.iter().map(|agent| &agent.principal);
        let people = snapshot.users.iter().map(|user| &**user).chain(agents);
        let people: Vec<&User> = people.filter(|user| user.active).collect();
        compare(&difference, &people, &snapshot.servers, MOST)
    });
    comparing.await.map_err(|_| Refused::new(Reason::Internal, "comparing was interrupted"))
}

/// At most `most` comparisons.
pub(super) fn compare(
    difference: &Difference<'_>,
    people: &[&User],
    servers: &[Arc<Server>],
    most: usize,
) -> Effects {
    let servers: Vec<&Arc<Server>> =
        servers.iter().filter(|server| is_about(difference, server)).collect();
    let things: Vec<Vec<Thing>> = servers.iter().map(|s| difference.things(s)).collect();
    let mut effects = Effects { complete: true, ..Effects::default() };
    let mut known: HashMap<(usize, Class), Arc<Vec<(usize, Shifted)>>> = HashMap::new();
    let mut left = most;
    for user in people {
        let mut touched = false;
        for (place, (server, things)) in servers.iter().zip(&things).enumerate() {
            let class = difference.class(user, server);
            if class == Class::Untouched {
                continue;
            }
            let key = (place, class);
            let shifts = match known.get(&key) {
                Some(shifts) => Arc::clone(shifts),
                None if left < things.len() => {
                    effects.complete = false;
                    continue;
                }
                None => {
                    left -= things.len();
                    let shift = |(n, thing)| Some((n, difference.shift(user, server, thing)?));
                    let shifts = Arc::new(things.iter().enumerate().filter_map(shift).collect());
                    if key.1 != Class::Alone {
                        known.insert(key, Arc::clone(&shifts));
                    }
                    shifts
                }
            };
            touched |= !shifts.is_empty();
            effects.add(user, server, &shifts, things);
        }
        effects.principals += usize::from(touched);
    }
    effects
}

fn is_about(difference: &Difference<'_>, server: &Server) -> bool {
    [difference.before, difference.after].into_iter().any(|set| {
        let servers = set.servers_of(difference.policy);
        servers.is_none_or(|slugs| slugs.contains(&server.slug.as_str()))
    })
}

impl Effects {
    fn add(&mut self, user: &User, server: &Server, shifts: &[(usize, Shifted)], all: &[Thing]) {
        for (_, shifted) in shifts {
            *match shifted.shift {
                Shift::Gained => &mut self.gained,
                Shift::Lost => &mut self.lost,
                Shift::NowConfirmed => &mut self.now_needs_confirmation,
                Shift::NoLongerConfirmed => &mut self.no_longer_needs_confirmation,
                Shift::Conditions => &mut self.depends,
            } += 1;
        }
        if shifts.is_empty() {
            return;
        }
        if self.rows.len() >= ROWS {
            self.more_rows = true;
            return;
        }
        let cell = |shift| cell(shifts, all, shift);
        self.rows.push(Row {
            principal: match user.kind {
                PrincipalKind::Person => user.email.clone(),
                PrincipalKind::Agent => format!("agent:{}", user.name),
            },
            server: server.slug.to_string(),
            gained: cell(Shift::Gained),
            lost: cell(Shift::Lost),
            now_needs_confirmation: cell(Shift::NowConfirmed),
            no_longer_needs_confirmation: cell(Shift::NoLongerConfirmed),
            depends: cell(Shift::Conditions),
        });
    }
}

fn cell(shifts: &[(usize, Shifted)], all: &[Thing], shift: Shift) -> Vec<String> {
    let of_kind: Vec<_> = shifts.iter().filter(|(_, shifted)| shifted.shift == shift).collect();
    let names = of_kind.iter().take(NAMED).filter_map(|(place, shifted)| {
        let name = all.get(*place)?.shown();
        let marked = shifted.conditional && shift != Shift::Conditions;
        Some(if marked { format!("{name} (conditional)") } else { name })
    });
    let mut names: Vec<String> = names.collect();
    if of_kind.len() > NAMED {
        names.push(format!("... and {} more", of_kind.len() - NAMED));
    }
    names
}
