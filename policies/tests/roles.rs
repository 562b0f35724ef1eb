//! The published role matrix is what the rules say, and nobody can make anybody mightier than themself.

use gateway_core::caller::Role;
use policies::{PolicySet, Reach};

#[test]
fn the_published_matrix_is_what_the_rules_say() {
    let published = include_str!("../roles.md");
    let head = include_str!("../src/roles_head.md");
    let table = PolicySet::compile(&[]).unwrap().role_table();
    assert_eq!(
        published,
        format!("{head}{table}"),
        "run: cargo run -q -p policies --example roles > policies/roles.md"
    );
}

#[test]
fn nobody_gives_more_than_they_have() {
    let set = PolicySet::compile(&[]).unwrap();
    for giver in Role::ALL {
        for given in Role::ALL.into_iter().filter(|given| set.may_give(&[giver], *given)) {
            for operation in set.operations() {
                let (given, own) = (set.reach(&[given], operation), set.reach(&[giver], operation));
                assert!(given <= own, "{giver:?} {operation}");
            }
        }
    }
    let gives = |roles: &[Role], given| set.may_give(roles, given);
    assert!(gives(&[Role::SuperAdmin], Role::SuperAdmin));
    assert!(gives(&[Role::ItAdmin], Role::Helpdesk));
    assert!(gives(&[Role::ItAdmin], Role::Developer));
    assert!(!gives(&[Role::ItAdmin], Role::SuperAdmin));
    assert!(!gives(&[Role::ItAdmin], Role::SecurityAdmin));
    assert!(!gives(&[Role::SecurityAdmin], Role::ItAdmin));
    let all_but_one: Vec<Role> = Role::ALL.into_iter().filter(|r| *r != Role::SuperAdmin).collect();
    assert!(!gives(&all_but_one, Role::SuperAdmin), "whatever else somebody is");
    assert_eq!(set.reach(&[Role::SuperAdmin], "decide_confirmation"), Reach::Own);
    assert_eq!(set.reach(&[Role::SuperAdmin], "no_such_operation"), Reach::Nothing);
}
