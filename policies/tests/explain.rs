//! What people are told about a verdict.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use gateway_core::Timestamp;
use gateway_core::caller::{PrincipalKind, User};
use gateway_core::decision::{Circumstances, Question, Target};
use gateway_core::ids::{PolicyId, ServerId, UserId};
use gateway_core::json::Json;
use gateway_core::server::Server;
use policies::{Explanation, PolicySet, PolicySpec, Source};
use serde_json::json;
use uuid::Uuid;

fn explain(tool: &str, arguments: &str) -> Explanation {
    let specs = json!([
        {"name": "searches", "effect": "allow", "principals": ["everyone"], "server": "s",
         "tools": ["search"], "when": [{"arg": "limit", "op": "le", "value": 10}],
         "message": "At most ten rows."},
        {"name": "payments", "effect": "allow", "principals": ["everyone"], "server": "s", "tools": ["pay"]},
        {"name": "ask first", "effect": "confirm", "by": "group:finance", "principals": ["everyone"],
         "server": "*", "tools": ["pay"], "message": "Money moves."},
        {"name": "no refunds", "cedar": "forbid (principal, action == Action::\"call_tool\", resource) \
          when { context.truth.hasTag(\"refund\") && context.truth.getTag(\"refund\") };"},
        {"name": "not mine", "effect": "allow", "principals": ["group:others"], "server": "s"},
    ]);
    let specs: Vec<PolicySpec> = serde_json::from_value(specs).unwrap();
    let source = |(n, spec)| Source { id: PolicyId(Uuid::from_u128(n as u128 + 1)), spec };
    let sources: Vec<Source> = specs.into_iter().enumerate().map(source).collect();
    let set = PolicySet::compile(&sources).unwrap();
    let user = User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::nil()),
        email: "bob@example.com".into(),
        name: "Bob".into(),
        roles: vec![],
        groups: vec![],
        attributes: Default::default(),
        active: true,
    };
    let server = Server::named(ServerId(Uuid::nil()), "s".parse().unwrap());
    let circumstances = Circumstances {
        client: String::new(),
        ip: [127, 0, 0, 1].into(),
        now: Timestamp::UNIX_EPOCH,
    };
    set.explain(&Question {
        user: &user,
        server: &server,
        target: Target::Tool(tool),
        arguments: Some(Json::parse(arguments.as_bytes()).unwrap()),
        circumstances: &circumstances,
        confirmed: false,
    })
}

#[test]
fn a_verdict_is_explained() {
    let cases = [
        ("search", r#"{"limit": 3}"#, "allow", r#"Allowed by "searches"; nothing denies it."#),
        (
            "search",
            r#"{"limit": 11}"#,
            "deny",
            r#"Conditions of "searches" do not hold, and nothing else allows it."#,
        ),
        ("search", r#"{"limit": 3, "refund": true}"#, "deny", r#"Denied by "no refunds"."#),
        ("pay", "{}", "confirm", r#"Allowed once people agree, as "ask first" asks."#),
        (
            "drop",
            "{}",
            "deny",
            "No policy allows this tool to this person: it looks as if it did not exist.",
        ),
        (
            "pa\u{200b}y",
            "{}",
            "deny",
            "No policy allows this tool to this person: it looks as if it did not exist.",
        ),
    ];
    for (tool, arguments, verdict, reason) in cases {
        let explanation = explain(tool, arguments);
        assert_eq!((explanation.verdict, explanation.reason.as_str()), (verdict, reason));
    }
}

#[test]
fn every_policy_about_the_person_and_the_server_says_its_part() {
    let explanation = explain("search", r#"{"limit": "3"}"#);
    assert_eq!(explanation.message.as_deref(), Some("At most ten rows."));
    let parts = explanation.policies.iter().map(|policy| {
        format!(
            "{} {} {} {}: {}",
            policy.name, policy.effect, policy.deciding, policy.holds, policy.why
        )
    });
    let expected = [
        "searches allow true false: does not hold: arg \"limit\" le 10",
        "payments allow false false: is not about this tool",
        "ask first confirm false false: is not about this tool",
        "no refunds deny false false: its Cedar text is not satisfied",
    ];
    assert_eq!(parts.collect::<Vec<_>>(), expected);
    let demand = explain("pay", "{}");
    assert_eq!(demand.approvers, ["group:finance".to_owned().try_into().unwrap()]);
    assert_eq!(demand.message.as_deref(), Some("Money moves."));
}
