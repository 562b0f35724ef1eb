//! Reading what provisioning systems send.

use serde_json::{Value, json};

use super::patch::{Op, steps};
use super::read::{Query, email, truth};

fn read(pairs: &[(&'static str, &'static str)]) -> Result<Query, Option<&'static str>> {
    Query::read(pairs.iter().copied()).map_err(|error| error.kind)
}

#[test]
fn filters_are_one_comparison() {
    for good in [
        "userName eq \"a@example.com\"",
        "username EQ \"a@example.com\"",
        "urn:ietf:params:scim:schemas:core:2.0:User:userName eq \"a b\"",
        "externalId eq \"00u1\"",
        "displayName eq \"a \\\"b\\\"\"",
        "id eq \"x\"",
    ] {
        assert!(read(&[("filter", good)]).is_ok(), "{good}");
    }
    for bad in [
        "",
        "userName",
        "userName eq",
        "userName eq a@example.com",
        "userName sw \"a\"",
        "userName ne \"a\"",
        "userName eq \"a\" or id eq \"b\"",
        "not (userName eq \"a\")",
        "password eq \"a\"",
        "emails[type eq \"work\"]",
        "userName eq 1",
        "userName eq null",
        "userName eq \"a",
    ] {
        assert_eq!(read(&[("filter", bad)]), Err(Some("invalidFilter")), "{bad}");
    }
}

#[test]
fn pages_are_kept_within_bounds() {
    let page = |start, count| {
        let query = read(&[("startIndex", start), ("count", count)]).unwrap();
        (query.start_index, query.count)
    };
    assert_eq!(page("1", "10"), (1, 10));
    assert_eq!(page("0", "0"), (1, 0));
    assert_eq!(page("-5", "-1"), (1, 0));
    assert_eq!(page("99999999999", "99999999999"), (u32::MAX, 200));
    for bad in ["", "x", "1.5", "1e3"] {
        assert_eq!(read(&[("count", bad)]), Err(Some("invalidValue")), "{bad}");
    }
    assert_eq!(read(&[("unknown", "x")]), Ok(Query::default()));
}

#[test]
fn booleans_come_as_text_too_and_addresses_must_be_some() {
    for (value, expected) in [
        (json!(true), Some(true)),
        (json!("False"), Some(false)),
        (json!("TRUE"), Some(true)),
        (json!("yes"), None),
        (json!(1), None),
        (json!(0), None),
        (json!(""), None),
        (json!(null), None),
        (json!([true]), None),
        (json!({"value": true}), None),
    ] {
        assert_eq!(truth("active", &value).ok(), expected, "{value}");
    }
    assert_eq!(email(&json!(" Bob@Example.com ")).unwrap(), "bob@example.com");
    for bad in [
        json!("bob"),
        json!("@example.com"),
        json!("bob@"),
        json!("a@b@c"),
        json!("a b@example.com"),
        json!("bob@example.com\u{200b}"),
        json!("<bob@example.com>"),
        json!("a,b@example.com"),
        json!("\u{0}@example.com"),
        json!(7),
        json!(null),
        json!("x".repeat(300) + "@example.com"),
    ] {
        assert!(email(&bad).is_err(), "{bad}");
    }
}

/// The operation, the attribute, and which of its values.
type Read = (Op, String, Option<String>);

fn patch(operations: Value) -> Result<Vec<Read>, Option<&'static str>> {
    let body = json!({"schemas": ["x"], "Operations": operations});
    let steps = steps(body.as_object().unwrap()).map_err(|error| error.kind)?;
    Ok(steps.into_iter().map(|step| (step.op, step.attribute, step.chosen)).collect())
}

#[test]
fn operations_are_read_as_identity_providers_write_them() {
    let one = |op, attribute: &str| Ok(vec![(op, attribute.to_owned(), None)]);
    // Entra ID: capitals, text for booleans, dotted names in a value.
    assert_eq!(
        patch(json!([{"op": "Replace", "path": "active", "value": "False"}])),
        one(Op::Replace, "active")
    );
    assert_eq!(
        patch(json!([{"op": "Add", "value": {"name.givenName": "A"}}])),
        one(Op::Add, "name.givenname")
    );
    assert_eq!(
        patch(json!([{"op": "Add", "path": "emails[type eq \"work\"].value", "value": "a@b.c"}])),
        one(Op::Add, "emails.value")
    );
    assert_eq!(
        patch(json!([{"op": "Add", "value": {
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "x"}}])),
        Ok(vec![(
            Op::Add,
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:department".into(),
            None
        )])
    );
    // Okta: an object without a path; members by a filter.
    assert_eq!(
        patch(json!([{"op": "replace", "value": {"active": false}}])),
        one(Op::Replace, "active")
    );
    let member = r#"members[value eq "0197f000-0000-7000-8000-000000000001"]"#;
    let id = Some("0197f000-0000-7000-8000-000000000001".to_owned());
    assert_eq!(
        patch(json!([{"op": "remove", "path": member}])),
        Ok(vec![(Op::Remove, "members".into(), id)])
    );
    for (bad, kind) in [
        (json!([]), "invalidSyntax"),
        (json!([7]), "invalidSyntax"),
        (json!("x"), "invalidSyntax"),
        (json!([{"op": "move", "path": "active"}]), "invalidSyntax"),
        (json!([{"path": "active", "value": true}]), "invalidSyntax"),
        (json!([{"op": "remove"}]), "noTarget"),
        (json!([{"op": "add"}]), "invalidValue"),
        (json!([{"op": "add", "value": [1]}]), "invalidValue"),
        (json!([{"op": "add", "path": "", "value": 1}]), "invalidPath"),
        (json!([{"op": "add", "path": 7, "value": 1}]), "invalidPath"),
        (json!([{"op": "add", "path": "members[", "value": 1}]), "invalidPath"),
        (json!([{"op": "add", "path": "members[value]", "value": 1}]), "invalidPath"),
        (json!([{"op": "remove", "path": "members[value ne \"x\"]"}]), "invalidPath"),
        (json!([{"op": "remove", "path": "members[display eq \"x\"]"}]), "invalidPath"),
        (json!([{"op": "remove", "path": "members[value eq \"x\"].value"}]), "invalidPath"),
        (json!([{"op": "add", "path": "a b", "value": 1}]), "invalidPath"),
    ] {
        assert_eq!(patch(bad.clone()), Err(Some(kind)), "{bad}");
    }
}
