//! Files that are wrong: each error names file, line and key, and all come at once.

use super::read;

fn refused(text: &str) -> String {
    match read("STATE.toml", text) {
        Ok(_) => panic!("was accepted: {text}"),
        Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
    }
}

#[test]
fn every_flaw_is_refused_with_file_line_and_key() {
    let cases = [
        ("[[users]]\nemail = \"a\"", "STATE.toml:2: users[0].email: expected an e-mail address, found \"a\""),
        ("[[users]]\nname = \"A\"", "STATE.toml:1: users[0]: missing field `email`"),
        ("[[users]]\nemail = \"a@b\"\nrole = \"x\"", "STATE.toml:3: users[0].role: unknown key; did you mean \"roles\"?"),
        ("[[users]]\nemail = \"a@b\"\nroles = [\n \"developer\",\n \"admin\"]", "STATE.toml:5: users[0].roles[1]: expected one of super_admin,"),
        ("[[users]]\nemail = \"a@b\"\nroles = \"user\"", "STATE.toml:3: users[0].roles: invalid type: string"),
        ("[[users]]\nemail = \"a@b\"\n[[users]]\nemail = \"A@B\"", "STATE.toml:4: users[1].email: \"a@b\" is there already"),
        ("[[users]]\nemail = \"a@b\"\nactive = 1", "STATE.toml:3: users[0].active: invalid type: integer"),
        ("[[user]]\nemail = \"a@b\"", "STATE.toml:1: user: unknown key; did you mean \"users\"?"),
        ("[users]\nemail = \"a@b\"", "STATE.toml:1: users: expected [[users]]"),
        ("[[groups]]\nname = \"\"", "STATE.toml:2: groups[0].name: expected a name"),
        ("[[groups]]\nname = \" a\"", "groups[0].name: expected no white space"),
        ("[[groups]]\nname = \"a\u{200b}b\"", "groups[0].name: expected no control or invisible"),
        ("[[groups]]\nname = \"a\"\n[[groups]]\nname = \"a\"", "STATE.toml:4: groups[1].name: \"a\" is there already"),
        ("[[servers]]\nslug = \"Tickets\"\nurl = \"http://x/\"", "STATE.toml:2: servers[0].slug: \"Tickets\" is not a slug"),
        ("[[servers]]\nslug = \"t\"", "STATE.toml:1: servers[0]: missing key \"url\""),
        ("[[servers]]\nslug = \"t\"\nurl = \"ftp://x/\"", "STATE.toml:3: servers[0].url: expected http://"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://u:p@x/\"", "servers[0].url: expected no credentials"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nstatus = \"on\"", "STATE.toml:4: servers[0].status: expected one of active,"),
        ("[[servers]]\nslug = \"runlayer\"\nurl = \"http://x/\"", "STATE.toml:3: servers[0].url: the server runlayer has no URL"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"basic\" }", "STATE.toml:4: servers[0].auth.mode: expected \"none\" or \"header\""),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"X\" }", "servers[0].auth.mode: \"header\" needs value_env or value_file"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"Host\", value_env = \"X\" }", "servers[0].auth.name: \"Host\" is set by the gateway"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"a b\", value_env = \"X\" }", "servers[0].auth.name: expected a header name"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"X\", value_env = \"X\", value_file = \"y\" }", "servers[0].auth.value_file: value_env is set too"),
        ("[[servers]]\nslug = \"t\"\nurl = \"http://x/\"\nauth = { mode = \"header\", name = \"X\", value = \"secret\" }", "STATE.toml:4: servers[0].auth.value: unknown key; did you mean"),
        ("[[policies]]\nname = \"p\"\neffekt = \"allow\"", "STATE.toml:3: policies[0].effekt: unknown key; did you mean \"effect\"?"),
        ("[[policies]]\neffect = \"allow\"", "STATE.toml:1: policies[0]: missing field `name`"),
        ("[[policies]]\nname = \"p\"\nwhen = [{ arg = \"x\", op = \"eq\", vlaue = 1 }]", "STATE.toml:3: policies[0].when[0].vlaue: unknown key; did you mean \"value\"?"),
        ("[[policies]]\nname = \"p\"\n[[policies]]\nname = \"p\"", "STATE.toml:4: policies[1].name: \"p\" is there already"),
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
fn the_shipped_example_is_read() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/org.example.toml");
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
