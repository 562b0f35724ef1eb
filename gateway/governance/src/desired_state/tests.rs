//! Files that are wrong: each error names file, line and key, and all come at once.

use gateway_core::ids::{PolicyId, ServerId, UserId};
use gateway_core::server::{Endpoint, Server};
use gateway_store::catalogue::Catalogue;
use gateway_store::policy::StoredPolicy;
use uuid::Uuid;

use super::{ApplyError, check, read};

fn refused(text: &str) -> String {
    match read("STATE.toml", text) {
        Ok(_) => panic!("was accepted: {text}"),
        Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
    }
}

#[test]
fn every_flaw_is_refused_with_file_line_and_key() {
    let cases = [
        (
            "[[users]]\nemail = \"a\"",
            "STATE.toml:2: users[0].email: expected an e-mail address, found \"a\"",
        ),
        ("[[users]]\nname = \"A\"", "STATE.toml:1: users[0]: missing field `email`"),
        (
            "[[users]]\nemail = \"a@b\"\nrole = \"x\"",
            "STATE.toml:3: users[0].role: unknown key; did you mean \"roles\"?",
        ),
        (
            "[[users]]\nemail = \"a@b\"\nroles = [\n \"developer\",\n \"admin\"]",
            "STATE.toml:5: users[0].roles[1]: expected one of super_admin,",
        ),
        (
            "[[users]]\nemail = \"a@b\"\nroles = \"user\"",
            "STATE.toml:3: users[0].roles: invalid type: string",
        ),
        (
            "[[users]]\nemail = \"a@b\"\n[[users]]\nemail = \"A@B\"",
            "STATE.toml:4: users[1].email: \"a@b\" is there already",
        ),
        (
            "[[users]]\nemail = \"a@b\"\nactive = 1",
            "STATE.toml:3: users[0].active: invalid type: integer",
        ),
        ("[[user]]\nemail = \"a@b\"", "STATE.toml:1: user: unknown key; did you mean \"users\"?"),
        ("[users]\nemail = \"a@b\"", "STATE.toml:1: users: expected [[users]]"),
        ("[[groups]]\nname = \"\"", "STATE.toml:2: groups[0].name: expected a name"),
        ("scanners = 1", "STATE.toml:1: scanners: expected [scanners]"),
        ("[[scanners]]\nlimit = 1", "STATE.toml:1: scanners: expected [scanners]"),
        (
            "[scanners]\nlimits = 1",
            "STATE.toml:2: scanners.limits: unknown key; did you mean \"limit\"?",
        ),
        ("[scanners]\n\nlimit = 1", "STATE.toml:3: scanners.limit: expected 1024 to 8388608 bytes"),
        (
            "[scanners]\nmodes = { tool_call = { secrets = \"redact\" } }",
            "STATE.toml:2: scanners.modes.tool_call.secrets: unknown variant `redact`, expected one of `off`",
        ),
        (
            "[scanners.modes]\ntool_call = { secret = \"off\" }",
            "STATE.toml:2: scanners.modes.tool_call.secret: unknown variant `secret`",
        ),
        (
            "[[scanners.patterns]]\nname = \"\"\nclass = \"secrets\"\npattern = \"x\"",
            "STATE.toml:2: scanners.patterns[0].name: expected 1 to 64 of a-z",
        ),
        (
            "[[scanners.patterns]]\nname = \"a\"\nclass = \"secrets\"\npattern = \"(\"",
            "STATE.toml:4: scanners.patterns[0].pattern: expected regex syntax: unclosed group",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nscanners = { limit = 1 }",
            "STATE.toml:4: servers[0].scanners.limit: expected 1024 to 8388608 bytes",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\n[servers.scanners]\nexternal = \"yes\"",
            "STATE.toml:5: servers[0].scanners.external: unknown variant `yes`",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nscanners = { patterns = [] }",
            "STATE.toml:4: servers[0].scanners.patterns: expected none",
        ),
        ("[[groups]]\nname = \" a\"", "groups[0].name: expected no white space"),
        ("[[groups]]\nname = \"a\u{200b}b\"", "groups[0].name: expected no control or invisible"),
        (
            "[[groups]]\nname = \"a\"\n[[groups]]\nname = \"a\"",
            "STATE.toml:4: groups[1].name: \"a\" is there already",
        ),
        (
            "[[servers]]\nslug = \"Tickets\"\nurl = \"http://x/\"",
            "STATE.toml:2: servers[0].slug: \"Tickets\" is not a slug",
        ),
        ("[[servers]]\nslug = \"t\"", "STATE.toml:1: servers[0]: missing key \"url\""),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"ftp://x/\"",
            "STATE.toml:3: servers[0].url: expected http://",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://u:p@x/\"",
            "servers[0].url: expected no credentials",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nstatus = \"on\"",
            "STATE.toml:4: servers[0].status: expected one of active,",
        ),
        (
            "[[servers]]\nslug = \"d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c0b5\"\nurl = \"http://x/\"",
            "STATE.toml:2: servers[0].slug: \"d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c0b5\" is not a slug: it reads",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nicon = \"http://x/i.png\"",
            "STATE.toml:4: servers[0].icon: expected https://",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nicon = \"data:image/svg+xml;base64,AAAA\"",
            "STATE.toml:4: servers[0].icon: expected data:KIND;base64",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nicon = \"data:image/png;base64,?\"",
            "STATE.toml:4: servers[0].icon: expected base64",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nlabels = [\"private\", \"Outward\"]",
            "STATE.toml:4: servers[0].labels[1]: expected untrusted, private or outward; found \"Outward\"",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nsensitive = \"yes\"",
            "STATE.toml:4: servers[0].sensitive: invalid type",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nadmins = [\"a@b\",\n \"c\"]",
            "STATE.toml:5: servers[0].admins[1]: expected an e-mail address",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nadmin = [\"a@b\"]",
            "STATE.toml:4: servers[0].admin: unknown key; did you mean \"admins\"?",
        ),
        (
            "[[servers]]\nslug = \"runlayer\"\nurl = \"http://x/\"",
            "STATE.toml:3: servers[0].url: the server runlayer has no URL",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"basic\" }",
            "STATE.toml:4: servers[0].auth.mode: expected one of none, header, oauth_user,",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"X\" }",
            "servers[0].auth.mode: \"header\" needs value_env or value_file",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"Host\", value_env = \"X\" }",
            "servers[0].auth.name: \"Host\" is set by the gateway",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"a b\", value_env = \"X\" }",
            "servers[0].auth.name: expected a header name",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"X\", value_env = \"X\", value_file = \"y\" }",
            "servers[0].auth.value_file: value_env is set too",
        ),
        (
            "[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"X\", value = \"secret\" }",
            "STATE.toml:4: servers[0].auth.value: unknown key; known are mode, name,",
        ),
        (
            "[[policies]]\nname = \"p\"\neffekt = \"allow\"",
            "STATE.toml:3: policies[0].effekt: unknown key; did you mean \"effect\"?",
        ),
        ("[[policies]]\neffect = \"allow\"", "STATE.toml:1: policies[0]: missing field `name`"),
        (
            "[[policies]]\nname = \"p\"\nwhen = [{ arg = \"x\", op = \"eq\", vlaue = 1 }]",
            "STATE.toml:3: policies[0].when[0].vlaue: unknown key; did you mean \"value\"?",
        ),
        (
            "[[policies]]\nname = \"p\"\n[[policies]]\nname = \"p\"",
            "STATE.toml:4: policies[1].name: \"p\" is there already",
        ),
        ("[[policies]]\nname = \"p\"\nname = \"q\"", "STATE.toml:3: duplicate key"),
        ("[[policies]\n", "STATE.toml:1: "),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert!(error.contains(expected), "{text}\n  gave     {error}  expected {expected}");
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let error = refused(
        "[[policies]]\nname = \"\"\n[[users]]\nemail = \"x\"\n[[servers]]\nslug = \"-\"\nurl = \"x\"\n[[grps]]",
    );
    let lines: Vec<&str> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected = ["STATE.toml:2", "STATE.toml:4", "STATE.toml:6", "STATE.toml:7", "STATE.toml:8"];
    assert_eq!(lines, expected, "{error}");
}

#[test]
fn a_header_secret_is_named_by_its_source_only() {
    let text = "[[servers]]\nslug = \"t\"\nurl = \"http://x\"\nauth = { mode = \"header\", name = \"Authorization\", value_env = \"T\" }";
    let desired = read("STATE.toml", text).map_err(|p| format!("{p:?}")).unwrap();
    let auth = format!("{:?}", desired.state().servers[0].auth);
    assert!(auth.contains("authorization") && auth.contains("Env(\"T\")"), "{auth}");
}

#[test]
fn attributes_are_texts_or_lists_of_texts() {
    let user = |attributes: &str| {
        let text = format!("[[users]]\nemail = \"a@x.test\"\nattributes = {attributes}");
        match read("STATE.toml", &text) {
            Ok(desired) => format!("{:?}", desired.state().users[0].attributes),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    };
    let good = user(r#"{ department = "finance", site = ["B", "A", "B"] }"#);
    assert_eq!(good, r#"Some({"department": ["finance"], "site": ["A", "B"]})"#);
    assert_eq!(user("{}"), "Some({})");
    let bad = |wrong: &str| format!("STATE.toml:3: users[0].attributes{wrong}");
    for (attributes, wrong) in [
        ("{ department = 1 }", ".department: expected a text or a list of texts"),
        ("{ department = [\"a\", 1] }", ".department: expected a text or a list of texts"),
        ("{ department = \"\" }", ".department: expected a text or a list of texts"),
        ("{ department = 2026-01-01 }", ".department: expected a text or a list of texts"),
        ("{ \"a=b\" = \"x\" }", ": expected names of visible characters without ="),
        ("{ \"\" = \"x\" }", ": expected names of visible characters without ="),
        ("[\"x\"]", ": invalid type: sequence"),
    ] {
        let read = user(attributes);
        assert!(read.starts_with(&bad(wrong)), "{attributes}\n  gave {read}");
    }
}

#[test]
fn every_mode_takes_its_own_keys_and_no_others() {
    let auth = |auth: &str| {
        let text = format!("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = {{ {auth} }}");
        match read("STATE.toml", &text) {
            Ok(desired) => format!("{:?}", desired.state().servers[0].auth),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    };
    let secret = r#"client_id = "gw", client_secret_env = "S""#;
    let cases = [
        (r#"mode = "oauth_user""#.to_owned(), "OauthUser(OauthClient { issuer: None"),
        (
            format!(
                r#"mode = "oauth_user", {secret}, scopes = ["a", "b:c"], issuer = "https://as""#
            ),
            r#"issuer: Some("https://as"), client_id: Some("gw")"#,
        ),
        (format!(r#"mode = "oauth_shared", {secret}"#), "OauthShared("),
        (r#"mode = "identity_forward""#.into(), "IdentityForward"),
        (
            format!(
                r#"mode = "token_exchange", {secret}, token_url = "https://as/t", audience = "x""#
            ),
            r#"token_url: Some("https://as/t"), audience: Some("x")"#,
        ),
        (r#"mode = "none", name = "x""#.into(), "auth.name: mode \"none\" takes no other key"),
        (r#"mode = "identity_forward", issuer = "https://x""#.into(), "auth.issuer: mode"),
        (
            r#"mode = "oauth_user", audience = "x""#.into(),
            "auth.audience: mode \"oauth_user\" takes",
        ),
        (r#"mode = "oauth_user", value_env = "x""#.into(), "auth.value_env: mode"),
        (r#"mode = "oauth_user", client_secret_env = "x""#.into(), "auth.client_id: missing"),
        (r#"mode = "oauth_user", client_id = """#.into(), "auth.client_id: expected visible"),
        (r#"mode = "oauth_user", scopes = ["a b"]"#.into(), "auth.scopes: \"a b\" is no scope"),
        (r#"mode = "oauth_user", scopes = [""]"#.into(), "auth.scopes: \"\" is no scope"),
        (r#"mode = "oauth_user", issuer = "ftp://x""#.into(), "auth.issuer: expected http"),
        (
            r#"mode = "oauth_user", issuer = "https://u:p@x""#.into(),
            "auth.issuer: expected no cred",
        ),
        (r#"mode = "oauth_user", issuer = "https://x/#f""#.into(), "auth.issuer: expected no #"),
        (r#"mode = "oauth_user", issuer = "https://x/?q""#.into(), "auth.issuer: expected no ?"),
        (r#"mode = "oauth_shared""#.into(), "auth.client_id: missing: \"oauth_shared\""),
        (
            r#"mode = "oauth_shared", client_id = "gw""#.into(),
            "auth.client_secret_env: missing: \"oauth_shared\"",
        ),
        (
            format!(r#"mode = "oauth_shared", {secret}, client_secret_file = "f""#),
            "auth.client_secret_file: client_secret_env is set too",
        ),
        (
            r#"mode = "oauth_shared", client_id = "gw", private_key_file = "k.pem", key_id = "1""#
                .into(),
            r#"pem: Secret { from: File("k.pem"), value: None }, key_id: Some("1")"#,
        ),
        (
            format!(r#"mode = "oauth_shared", {secret}, private_key_env = "K""#),
            "auth.private_key_env: there is a client secret, too",
        ),
        (
            r#"mode = "oauth_shared", client_id = "gw", private_key_env = "K", private_key_file = "k""#
                .into(),
            "auth.private_key_file: private_key_env is set too",
        ),
        (r#"mode = "oauth_user", private_key_env = "K""#.into(), "auth.client_id: missing"),
        (format!(r#"mode = "oauth_shared", {secret}, key_id = "1""#), "auth.key_id: missing beside"),
        (r#"mode = "header", name = "x", key_id = "1""#.into(), "auth.key_id: mode"),
        (format!(r#"mode = "token_exchange", {secret}"#), "auth.issuer: missing"),
        (
            format!(r#"mode = "token_exchange", {secret}, token_url = "x""#),
            "auth.token_url: expected",
        ),
        (
            r#"mode = "header", name = "X-Runlayer-User-Id", value_env = "X""#.into(),
            "is set by the gateway itself",
        ),
    ];
    for (text, expected) in cases {
        let read = auth(&text);
        assert!(read.contains(expected), "{text}\n  gave     {read}\n  expected {expected}");
    }
}

#[test]
fn a_limit_is_checked_where_it_stands() {
    let limit = |rest: &str| {
        format!("[[limits]]\nname = \"l\"\nprincipals = [\"everyone\"]\nserver = \"*\"\n{rest}")
    };
    for (text, expected) in [
        (limit(""), "STATE.toml:1: limits[0].rate: expected rate or budget"),
        (
            limit("budget = { calls = 1, timezone = \"Berlin\" }"),
            "STATE.toml:5: limits[0].budget.timezone: expected the name of a time zone",
        ),
        (
            limit("rate = { calls = 1, per = \"day\" }"),
            "STATE.toml:5: limits[0].rate.per: unknown variant",
        ),
        (
            limit("rate = { calls = 0, per = \"hour\" }"),
            "STATE.toml:5: limits[0].rate.calls: expected",
        ),
        (limit("budgets = { calls = 1 }"), "STATE.toml:5: limits[0].budgets: "),
        (
            format!("{0}\n{0}", limit("budget = { calls = 1 }")),
            "STATE.toml:7: limits[1].name: \"l\" is there already",
        ),
        (
            limit("tools = [\"\"]\nbudget = { calls = 1 }"),
            "STATE.toml:5: limits[0].tools[0]: expected",
        ),
    ] {
        let error = refused(&text);
        assert!(error.contains(expected), "{text}\n  gave     {error}\n  expected {expected}");
    }
}

#[test]
fn nobody_signs_in_to_the_built_in_server() {
    let error = refused("[[servers]]\nslug = \"runlayer\"\nauth = { mode = \"identity_forward\" }");
    assert!(error.contains("servers[0].auth: the server runlayer is built in"), "{error}");
}

#[test]
fn the_shipped_example_is_read() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/org.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let desired = read("org.example.toml", &text).map_err(|p| format!("{p:?}")).unwrap();
    assert_eq!(desired.state().users.len(), 3);
    let specs = desired.policies().iter().cloned().enumerate();
    let sources: Vec<_> = specs
        .map(|(at, spec)| policies::Source {
            id: gateway_core::ids::PolicyId(uuid::Uuid::from_u128(at as u128 + 1)),
            spec,
        })
        .collect();
    let problems = policies::PolicySet::compile(&sources).err();
    assert!(problems.is_none(), "{problems:?}");
}

/// One user in the group `staff`, one server `wiki`, one policy.
fn there() -> Catalogue {
    let id = Uuid::from_u128;
    let user = gateway_core::caller::User {
        kind: gateway_core::caller::PrincipalKind::Person,
        id: UserId(id(1)),
        email: "old@example.com".into(),
        name: String::new(),
        roles: vec![],
        groups: vec!["staff".into()],
        attributes: Default::default(),
        active: true,
    };
    let server = Server {
        endpoint: Endpoint::Http("http://127.0.0.1:1/".into()),
        ..Server::named(ServerId(id(2)), "wiki".parse().unwrap())
    };
    let policy = StoredPolicy {
        id: PolicyId(id(3)),
        name: "old".into(),
        position: 0,
        spec_json:
            r#"{"name":"old","effect":"allow","principals":["group:staff"],"server":"wiki"}"#.into(),
        version: 1,
        source: "apply".into(),
        changed_by: None,
        created_at: gateway_core::Timestamp::UNIX_EPOCH,
        updated_at: gateway_core::Timestamp::UNIX_EPOCH,
    };
    Catalogue {
        version: 1,
        users: vec![user],
        servers: vec![server],
        policies: vec![policy],
        ..Catalogue::default()
    }
}

fn checked(text: &str, prune: bool) -> Result<(), String> {
    let desired = read("STATE.toml", text).map_err(|problems| format!("{problems:?}"))?;
    check::against(&desired, &there(), prune).map_err(|error| match error {
        ApplyError::Refused(_) => error.to_string(),
        ApplyError::Store(_) | ApplyError::Unrecorded(_) => panic!("{error}"),
    })
}

#[test]
fn what_a_file_mentions_must_exist_afterwards() {
    let policy = "[[policies]]\nname = \"p\"\neffect = \"confirm\"\nprincipals = [\"everyone\"]\nserver = \"wiki\"\n";
    let cases = [
        (
            "[[users]]\nemail = \"a@b\"\ngroups = [\"staff\", \"stuff\"]".to_owned(),
            "STATE.toml:3: users[0].groups[1]: there is no group \"stuff\"; did you mean \"staff\"?",
        ),
        (
            "[[servers]]\nslug = \"wiki\"\nurl = \"http://x/\"\nadmins = [\n\"nobody@b\"]"
                .to_owned(),
            "STATE.toml:5: servers[0].admins[0]: there is no user \"nobody@b\"",
        ),
        (
            policy.replace("wiki", "wikki"),
            "STATE.toml:5: policies[0].server: there is no server \"wikki\"; did you mean \"wiki\"?",
        ),
        (
            policy.replace("everyone", "group:nobody"),
            "STATE.toml:4: policies[0].principals[0]: there is no group \"nobody\"",
        ),
        (
            policy.replace("everyone", "user:x@y"),
            "STATE.toml:4: policies[0].principals[0]: there is no user \"x@y\"",
        ),
        (
            policy.replace("everyone", "everybody"),
            "STATE.toml:4: policies[0].principals[0]: expected",
        ),
        (
            format!("{policy}by = \"group:nobody\""),
            "STATE.toml:6: policies[0].by: there is no group \"nobody\"",
        ),
        (format!("{policy}by = \"anyone\""), "STATE.toml:6: policies[0].by: expected"),
        (policy.replace("confirm", "permit"), "STATE.toml:3: policies[0].effect: expected"),
        (
            format!(
                "{policy}when = [\n{{ arg = \"a\", op = \"eq\", value = 1 }},\n{{ arg = \"a\", op = \"is\", value = 1 }}]"
            ),
            "STATE.toml:8: policies[0].when[1].op: expected",
        ),
        (
            format!("{policy}when = [{{ ip = \"10.0.0.0/99\" }}]"),
            "STATE.toml:6: policies[0].when[0].ip: expected",
        ),
        (
            format!("{policy}when = [{{ arg = \"a\", op = \"matches\", value = \"(\" }}]"),
            "STATE.toml:6: policies[0].when[0].value: expected",
        ),
        (
            "[[policies]]\nname = \"p\"\ncedar = \"permit (everything);\"".to_owned(),
            "STATE.toml:3: policies[0].cedar: expected",
        ),
    ];
    let limit = "[[limits]]\nname = \"l\"\nprincipals = [\"everyone\"]\nserver = \"wiki\"\nbudget = { calls = 1 }";
    assert_eq!(checked(limit, false), Ok(()));
    let cases = cases.into_iter().chain([
        (
            limit.replace("wiki", "wikki"),
            "STATE.toml:4: limits[0].server: there is no server \"wikki\"; did you mean \"wiki\"?",
        ),
        (
            limit.replace("everyone", "user:x@y"),
            "STATE.toml:3: limits[0].principals[0]: there is no user \"x@y\"",
        ),
    ]);
    assert_eq!(checked(policy, false), Ok(()));
    for (text, expected) in cases {
        let error = checked(&text, false).expect_err(&text);
        assert!(error.contains(expected), "{text}\n  gave     {error}\n  expected {expected}");
    }
}

#[test]
fn with_prune_what_is_not_in_the_file_does_not_count() {
    let text = "[[users]]\nemail = \"a@b\"\ngroups = [\"staff\"]";
    assert_eq!(checked(text, false), Ok(()));
    assert!(checked(text, true).unwrap_err().contains("there is no group \"staff\""));
    let everyone = "[[policies]]\nname = \"p\"\neffect = \"allow\"\nprincipals = [\"everyone\"]\nserver = \"runlayer\"";
    assert_eq!(checked(everyone, true), Ok(()));
}
