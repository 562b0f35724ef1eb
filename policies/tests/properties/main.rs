//! The compiled policies against the slow reference, over random policies, people, servers and calls.
//! Every round is fixed by its number, which a failure names.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod difference;
mod random;
mod reference;
mod world;

use std::thread;

use gateway_core::decision::{Question, Target, Verdict};
use gateway_core::json::Json;
use policies::PolicySet;
use serde_json::Value;

use random::Random;
use reference::{Answer, Reference};
use world::{Ask, World};

const THREADS: u64 = 2;

/// Runs `round` for numbers below `rounds`, on a few threads.
fn rounds(rounds: u64, round: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for first in 0..THREADS {
            let round = &round;
            scope.spawn(move || (first..rounds).step_by(THREADS as usize).for_each(round));
        }
    });
}

fn compiled(world: &World) -> PolicySet {
    PolicySet::compile(&world.sources()).unwrap_or_else(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", problems.join("\n"))
    })
}

fn decide(set: &PolicySet, world: &World, ask: &Ask) -> (Verdict, bool) {
    let text = ask.arguments.as_ref().map(Value::to_string);
    let arguments = text.as_ref().map(|text| Json::parse(text.as_bytes()).unwrap());
    let decided = set.decide(&Question {
        user: &world.users[ask.user],
        server: &world.servers[ask.server],
        target: ask.target(),
        arguments,
        circumstances: &ask.circumstances,
        confirmed: ask.confirmed,
    });
    (decided.verdict, decided.cacheable)
}

fn passes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow { .. } | Verdict::Confirm(_))
}

fn answer(verdict: &Verdict) -> Answer {
    match verdict.clone() {
        Verdict::Allow { policies } => Answer::Allow(policies),
        Verdict::Deny(denial) => Answer::Deny(denial.invisible, denial.policies),
        Verdict::Confirm(demand) => Answer::Confirm(demand.policies, demand.approvers),
    }
}

/// 100,000 verdicts, each the same as the reference's: who allows, who denies, who must agree, what
/// stays unseen. What passes is listed, and on a server that may be entered. What is called cacheable
/// does not change with arguments, circumstances or agreement.
#[test]
fn the_decision_is_right() {
    rounds(250, |number| {
        let random = &mut Random::new(number);
        let world = World::new(random);
        let set = compiled(&world);
        let reference = Reference::new(&world);
        for _ in 0..400 {
            let ask = world.ask(random);
            let (verdict, cacheable) = decide(&set, &world, &ask);
            let context = || format!("round {number}: {ask:?}\n{:#?}", world.specs);
            assert_eq!(answer(&verdict), reference.decide(&ask), "{}", context());
            if passes(&verdict) && random.once_in(4) {
                let (user, server) = (&world.users[ask.user], &world.servers[ask.server]);
                let listed = set.listed(user, server, ask.target(), &ask.circumstances);
                assert!(listed.listed, "{}", context());
                assert!(set.may_enter(user, server), "{}", context());
            }
            if cacheable && random.once_in(5) {
                let other = world.vary(&ask, random);
                assert_eq!(decide(&set, &world, &other).0, verdict, "{}", context());
            }
        }
    });
}

/// Where each policy has arguments of its own, there is one call that satisfies every allow and avoids
/// every deny: the target is listed if and only if that call passes.
#[test]
fn listed_if_and_only_if_callable() {
    rounds(120, |number| {
        let random = &mut Random::new(1_000_000 + number);
        let (world, best) = World::separable(random);
        let set = compiled(&world);
        for _ in 0..60 {
            let mut ask = world.ask(random);
            ask.confirmed = false;
            ask.arguments = match ask.target() {
                Target::Tool(_) | Target::Prompt(_) => Some(best.clone()),
                Target::Resource(_) => None,
            };
            let (verdict, _) = decide(&set, &world, &ask);
            let (user, server) = (&world.users[ask.user], &world.servers[ask.server]);
            let listed = set.listed(user, server, ask.target(), &ask.circumstances);
            let context = || format!("round {number}: {ask:?}\n{:#?}", world.specs);
            assert_eq!(listed.listed, passes(&verdict), "{}", context());
            if listed.cacheable {
                let other = world.vary(&ask, random);
                let again = set.listed(user, server, other.target(), &other.circumstances);
                assert_eq!(again.listed, listed.listed, "{}", context());
            }
        }
    });
}

/// One more deny or confirm rule never lets anything pass that did not, nor shows more.
#[test]
fn a_further_deny_never_widens() {
    rounds(60, |number| {
        let random = &mut Random::new(2_000_000 + number);
        let mut world = World::new(random);
        let before = compiled(&world);
        world.add_deny(random);
        let after = compiled(&world);
        for _ in 0..60 {
            let ask = world.ask(random);
            let (was, is) = (decide(&before, &world, &ask).0, decide(&after, &world, &ask).0);
            let context = || format!("round {number}: {ask:?}\n{:#?}", world.specs);
            assert!(passes(&was) || !passes(&is), "{}", context());
            let (user, server) = (&world.users[ask.user], &world.servers[ask.server]);
            let listed =
                |set: &PolicySet| set.listed(user, server, ask.target(), &ask.circumstances).listed;
            assert!(listed(&before) || !listed(&after), "{}", context());
            assert!(set_enters(&before, &world, &ask) || !set_enters(&after, &world, &ask));
        }
    });
}

fn set_enters(set: &PolicySet, world: &World, ask: &Ask) -> bool {
    set.may_enter(&world.users[ask.user], &world.servers[ask.server])
}

/// A server may be entered if and only if something on it could pass in some circumstances.
#[test]
fn a_server_is_entered_where_something_may_be_done() {
    rounds(150, |number| {
        let random = &mut Random::new(3_000_000 + number);
        let world = World::structured(random);
        let set = compiled(&world);
        let reference = Reference::new(&world);
        for (u, user) in world.users.iter().enumerate() {
            for (s, server) in world.servers.iter().enumerate() {
                let context = || format!("round {number}: {u} {s}\n{:#?}", world.specs);
                assert_eq!(set.may_enter(user, server), reference.may_enter(u, s), "{}", context());
            }
        }
    });
}
