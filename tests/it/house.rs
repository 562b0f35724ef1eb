//! The house rules of ARCHITECTURE.md, checked on the source tree.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file below `folder`, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no Rust files");
    found
}

/// Files below `folder` in which `word` occurs outside comments.
fn naming(folder: &str, word: &str) -> Vec<String> {
    let uses = |text: &str| {
        let code = |line: &&str| !line.trim_start().starts_with("//");
        text.lines().filter(code).any(|line| line.contains(word))
    };
    sources(folder).into_iter().filter(|(_, text)| uses(text)).map(|(name, _)| name).collect()
}

#[test]
fn core_and_policies_do_no_io() {
    for folder in ["gateway/core/src", "policies/src"] {
        for word in ["std::fs", "std::net::Tcp", "tokio", "async fn", "reqwest", "std::env::"] {
            let found = naming(folder, word);
            assert!(found.is_empty(), "{word} in {found:?}");
        }
    }
}

#[test]
fn only_store_speaks_sql() {
    for folder in ["gateway/core", "gateway/governance", "gateway/server", "policies"] {
        assert!(naming(folder, "sqlx::").is_empty(), "{:?}", naming(folder, "sqlx::"));
    }
}

#[test]
fn the_planes_share_governance_only() {
    let control = naming("gateway/server/src/proxy", "crate::control");
    let proxy = naming("gateway/server/src/control", "crate::proxy");
    assert!(control.is_empty() && proxy.is_empty(), "{control:?} {proxy:?}");
}

#[test]
fn secrets_are_exposed_where_they_are_used() {
    let allowed = [
        "upstream/leg.rs",
        // The mail server's password.
        "upstream/mail.rs",
        // The token for the organisation's own scanner.
        "upstream/scanner.rs",
        // Credentials are made and compared there; what they hold is written out by the leg alone.
        "core/src/credential.rs",
        "/config/",
        "store/src/",
        "governance/src/",
        "/cli/",
        "/demo/",
        "/app/",
        "telemetry/",
        "app.rs",
    ];
    for folder in
        ["gateway/core", "gateway/governance", "gateway/server", "gateway/store", "policies"]
    {
        for file in naming(folder, "expose_secret") {
            assert!(allowed.iter().any(|place| file.contains(place)), "{file}");
        }
    }
    assert!(naming("gateway/server/src/proxy", "expose_secret").is_empty());
}

#[test]
fn only_the_right_stages_make_the_proofs() {
    let made = |proof: &str| -> Vec<String> {
        let made = naming("gateway/server/src/proxy", proof);
        made.into_iter().filter(|file| !file.ends_with("line.rs")).collect()
    };
    assert_eq!(made("Permit {"), ["gateway/server/src/proxy/decide.rs"]);
    assert_eq!(made("Counted {"), ["gateway/server/src/proxy/limit.rs"]);
    assert_eq!(made("Scanned { permitted"), ["gateway/server/src/proxy/scan.rs"]);
    assert_eq!(made("Cleared("), ["gateway/server/src/proxy/screen/seen.rs"]);
    assert_eq!(made("Recorded {"), ["gateway/server/src/proxy/intent.rs"]);
    assert_eq!(
        naming("gateway/server/src/proxy", "leg.send("),
        ["gateway/server/src/proxy/forward.rs"]
    );
}

/// B6: what the fail points read and do is left out of a release build, in which panics unwind.
#[test]
fn fail_points_are_in_debug_builds_only() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let source = read("gateway/server/src/proxy/fail.rs");
    let (outside, armed) = source.split_once("#[cfg(debug_assertions)]\nmod armed {").unwrap();
    assert!(
        armed.trim_end().ends_with("\n}")
            && !armed.trim_end()[..armed.trim_end().len() - 2].contains("\n}")
    );
    let code = |line: &&str| !line.trim_start().starts_with("//") && !line.is_empty();
    let outside: Vec<&str> = outside.lines().filter(code).collect();
    assert_eq!(
        outside,
        [
            "#[cfg(debug_assertions)]",
            "pub(super) use armed::{arm, point};",
            "#[cfg(not(debug_assertions))]",
            "pub(super) fn arm(_: &http::HeaderMap) {}",
            "#[cfg(not(debug_assertions))]",
            "pub(super) fn point(_: &'static str) {}",
        ]
    );
    let profiles = read("Cargo.toml");
    let release = profiles.split("[profile.release").nth(1).unwrap();
    for setting in ["debug-assertions", "panic"] {
        assert!(!release.contains(setting), "{setting} in the release profile");
    }
    for word in ["x-gateway-fail", "GATEWAY_FAIL_POINTS"] {
        assert_eq!(naming("gateway", word), ["gateway/server/src/proxy/fail.rs"]);
    }
}

#[test]
fn the_paths_that_the_architecture_names_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for word in text.split(['`', ' ', '\n', '|', ',', ';']) {
        let path =
            word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/' && c != '.' && c != '_');
        let rooted = ["gateway/", "policies/", "tests/", "config/", "migrations/", "deploy/"];
        if rooted.iter().any(|prefix| path.starts_with(prefix)) {
            assert!(
                root().join(path.trim_end_matches('.')).exists(),
                "ARCHITECTURE.md names {path}"
            );
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} paths were found");
}
