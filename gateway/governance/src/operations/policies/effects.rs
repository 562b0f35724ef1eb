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

/// What changes for a class of principals on a server, by the place of each thing.
type Shifts = Arc<Vec<(usize, Shifted)>>;

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
    let mut known: HashMap<(usize, Class), Shifts> = HashMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::ids::{PolicyId, ServerId};
    use gateway_core::server::Tool;
    use policies::{PolicySet, Source};
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn id(n: u128) -> PolicyId {
        PolicyId(Uuid::from_u128(n))
    }

    fn set(policies: &[(u128, Value)]) -> PolicySet {
        let source = |(n, spec): &(u128, Value)| Source {
            id: id(*n),
            spec: serde_json::from_value(spec.clone()).unwrap(),
        };
        PolicySet::compile(&policies.iter().map(source).collect::<Vec<_>>()).unwrap()
    }

    fn server(n: u128) -> Arc<Server> {
        let tool = |n| Tool {
            name: format!("tool_{n}"),
            definition: "{}".into(),
            hash: [0; 32],
            pin: [0; 32],
            annotations: vec![],
        };
        Arc::new(Server {
            tools: Arc::new((0..20).map(tool).collect()),
            ..crate::testing::server(ServerId(Uuid::from_u128(n)), &format!("s{n}"))
        })
    }

    fn people(count: u128) -> Vec<User> {
        let person = |n| User {
            groups: vec![format!("g{}", n % 3)],
            ..crate::testing::user(n, &format!("u{n:03}@example.com"))
        };
        (0..count).map(person).collect()
    }

    /// What is kept for a class and cut for the reader adds up to what each principal gains and loses.
    #[test]
    fn counts_are_those_of_one_by_one() {
        let allow = |group: &str, tools: &[&str]| {
            json!({"name": format!("{group} {tools:?}"), "effect": "allow", "principals": [group],
                   "server": "*", "tools": tools})
        };
        let base = [
            (1, allow("group:g0", &["tool_1*"])),
            (
                2,
                json!({"name": "u1", "cedar": "permit (principal == User::\"u001@example.com\", action, resource in Server::\"s2\");"}),
            ),
        ];
        let mut draft = base.to_vec();
        draft.push((
            3,
            json!({"name": "new", "effect": "confirm", "principals": ["everyone"], "server": "*"}),
        ));
        let mut other = base.to_vec();
        other.push((3, allow("everyone", &["*"])));
        let (people, servers) = (people(100), [server(1), server(2)]);
        let people: Vec<&User> = people.iter().collect();
        for (before, after) in
            [(&base[..], &draft[..]), (&base, &other), (&other, &draft), (&draft, &base)]
        {
            let (before, after) = (set(before), set(after));
            let difference = Difference { before: &before, after: &after, policy: id(3) };
            let mut counted = [0; 5];
            for user in &people {
                for server in &servers {
                    for thing in difference.things(server) {
                        if let Some(shifted) = difference.shift(user, server, &thing) {
                            counted[shifted.shift as usize] += 1;
                        }
                    }
                }
            }
            let effects = compare(&difference, &people, &servers, MOST);
            let told = [
                effects.gained,
                effects.lost,
                effects.now_needs_confirmation,
                effects.no_longer_needs_confirmation,
                effects.depends,
            ];
            assert_eq!(told, counted);
            assert!(counted.iter().sum::<usize>() > 100 && effects.complete);
            assert!(effects.rows.len() <= ROWS && effects.rows.len() > 20);
            let longest = effects.rows.iter().map(|row| row.gained.len().max(row.lost.len())).max();
            assert!(longest <= Some(NAMED + 1));
        }
    }

    #[test]
    fn what_is_too_large_is_told_in_part() {
        let (before, after) = (
            set(&[]),
            set(&[(3, json!({"name": "n", "cedar": "permit (principal, action, resource);"}))]),
        );
        let difference = Difference { before: &before, after: &after, policy: id(3) };
        let (people, servers) = (people(60), [server(1)]);
        let people: Vec<&User> = people.iter().collect();
        let whole = compare(&difference, &people, &servers, MOST);
        assert_eq!((whole.principals, whole.gained), (60, 60 * 22), "20 tools and two patterns");
        assert!(whole.complete && whole.more_rows && whole.rows.len() == ROWS);
        assert_eq!(whole.rows[0].gained.last().unwrap(), "... and 10 more");
        // Cedar text may look at each of them: nobody is compared for another.
        let part = compare(&difference, &people, &servers, 100);
        assert!(!part.complete && part.principals == 4, "{part:?}");
    }
}
