//! What is wrong with a policy is said: which policy, which field, what was expected there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use gateway_core::ids::PolicyId;
use policies::{PolicySet, PolicySpec, Source};
use serde_json::{Value, json};
use uuid::Uuid;

fn problems(specs: &[Value]) -> Vec<String> {
    let specs = specs.iter().enumerate().map(|(n, spec)| {
        let spec: PolicySpec = serde_json::from_value(spec.clone()).unwrap();
        Source { id: PolicyId(Uuid::from_u128(n as u128)), spec }
    });
    match PolicySet::compile(&specs.collect::<Vec<_>>()) {
        Ok(_) => vec![],
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// A good policy with some members replaced; null takes one away.
fn with(changes: Value) -> Value {
    let mut spec = json!({
        "name": "p", "effect": "allow", "principals": ["everyone"], "server": "s", "tools": ["t"],
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    spec
}

fn when(condition: Value) -> Value {
    with(json!({ "when": [condition] }))
}

fn arg(op: &str, value: Value) -> Value {
    when(json!({ "arg": "a", "op": op, "value": value }))
}

fn cedar(text: &str) -> Value {
    json!({ "name": "p", "cedar": text })
}

#[test]
fn fields_are_named() {
    let long_text = "x".repeat(5000);
    let cases: &[(Value, &str)] = &[
        (with(json!({"name": ""})), "name: expected 1 to 200 characters"),
        (with(json!({"name": "a\u{200b}"})), "name: expected 1 to 200 characters"),
        (
            with(json!({"name": "default: everyone reaches runlayer"})),
            "name: expected a name that no other",
        ),
        (with(json!({"message": " "})), "message: expected 1 to 2000 characters"),
        (with(json!({"message": "a\u{202e}"})), "message: expected 1 to 2000 characters"),
        (with(json!({"effect": "alow"})), "effect: expected allow, deny or confirm"),
        (with(json!({"effect": null})), "effect: expected allow, deny or confirm"),
        (with(json!({"effect": "Allow"})), "effect: expected allow, deny or confirm"),
        (with(json!({"until": "tomorrow"})), "until: expected an instant, RFC 3339"),
        (with(json!({"until": "2026-01-31"})), "until: expected an instant, RFC 3339"),
        (with(json!({"until": "2026-01-31T12:00:00"})), "until: expected an instant, RFC 3339"),
        (
            json!({"name": "p", "cedar": "permit (principal, action, resource);", "until": "2026-01-31T12:00:00Z"}),
            "until: expected nothing: cedar says it all",
        ),
        (with(json!({"by": "caller"})), "by: expected nothing: only effect = \"confirm\""),
        (with(json!({"effect": "confirm", "by": "boss"})), "by: expected caller, group:NAME"),
        (with(json!({"principals": null})), "principals: expected a list of user:EMAIL"),
        (with(json!({"principals": []})), "principals: expected a list of user:EMAIL"),
        (with(json!({"principals": ["everyone", "bob"]})), "principals[1]: expected user:EMAIL"),
        (with(json!({"principals": ["user:bob"]})), "principals[0]: expected user:EMAIL"),
        (
            with(json!({"principals": ["role:boss"]})),
            "principals[0]: expected role: and one of super_admin",
        ),
        (with(json!({"principals": ["group:"]})), "principals[0]: expected user:EMAIL"),
        (with(json!({"principals": ["attribute:"]})), "principals[0]: expected attribute:NAME="),
        (with(json!({"principals": ["attribute:a"]})), "principals[0]: expected attribute:NAME="),
        (with(json!({"principals": ["attribute:=b"]})), "principals[0]: expected attribute:NAME="),
        (with(json!({"principals": ["attribute:a="]})), "principals[0]: expected attribute:NAME="),
        (with(json!({"principals": ["attribute: = "]})), "principals[0]: expected attribute:NAME="),
        (
            with(json!({"principals": ["attribute:a=b\u{200b}"]})),
            "principals[0]: expected a name without the invisible character U+200B",
        ),
        (
            with(json!({"principals": ["group:a\u{feff}"]})),
            "principals[0]: expected a name without the invisible character U+FEFF",
        ),
        (with(json!({"server": null})), "server: expected a server's slug"),
        (with(json!({"server": "No"})), "server: expected a server's slug"),
        (with(json!({"server": "a*"})), "server: expected a server's slug"),
        (with(json!({"tools": []})), "tools: expected 1 to 1000 patterns"),
        (with(json!({"tools": ["a", ""]})), "tools[1]: expected a pattern of 1 to 1024 bytes"),
        (with(json!({"tools": [long_text]})), "tools[0]: expected a pattern of 1 to 1024 bytes"),
        (
            with(json!({"tools": ["a\u{200d}b"]})),
            "tools[0]: expected a pattern without the invisible character U+200D",
        ),
        (
            with(json!({"tools": ["a\u{202e}b"]})),
            "tools[0]: expected a pattern without the invisible character U+202E",
        ),
        (
            with(json!({"tools": ["a\nb"]})),
            "tools[0]: expected a pattern without the invisible character U+000A",
        ),
        (with(json!({"resources": ["\u{e0041}"]})), "resources[0]: expected a pattern without"),
        (with(json!({"prompts": ["\u{0}"]})), "prompts[0]: expected a pattern without"),
    ];
    check(cases);
}

#[test]
fn conditions_are_checked() {
    let cases: &[(Value, &str)] = &[
        (when(json!({})), "when[0]: expected exactly one of arg, client, ip, annotation and time"),
        (when(json!({"client": "a", "ip": "::1"})), "when[0]: expected exactly one of"),
        (
            when(json!({"client": "a", "op": "eq"})),
            "when[0].op: expected nothing: it goes with arg",
        ),
        (
            when(json!({"client": "a", "is": true})),
            "when[0].is: expected nothing: it goes with annotation",
        ),
        (
            when(json!({"arg": "a", "offset": "+01:00"})),
            "when[0].offset: expected nothing: it goes with time",
        ),
        (when(json!({"client": ""})), "when[0].client: expected a pattern of 1 to 1024 bytes"),
        (when(json!({"ip": "10.0.0.0/33"})), "when[0].ip: expected an address or a range"),
        (when(json!({"ip": "localhost"})), "when[0].ip: expected an address or a range"),
        (when(json!({"annotation": "a b"})), "when[0].annotation: expected an annotation's name"),
        (when(json!({"time": "9-17"})), "when[0].time: expected two different times of day"),
        (when(json!({"time": "09:00-09:00"})), "when[0].time: expected two different times of day"),
        (when(json!({"time": "09:00-24:01"})), "when[0].time: expected two different times of day"),
        (when(json!({"time": "24:00-09:00"})), "when[0].time: expected two different times of day"),
        (when(json!({"time": "+9:00-10:00"})), "when[0].time: expected two different times of day"),
        (
            when(json!({"time": "09:00-10:00", "offset": "CET"})),
            "when[0].offset: expected an offset from UTC",
        ),
        (
            when(json!({"time": "09:00-10:00", "offset": "+15:00"})),
            "when[0].offset: expected an offset",
        ),
        (when(json!({"arg": "a"})), "when[0].op: expected one of eq ne lt"),
        (when(json!({"arg": "", "op": "exists"})), "when[0].arg: expected a dotted path"),
        (when(json!({"arg": "a..b", "op": "exists"})), "when[0].arg: expected a dotted path"),
        (when(json!({"arg": ".a", "op": "exists"})), "when[0].arg: expected a dotted path"),
        (arg("equals", json!(1)), "when[0].op: expected one of eq ne lt le gt ge in not_in prefix"),
        (arg("eq", Value::Null), "when[0].value: expected a text of at most 4096 bytes, a number"),
        (arg("eq", json!([1])), "when[0].value: expected a text of at most 4096 bytes, a number"),
        (
            arg("eq", json!({"__entity": {}})),
            "when[0].value: expected a text of at most 4096 bytes",
        ),
        (arg("lt", json!("1")), "when[0].value: expected a number"),
        (arg("in", json!(1)), "when[0].value: expected a list of 1 to 1000"),
        (arg("in", json!([])), "when[0].value: expected a list of 1 to 1000"),
        (arg("in", json!([null])), "when[0].value: expected a list of 1 to 1000"),
        (arg("prefix", json!("")), "when[0].value: expected a text of 1 to 4096 bytes"),
        (arg("contains", json!("")), "when[0].value: expected a text that is not empty"),
        (arg("exists", json!(true)), "when[0].value: expected nothing"),
        (arg("matches", json!("(a")), "when[0].value: expected a regular expression ("),
        (arg("matches", json!("a".repeat(1001))), "when[0].value: expected a regular expression ("),
        (
            arg("matches", json!("(a{1000}){1000}")),
            "when[0].value: expected a regular expression (",
        ),
        (arg("matches", json!("(?=a)")), "when[0].value: expected a regular expression ("),
    ];
    check(cases);
}

#[test]
fn raw_cedar_is_checked() {
    let zero_width = "permit (principal, action, resource == Tool::\"s/a\u{200b}\");";
    let cases: &[(Value, &str)] = &[
        (cedar(""), "cedar: expected at least one policy"),
        (cedar("permit (principal, action"), "cedar: expected Cedar policies ("),
        (
            cedar("permit (principal == ?principal, action, resource);"),
            "cedar: expected at least one policy and no templates",
        ),
        (
            cedar("permit (principal, action == Action::\"call_tol\", resource);"),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar("permit (principal, action, resource) when { principal.age > 1 };"),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar(
                "permit (principal, action, resource) when { context.text.getTag(\"a\") == \"b\" };",
            ),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar("permit (principal, action, resource) when { false };"),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar("permit (principal in Server::\"s\", action, resource);"),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar("permit (principal, action == Action::\"list_policies\", resource);"),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar("permit (principal, action, resource) when { context.held.contains(\"x\") };"),
            "cedar: expected no context.held",
        ),
        (
            cedar("permit (principal, action, resource) when { context.confirmed };"),
            "cedar: expected @confirm(\"message\")",
        ),
        (
            cedar("@confirm(\"m\") permit (principal, action, resource);"),
            "cedar: expected @confirm only on forbid",
        ),
        (
            cedar("@confirm(\"m\") forbid (principal, action, resource);"),
            "cedar: expected @confirm only on forbid",
        ),
        (
            cedar("@by(\"caller\") forbid (principal, action, resource);"),
            "cedar: expected @by only together with @confirm",
        ),
        (
            cedar(
                "@confirm(\"m\") @by(\"me\") forbid (principal, action, resource) unless { context.confirmed };",
            ),
            "cedar: expected @by(\"caller\")",
        ),
        (
            cedar("permit (principal == User::\"Bob@example.com\", action, resource);"),
            "cedar: expected the e-mail address in lower case",
        ),
        (
            cedar("permit (principal, action, resource == Tool::\"get\");"),
            "cedar: expected \"SLUG/NAME\"",
        ),
        (
            cedar(
                "permit (principal, action, resource) when { context.text.hasTag(principal.name) };",
            ),
            "cedar: expected an argument path as a plain text",
        ),
        (
            cedar(
                "permit (principal, action, resource) when { principal.attributes.hasTag(context.client) };",
            ),
            "cedar: expected an attribute's name as a plain text",
        ),
        (
            cedar(
                "permit (principal, action, resource) when { principal.attributes.getTag(\"a\").contains(\"b\") };",
            ),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar(
                "permit (principal, action, resource) when { principal.attributes.hasTag(\"a\") && principal.attributes.getTag(\"a\") == \"b\" };",
            ),
            "cedar: expected what policies/schema.cedarschema allows",
        ),
        (
            cedar("permit (principal, action, resource) when { context == context };"),
            "cedar: expected one attribute of the context",
        ),
        (cedar(zero_width), "cedar: expected no invisible character (U+200B)"),
        (
            cedar("permit (principal, action, resource == Tool::\"s/a\\u{200b}\");"),
            "cedar: expected no invisible character (U+200B)",
        ),
        (
            cedar(
                "permit (principal, action, resource) when { resource.name like \"a\\u{202e}*\" };",
            ),
            "cedar: expected no invisible character (U+202E)",
        ),
        (cedar(&"// x\n".repeat(20_000)), "cedar: expected at most 65536 bytes"),
        (
            json!({"name": "p", "cedar": "permit (principal, action, resource);", "effect": "allow"}),
            "effect: expected nothing: cedar says it all",
        ),
        (
            json!({"name": "p", "cedar": "permit (principal, action, resource);", "server": "s"}),
            "server: expected nothing: cedar says it all",
        ),
    ];
    check(cases);
}

fn check(cases: &[(Value, &str)]) {
    for (spec, expected) in cases {
        let found = problems(std::slice::from_ref(spec));
        let name = spec["name"].as_str().unwrap();
        let expected = format!("policy \"{name}\": {expected}");
        assert!(found.iter().any(|problem| problem.starts_with(&expected)), "{spec}\n{found:#?}");
    }
}

#[test]
fn every_problem_is_said_at_once_and_nothing_good_is_refused() {
    let mut bad = with(json!({"effect": "x", "server": "-", "tools": [""], "when": [{"ip": "x"}]}));
    assert_eq!(problems(&[bad.clone()]).len(), 4);
    bad["name"] = json!("q");
    assert_eq!(problems(&[with(json!({})), bad, with(json!({}))]).len(), 5);
    let good = [
        with(json!({})),
        with(json!({"name": "日本語 policy", "tools": ["検索_*", "q\"\\*"], "message": "a\nb"})),
        with(json!({"name": "b", "effect": "confirm", "by": "user:Eve@example.com"})),
        with(
            json!({"name": "c", "server": "*", "tools": null, "resources": ["file:///*"], "prompts": ["*"]}),
        ),
        json!({"name": "d", "message": "m", "cedar": "permit (principal, action, resource);"}),
    ];
    assert_eq!(problems(&good), Vec::<String>::new());
}

#[test]
fn unknown_fields_are_refused_while_reading() {
    for (spec, expected) in [
        (json!({"name": "p", "tool": ["t"]}), "unknown field `tool`"),
        (json!({"name": "p", "when": [{"argument": "a"}]}), "unknown field `argument`"),
        (json!({"effect": "allow"}), "missing field `name`"),
    ] {
        let error = serde_json::from_value::<PolicySpec>(spec).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// The text that people are shown.
#[test]
fn cedar_text_is_readable() {
    let spec = with(json!({
        "name": "small \"searches\"", "principals": ["group:eng", "user:Bob@example.com"],
        "tools": ["search_*", "find"], "when": [{"arg": "a.limit", "op": "le", "value": 100}],
    }));
    let id = PolicyId(Uuid::from_u128(7));
    let spec: PolicySpec = serde_json::from_value(spec).unwrap();
    let set = PolicySet::compile(&[Source { id, spec }]).unwrap();
    let expected = r#"@name("small \"searches\"")
permit (
  principal,
  action == Action::"call_tool",
  resource in Server::"s"
)
when { principal == User::"bob@example.com" || principal in Group::"eng" }
when { resource.name like "search_*" || resource.name == "find" }
when { context.held.contains("arg \"a.limit\" le 100") };"#;
    assert_eq!(set.cedar(id).unwrap(), expected);
    assert_eq!(set.cedar(PolicyId(Uuid::nil())), None);
}
