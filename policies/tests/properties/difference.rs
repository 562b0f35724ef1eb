//! What is said of a change against what it does to single calls.

use policies::{Class, Difference, PolicySet, Shift, Shifted, Thing};

use crate::random::Random;
use crate::reference::{Answer, Reference};
use crate::world::{Ask, Kind, NAMES, World};
use crate::{compiled, rounds};

const CALLS: usize = 12;

/// A verdict without its grounds: 0 deny, 1 confirm, 2 allow.
fn verdict(reference: &Reference<'_>, ask: &Ask) -> u8 {
    match reference.decide(ask) {
        Answer::Deny(..) => 0,
        Answer::Confirm(..) => 1,
        Answer::Allow(_) => 2,
    }
}

/// The same people and servers with one policy created, removed or replaced.
fn worlds(number: u64, random: &mut Random) -> (World, World) {
    let seed = 4_000_000 + number;
    let (mut before, mut after) =
        (World::new(&mut Random::new(seed)), World::new(&mut Random::new(seed)));
    let place = before.specs.len();
    match number % 3 {
        0 => after.add(random),
        1 => before.add(random),
        _ => {
            before.add(random);
            after.add(random);
            after.specs[place].name.clone_from(&before.specs[place].name);
        }
    }
    (before, after)
}

fn expected(was: u8, is: u8) -> Option<Shift> {
    match (was, is) {
        (0, 1 | 2) => Some(Shift::Gained),
        (1 | 2, 0) => Some(Shift::Lost),
        (2, 1) => Some(Shift::NowConfirmed),
        (1, 2) => Some(Shift::NoLongerConfirmed),
        _ => None,
    }
}

/// Every shift is the one that the slow reference finds; no call changes of whom nothing is said; and what
/// is called unconditional is so for every call.
#[test]
fn shifts_are_what_happens_to_calls() {
    let told = std::sync::Mutex::new(std::collections::HashMap::<Option<Shift>, u32>::new());
    rounds(240, |number| {
        let random = &mut Random::new(5_000_000 + number);
        let (before, after) = worlds(number, random);
        let sets = [compiled(&before), compiled(&after)];
        let policy = World::id(before.specs.len().max(after.specs.len()) - 1);
        let difference = Difference { before: &sets[0], after: &sets[1], policy };
        let references = [Reference::new(&before), Reference::new(&after)];
        for (u, user) in before.users.iter().enumerate() {
            for (s, server) in before.servers.iter().enumerate() {
                for name in NAMES {
                    let shifted = difference.shift(user, server, &Thing::tool(name));
                    let asks = calls(&before, (u, s, name), random);
                    let context = || {
                        let (was, is) = (&before.specs, &after.specs);
                        format!("round {number} user {u} server {s} {name}\n{was:#?}\n{is:#?}")
                    };
                    check(shifted, &references, &asks, &context);
                    if difference.class(user, server) == Class::Untouched {
                        assert_eq!(shifted, None, "{}", context());
                    }
                    *told.lock().unwrap().entry(shifted.map(|s| s.shift)).or_default() += 1;
                }
            }
        }
        classes_share_shifts(&difference, &before, number);
    });
    let told = told.into_inner().unwrap();
    assert!(told.len() == 6 && told.values().all(|times| *times > 50), "{told:?}");
}

fn calls(
    world: &World,
    (user, server, name): (usize, usize, &str),
    random: &mut Random,
) -> Vec<Ask> {
    let bare = Ask::bare(user, server, Kind::Tool, name);
    let mut asks = vec![bare.clone()];
    asks.extend((0..CALLS).map(|_| Ask { confirmed: false, ..world.vary(&bare, random) }));
    asks
}

fn check(
    shifted: Option<Shifted>,
    [before, after]: &[Reference<'_>; 2],
    asks: &[Ask],
    context: &dyn Fn() -> String,
) {
    let (was, is) = (before.level(&asks[0]), after.level(&asks[0]));
    let by_level = expected(was, is);
    match shifted {
        Some(Shifted { shift: Shift::Conditions, conditional }) => {
            assert!(conditional && by_level.is_none() && was > 0, "{}", context());
        }
        shifted => assert_eq!(shifted.map(|s| s.shift), by_level, "{}", context()),
    }
    for ask in asks {
        let verdicts = [verdict(before, ask), verdict(after, ask)];
        assert!(verdicts[0] <= was && verdicts[1] <= is, "{ask:?} {}", context());
        let Some(shifted) = shifted else {
            assert_eq!(verdicts[0], verdicts[1], "{ask:?} {}", context());
            continue;
        };
        if !shifted.conditional {
            let known = match shifted.shift {
                Shift::Gained => verdicts[1] == is,
                Shift::Lost => verdicts[0] == was,
                Shift::NowConfirmed | Shift::NoLongerConfirmed | Shift::Conditions => {
                    verdicts == [was, is]
                }
            };
            assert!(known, "{ask:?} {}", context());
        }
    }
}

/// Who is of one class has the same shifts, and everything that the policy names is there to be compared.
fn classes_share_shifts(difference: &Difference<'_>, world: &World, number: u64) {
    for server in &world.servers {
        let things = difference.things(server);
        for tool in server.tools.iter() {
            assert!(things.contains(&Thing::tool(&tool.name)));
        }
        let mut seen: Vec<(Class, Vec<Option<Shifted>>)> = vec![];
        for user in &world.users {
            let class = difference.class(user, server);
            let shifts: Vec<_> =
                things.iter().map(|thing| difference.shift(user, server, thing)).collect();
            if class == Class::Alone {
                continue;
            }
            match seen.iter().find(|(known, _)| *known == class) {
                Some((_, known)) => assert_eq!(*known, shifts, "round {number}"),
                None => seen.push((class, shifts)),
            }
        }
    }
}

/// Resources and prompts are told by the patterns that the policy names.
#[test]
fn patterns_stand_for_what_is_not_known() {
    let spec = |toml: &str| -> policies::PolicySpec { toml::from_str(toml).unwrap() };
    let written = spec(
        r#"name = "p"
           effect = "allow"
           principals = ["everyone"]
           server = "s0"
           resources = ["doc://*"]
           prompts = ["triage"]"#,
    );
    let world = World::new(&mut Random::new(1));
    let source = policies::Source { id: World::id(90), spec: written };
    let (before, after) =
        (PolicySet::compile(&[]).unwrap(), PolicySet::compile(&[source]).unwrap());
    let difference = Difference { before: &before, after: &after, policy: World::id(90) };
    let [here, elsewhere] = [&world.servers[0], &world.servers[1]];
    let shown = |server| -> Vec<String> {
        let things = difference.things(server);
        let shifts = things.iter().filter(|thing| {
            let shifted = difference.shift(&world.users[0], server, thing);
            shifted == Some(Shifted { shift: Shift::Gained, conditional: false })
        });
        shifts.map(Thing::shown).collect()
    };
    assert_eq!(shown(here), ["resource:doc://*", "prompt:triage"]);
    assert_eq!(shown(elsewhere), [""; 0]);
    assert_eq!(after.servers_of(World::id(90)), Some(vec!["s0"]));
    assert_eq!(after.servers_of(policies::RUNLAYER_POLICY), Some(vec!["runlayer"]));
}
