//! Policies as people write them: what compiles can be shown, kept and asked, and no policy but an allowing one allows.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use gateway_core::decision::{Circumstances, Question, Target as Wanted, Verdict};
use gateway_core::ids::{PolicyId, ServerId};
use gateway_core::json::Json;
use gateway_core::server::Server;
use policies::{PolicySet, PolicySpec, Source};
use uuid::Uuid;

use super::Target;
use super::session::{at, person};

pub(super) const TARGET: Target = Target {
    name: "policy",
    run,
    inputs: 1_500,
    words: &[
        b"name = ",
        b"effect = \"allow\"",
        b"effect = \"deny\"",
        b"effect = \"confirm\"",
        b"principals = [\"everyone\"]",
        b"server = \"*\"",
        b"tools = [\"*\"]",
        b"when = [{ arg = \"n\", op = \"le\", value = 1 }]",
        b"op = \"matches\"",
        b"value = ",
        b"ip = \"10.0.0.0/8\"",
        b"time = \"09:00-17:00\"",
        b"until = \"2030-01-01T00:00:00Z\"",
        b"cedar = '''",
        b"'''",
        b"permit (principal, action, resource);",
        b"forbid (principal, action, resource)",
        b"when {",
        b"unless {",
        b"context.confirmed",
        b"context.arguments",
        b"@confirm(\"x\")",
        b"};",
        b"\"",
        b"\n",
        b"[",
        b"]",
        b"**",
        b"(",
        b"1e400",
        b"\\u0000",
    ],
};

static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::named(ServerId(Uuid::from_u128(1)), "tickets".parse().unwrap()));

/// One `[[policies]]` table in TOML.
fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(spec) = toml::from_str::<PolicySpec>(text) else { return };
    let id = PolicyId(Uuid::from_u128(9));
    let source = Source { id, spec: spec.clone() };
    let set = match PolicySet::compile(&[source]) {
        Ok(set) => set,
        Err(problems) => {
            assert!(
                problems.iter().all(|problem| !problem.expected.is_empty()) && !problems.is_empty()
            );
            return;
        }
    };
    assert!(set.cedar(id).is_some_and(|cedar| !cedar.is_empty()));
    // It is kept as JSON, and means the same when it is read again.
    let kept = serde_json::to_string(&spec).unwrap();
    let again: PolicySpec = serde_json::from_str(&kept).unwrap();
    let again = PolicySet::compile(&[Source { id, spec: again }]).unwrap();
    assert_eq!(set.cedar(id), again.cedar(id));

    let (user, circumstances) = (
        person(2),
        Circumstances { client: "x".into(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST), now: at(0) },
    );
    for arguments in [r#"{"n":1,"to":"a"}"#, "{}"] {
        for confirmed in [false, true] {
            let question = Question {
                user: &user,
                server: &SERVER,
                target: Wanted::Tool("read"),
                arguments: Some(Json::checked_before(arguments)),
                circumstances: &circumstances,
                confirmed,
            };
            let verdict = set.decide(&question).verdict;
            assert_eq!(verdict, again.decide(&question).verdict);
            let allowed = matches!(verdict, Verdict::Allow { .. });
            let listed = set.listed(&user, &SERVER, Wanted::Tool("read"), &circumstances).listed;
            assert!(!allowed || listed, "callable, so listed: {text}");
            let allows = spec.cedar.is_some() || spec.effect.as_deref() == Some("allow");
            assert!(!allowed || allows, "what does not allow has allowed: {text}");
            set.explain(&question);
        }
    }
}
