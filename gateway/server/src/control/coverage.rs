//! Every operation that is not the command line's alone has every face, or a line in `exempt.txt`, which may
//! only shrink.

use std::collections::BTreeSet;

use gateway_governance::OPERATIONS;

use super::arguments;
use super::rest::routes::{Does, ROUTES};
use super::tools::table::TOOLS;

const EXEMPT: &str = include_str!("exempt.txt");
/// Lower it when a line goes; never raise it.
const EXEMPT_LINES: usize = 0;

fn missing() -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.on_faces) {
        let name = operation.name;
        let tool = TOOLS.iter().any(|entry| entry.operation == name);
        assert!(operation.on_tools || !tool, "{name}: a model would see a secret");
        if operation.on_tools && !tool {
            missing.insert(format!("{name} tool"));
        }
        if !ROUTES.iter().any(|route| route.does == Does::Operation(name)) {
            missing.insert(format!("{name} route"));
        }
    }
    missing
}

#[test]
fn every_operation_has_every_face_or_is_exempt() {
    let lines = EXEMPT.lines().map(str::trim);
    let exempt: BTreeSet<String> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    assert_eq!(missing(), exempt, "left: without a face; right: the lines of exempt.txt");
    assert_eq!(exempt.len(), EXEMPT_LINES, "exempt.txt may only shrink");
}

#[test]
fn every_face_has_an_operation_and_its_arguments() {
    let known: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    let tools = TOOLS.iter().map(|entry| entry.operation);
    let routes = ROUTES.iter().filter_map(|route| match route.does {
        Does::Operation(name) => Some(name),
        Does::Document(_) => None,
    });
    for name in tools.chain(routes) {
        assert!(known.contains(&name), "{name} is no operation");
        assert!(arguments::of(name).is_some(), "{name} has no arguments");
    }
}

#[test]
fn no_two_routes_share_an_address_and_no_operation_has_two_tools() {
    let addresses: BTreeSet<_> = ROUTES.iter().map(|route| (route.method, route.path)).collect();
    assert_eq!(addresses.len(), ROUTES.len());
    let tools: BTreeSet<_> = TOOLS.iter().map(|entry| entry.operation).collect();
    assert_eq!(tools.len(), TOOLS.len());
}

#[test]
fn what_a_tool_says_it_changes_is_what_the_operation_changes() {
    for entry in TOOLS {
        let operation = OPERATIONS.iter().find(|operation| operation.name == entry.operation);
        let changes = entry.effect == super::tools::table::Effect::Changes;
        assert_eq!(operation.map(|o| o.mutates), Some(changes), "{}", entry.operation);
        let asks = arguments::of(entry.operation)
            .is_some_and(|a| a.schema().pointer("/properties/confirm").is_some());
        assert_eq!(asks, changes, "{}: what changes something asks for confirm", entry.operation);
    }
}
