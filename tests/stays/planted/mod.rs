//! Planted faults: would the tests notice if the gateway broke its promises? `faults.toml` lists what is built in on
//! purpose, into a copy of the tree, and the tests that must fail then.
//!
//! Building takes minutes, so `just planted` does it; every run checks that each fault still finds its place.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What of the tree is needed to build and test it.
const TREE: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "RELIABILITY.md",
    "deploy",
    "justfile",
    "clippy.toml",
    ".sqlx",
    "gateway",
    "policies",
    "migrations",
    "config",
    "tests",
    "README.md",
    "ARCHITECTURE.md",
    "SCANNERS.md",
];

#[derive(Deserialize)]
struct Faults {
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    id: String,
    says: String,
    file: PathBuf,
    find: String,
    plant: String,
    tests: Vec<String>,
}

impl Fault {
    /// The file below `root` with the fault in it.
    fn planted(&self, root: &Path) -> String {
        let text = std::fs::read_to_string(root.join(&self.file)).unwrap();
        let places = text.matches(&self.find).count();
        let (id, file) = (&self.id, self.file.display());
        assert_eq!(
            places, 1,
            "{id}: \"{}\" stands {places} times in {file}: plant it anew",
            self.find
        );
        text.replace(&self.find, &self.plant)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn faults() -> Vec<Fault> {
    toml::from_str::<Faults>(include_str!("faults.toml")).unwrap().faults
}

#[test]
fn every_fault_finds_its_place_and_its_tests() {
    for fault in faults() {
        assert_ne!(
            fault.planted(&root()),
            std::fs::read_to_string(root().join(&fault.file)).unwrap()
        );
        for test in &fault.tests {
            // `faults::replicas::name` is in it/faults/replicas.rs, or a module whose name it begins with.
            let (module, name) = test.rsplit_once("::").unwrap();
            let file = root().join("tests/it").join(module.replace("::", "/")).with_extension("rs");
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let submodule =
                root().join("tests/it").join(test.replace("::", "/")).with_extension("rs");
            assert!(
                text.contains(&format!("fn {name}(")) || submodule.exists(),
                "{}: there is no {test}",
                fault.id
            );
        }
    }
}

/// `PLANTED` may name one.
#[test]
#[ignore = "builds the gateway once for each fault; run by `just planted`"]
fn planted_faults_are_caught() {
    let tree = root().join("target/planted/tree");
    copy(&tree);
    let wanted = std::env::var("PLANTED").ok().filter(|id| !id.is_empty());
    for fault in faults().iter().filter(|fault| wanted.as_ref().is_none_or(|id| *id == fault.id)) {
        let sound = std::fs::read_to_string(tree.join(&fault.file)).unwrap();
        std::fs::write(tree.join(&fault.file), fault.planted(&tree)).unwrap();
        for test in &fault.tests {
            let (failed, said) = fails(&tree, test);
            println!(
                "{}, {}: {test} {}",
                fault.id,
                fault.says,
                if failed { "fails" } else { "does not notice" }
            );
            assert!(failed, "{said}");
        }
        std::fs::write(tree.join(&fault.file), sound).unwrap();
    }
}

fn copy(tree: &Path) {
    let _ = std::fs::remove_dir_all(tree);
    std::fs::create_dir_all(tree).unwrap();
    let there = TREE.iter().map(|name| root().join(name)).filter(|path| path.exists());
    let copied = Command::new("cp").arg("-a").args(there).arg(tree).status().unwrap();
    assert!(copied.success(), "copying to {}", tree.display());
}

/// Whether a test that builds and starts fails, and what it said. That it does not build or run is no failure of it.
fn fails(tree: &Path, test: &str) -> (bool, String) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", tree.with_file_name("build"))
        .env("SQLX_OFFLINE", "true");
    cargo.args(["test", "--package", "gateway-tests", "--test", "it", "--", test]);
    let ran = cargo.stdin(Stdio::null()).output().unwrap();
    let said =
        [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let failed = !ran.status.success()
        && said.contains("test result: FAILED")
        && said.contains(&format!("test {test}"));
    (failed, said)
}
