//! What operators write, right and wrong.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::section::Section;
use super::{Config, make_root_key, read_root_key};

/// A folder of its own per test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("gateway-config-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = Folder::new();
    let path = folder.write("gateway.toml", text);
    let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let prefix = format!("{}/", folder.0.display());
    Config::load(&path, environment).map_err(|refused| refused.to_string().replace(&prefix, ""))
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name)
}

#[test]
fn every_flaw_is_refused_with_file_line_and_key() {
    let cases = [
        (
            "[server]\nlisten = 8080",
            "gateway.toml:2: server.listen: expected an address such as 127.0.0.1:8080, found 8080",
        ),
        (
            "[server]\n\nmax_bdoy = \"1MiB\"",
            "gateway.toml:3: server.max_bdoy: unknown key; did you mean \"max_body\"?",
        ),
        (
            "[servr]\nlisten = \"127.0.0.1:1\"",
            "gateway.toml:1: servr: unknown section; did you mean [server]?",
        ),
        ("[server]\nzebra = 1", "gateway.toml:2: server.zebra: unknown key; known are listen,"),
        ("server = 1", "gateway.toml:1: server: expected a section"),
        (
            "[servers]\n\ncatalog_file = \"/nowhere/catalog.json\"",
            "gateway.toml:3: servers.catalog_file: /nowhere/catalog.json cannot be read",
        ),
        (
            "[servers]\nsecret_dir = \"secrets\"",
            "gateway.toml:2: servers.secret_dir: expected an abs",
        ),
        ("[servers]\nprobe = \"10ms\"", "gateway.toml:2: servers.probe: expected at least 1s"),
        (
            "[server]\nmax_body = \"4 megs\"",
            "gateway.toml:2: server.max_body: expected a size such as 64KiB or 4MiB, found \"4 megs\"",
        ),
        ("[server]\nmax_body = \"1B\"", "gateway.toml:2: server.max_body: expected 1KiB to 256MiB"),
        (
            "[server]\npublic_url = \"ftp://x\"",
            "gateway.toml:2: server.public_url: expected an http or https URL",
        ),
        (
            "[server]\npublic_url = \"https://x/y\"",
            "gateway.toml:2: server.public_url: expected scheme, host and port only",
        ),
        (
            "[server]\nadmin_listen = \"127.0.0.1:8080\"",
            "gateway.toml:2: server.admin_listen: the same as server.listen",
        ),
        ("[server]\ntls_cert_file = \"a\"", "server.tls_key_file: missing"),
        (
            "[egress]\nallow_cidrs = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/99\",\n]",
            "gateway.toml:4: egress.allow_cidrs[1]: expected a network",
        ),
        (
            "[database]\nmigrate = \"yes\"",
            "gateway.toml:2: database.migrate: expected true or false, found \"yes\"",
        ),
        (
            "[database]\nmax_connections = -1",
            "gateway.toml:2: database.max_connections: expected a whole number",
        ),
        (
            "[database]\nmax_connections = 2",
            "gateway.toml:2: database.max_connections: expected at least 6",
        ),
        ("[database]\nurl = 5", "gateway.toml:2: database.url: expected a non-empty string"),
        (
            "[database]\nurl_file = \"/does/not/exist\"",
            "gateway.toml:2: database.url_file: /does/not/exist cannot be read",
        ),
        (
            "[database]\nurl = \"postgres://x\"\nurl_file = \"/etc/hostname\"",
            "gateway.toml:3: database.url_file: both this and database.url are set",
        ),
        ("[limits]\nconnect = \"5\"", "gateway.toml:2: limits.connect: expected a duration"),
        ("[limits]\nconnect = \"0s\"", "gateway.toml:2: limits.connect: expected more than zero"),
        (
            "[limits]\nconnect = \"99999999999999999999h\"",
            "gateway.toml:2: limits.connect: expected a duration",
        ),
        (
            "[log]\nformat = \"xml\"",
            "gateway.toml:2: log.format: expected \"human\" or \"json\", found \"xml\"",
        ),
        ("[log]\nfilter = \"a=b=c\"", "gateway.toml:2: log.filter: expected a filter"),
        (
            "[telemetry]\nsample = 2",
            "gateway.toml:2: telemetry.sample: expected a number between 0.0 and 1.0, found 2",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"",
            "gateway.toml:3: duplicate key",
        ),
        ("[server\n", "gateway.toml:1: "),
        (
            "[flow_rule]\nwindow = \"0s\"",
            "gateway.toml:2: flow_rule.window: expected more than zero",
        ),
        ("[flow_rule]\nwindow = \"8d\"", "gateway.toml:2: flow_rule.window: expected"),
        ("[scanner]\nurl = \"ftp://x/\"", "gateway.toml:2: scanner.url: expected an http or https"),
        ("[scanner]\nurl = \"http://u:p@x/\"", "gateway.toml:2: scanner.url: expected no user"),
        ("[scanner]\ntoken = \"a b\"", "gateway.toml:2: scanner.token: expected printable ASCII"),
        ("[scanner]\ndeadline_ms = 5", "gateway.toml:2: scanner.deadline_ms: expected 10 to 30000"),
        ("[scanner]\nconcurrency = 0", "gateway.toml:2: scanner.concurrency: expected at least 1"),
        ("[scim]\ntoken = \"short\"", "gateway.toml:2: scim.token: expected at least 32 random"),
        (
            "[scim]\ntoken = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
            "gateway.toml:2: scim.token: expected at least 32 random",
        ),
        (
            "[scim]\ntoken = \"a passphrase with spaces, longer than 32\"",
            "gateway.toml:2: scim.token: expected at least 32 random",
        ),
        (
            "[scim]\ntoken_file = \"/does/not/exist\"",
            "gateway.toml:2: scim.token_file: /does/not/exist cannot be read",
        ),
        (
            "[[oauth.assertion_issuers]]\nemail_claim = \"upn\"",
            "gateway.toml:1: oauth.assertion_issuers[0].issuer: missing",
        ),
        (
            "[[oauth.assertion_issuers]]\nissuer = \"a\"",
            "oauth.assertion_issuers[0].jwks_url: missing: the issuer is no URL",
        ),
        (
            "[[oauth.assertion_issuers]]\nissuer = \"https://a\"\n[[oauth.assertion_issuers]]\nissuer = \"https://a\"",
            "oauth.assertion_issuers[1].issuer: this issuer is configured twice",
        ),
        (
            "[[identity.issuers]]\naudience = \"a\"",
            "gateway.toml:1: identity.issuers[0].issuer: missing",
        ),
        ("[[identity.issuers]]\nissuer = \"https://a\"", "identity.issuers[0].audience: missing"),
        (
            "[[identity.issuers]]\nissuer = \"https://a\"\naudiance = \"a\"",
            "gateway.toml:3: identity.issuers[0].audiance: unknown key; did you mean \"audience\"?",
        ),
        (
            "[[identity.issuers]]\nissuer = \"https://a\"\naudience = [\"a\"]",
            "gateway.toml:3: identity.issuers[0].audience: expected a string, found an array",
        ),
        (
            "[[identity.issuers]]\nissuer = \"a\"\naudience = \"a\"",
            "identity.issuers[0].jwks_url: missing",
        ),
        (
            "[identity]\nissuers = [{ issuer = \"https://a\", audience = \"a\" }, { issuer = \"https://a\", audience = \"b\" }]",
            "gateway.toml:2: identity.issuers[1].issuer: this issuer is configured twice",
        ),
    ];
    for (text, expected) in cases {
        let error = load(text, &[]).expect_err(text);
        assert!(error.contains(expected), "{text}\n  gave     {error}\n  expected {expected}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = load("[server]\nlisten = 1\n[log]\nformat = 2\ncolour = 3", &[]).unwrap_err();
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n";
    let environment = [
        ("GATEWAY__SERVER__LISTEN", "127.0.0.1:2"),
        ("GATEWAY__DATABASE__URL", "postgres://secret@x/y"),
        ("GATEWAY__DATABASE__MIGRATE", "false"),
        ("GATEWAY__DATABASE__MAX_CONNECTIONS", "40"),
        ("GATEWAY__EGRESS__ALLOW_CIDRS", "10.0.0.0/8, 127.0.0.0/8"),
        ("GATEWAY__IDENTITY__ISSUERS", "[{ issuer = \"https://a\", audience = \"b\" }]"),
        ("GATEWAY_OTHER", "ignored"),
        ("PATH", "/bin"),
    ];
    let config = load(file, &environment).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.database.url.unwrap().expose_secret(), "postgres://secret@x/y");
    assert!(!config.database.migrate);
    assert_eq!(config.database.max_connections, 40);
    assert_eq!(config.egress.allow_cidrs.len(), 2);
    assert_eq!(config.identity.issuers[0].audience, "b");
}

#[test]
fn a_flawed_variable_is_refused_by_name() {
    let cases = [
        (
            "GATEWAY__SERVER__LISTN",
            "x",
            "environment GATEWAY__SERVER__LISTN: server.listn: unknown key; did you mean GATEWAY__SERVER__LISTEN?",
        ),
        (
            "GATEWAY__SERVER__LISTEN",
            "x",
            "environment GATEWAY__SERVER__LISTEN: server.listen: expected an address",
        ),
        ("GATEWAY__SERVER", "x", "environment GATEWAY__SERVER: server.: unknown key"),
        ("GATEWAY__DATABSE__URL", "x", "did you mean [database]?"),
        ("GATEWAY__DATABASE__MIGRATE", "maybe", "expected true or false, found \"maybe\""),
        (
            "GATEWAY__LIMITS__CONNECT",
            "0s",
            "environment GATEWAY__LIMITS__CONNECT: limits.connect: expected more than zero",
        ),
    ];
    for (name, value, expected) in cases {
        let error = load("", &[(name, value)]).expect_err(name);
        assert!(
            error.contains(expected),
            "{name}={value}\n  gave     {error}\n  expected {expected}"
        );
    }
}

#[test]
fn secrets_are_never_shown() {
    let folder = Folder::new();
    let secret = folder.write("url", "postgres://canary-71@x/y\n");
    let text = format!(
        "[database]\nurl_file = \"{}\"\nmigrate_url = \"postgres://canary-71@x\"\n[telemetry]\notlp_authorization = \"canary-71\"",
        secret.display()
    );
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.database.url.as_ref().unwrap().expose_secret(), "postgres://canary-71@x/y");
    let shown = format!("{}{config:?}", config.describe());
    assert!(!shown.contains("canary-71"), "{shown}");
    assert!(shown.contains("url = \"(hidden)\""), "{shown}");
    let error = load("[database]\nurl = [\"canary-71\"]", &[]).unwrap_err();
    assert!(!error.contains("canary-71"), "{error}");
}

#[test]
fn what_is_described_reads_back_the_same() {
    let text = "[server]\nmax_body = \"1536KiB\"\n[limits]\nconnect = \"1500ms\"\n[[identity.issuers]]\nissuer = \"https://a\"\naudience = \"b\"";
    let described = load(text, &[]).unwrap().describe();
    assert_eq!(load(&described, &[]).unwrap().describe(), described);
}

#[test]
fn the_shipped_file_has_every_key_with_its_default_and_comment() {
    let path = shipped("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if text != Config::template() && std::env::var_os("GATEWAY_BLESS").is_some() {
        std::fs::write(&path, Config::template()).unwrap();
        return;
    }
    assert!(
        text == Config::template(),
        "config/gateway.toml differs from the code: run the test with GATEWAY_BLESS=1"
    );
    let read = Config::load(&path, []).unwrap();
    assert_eq!(read.describe(), Config::default().describe());
}

#[test]
fn the_examples_in_the_shipped_file_are_known_keys() {
    let mut lines = Config::template();
    let sections = [super::Egress::KEYS, super::Identity::KEYS, super::SignIn::KEYS];
    for key in super::Server::KEYS.iter().chain(sections.into_iter().flatten()) {
        if let Some(like) = key.like {
            let default = format!("\n{} = []\n", key.name);
            lines = lines.replace(&default, "\n");
            lines = lines
                .replace(&format!("# {} = {like}", key.name), &format!("{} = {like}", key.name));
        }
    }
    let config = load(&lines, &[]).unwrap();
    assert!(config.server.tls_cert_file.is_some() && !config.egress.allow_cidrs.is_empty());
    assert_eq!(config.identity.issuers.len(), 1);
    assert_eq!(config.sign_in.providers[0].client_id, "gateway");
}

#[test]
fn dev_and_production_are_valid() {
    Config::load(&shipped("dev.toml"), []).unwrap();
    let environment = [("GATEWAY__DATABASE__URL_FILE".to_owned(), String::new())];
    let refused = Config::load(&shipped("production.toml"), environment).unwrap_err().to_string();
    assert!(refused.contains("database.url_file"), "{refused}");
    let folder = Folder::new();
    let url = folder.write("url", "postgres://gateway@db/gateway");
    let environment = [
        ("GATEWAY__DATABASE__URL_FILE".to_owned(), url.display().to_string()),
        ("GATEWAY__DATABASE__MIGRATE_URL_FILE".to_owned(), url.display().to_string()),
    ];
    Config::load(&shipped("production.toml"), environment).unwrap();
}

/// F8.
#[test]
fn a_root_key_is_made_once_and_weak_ones_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.0.join("deep/root.key");
    let absent = read_root_key(&path).unwrap_err();
    assert!(absent.message.contains("there is no key"), "{absent}");
    let fill = |bytes: &mut [u8]| {
        let mut seed = 7u8;
        for byte in bytes {
            seed = seed.wrapping_mul(73).wrapping_add(41);
            *byte = seed;
        }
    };
    make_root_key(&path, &fill).unwrap();
    read_root_key(&path).unwrap();
    let first = std::fs::read(&path).unwrap();
    make_root_key(&path, &|bytes| bytes.fill(1)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "an existing key stays");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let weak = folder.write("weak.key", "0123456789abcdef0123456789abcdef");
    assert!(read_root_key(&weak).unwrap_err().message.contains("not random"));
}

/// Absent, weak or reused: each is refused, and the setting is named.
#[test]
fn the_vaults_keys_are_keys_of_their_own() {
    let folder = Folder::new();
    let random = |seed: u8| -> Vec<u8> {
        (0..32u8).map(|i| i.wrapping_mul(37).wrapping_add(seed.wrapping_mul(91)) ^ 0xA5).collect()
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let root_bytes = random(1);
    let root = gateway_core::keys::RootKey::new(&root_bytes).unwrap();
    let same = file("same", &root_bytes);
    let (new, old) = (file("new", &random(2)), file("old", &random(3)));
    let copy = file("copy", &random(2));
    let (short, text) = (file("short", &[7; 31]), file("text", &[b'a'; 32]));
    let absent = folder.0.join("absent");
    let read = |file: Option<&Path>, previous: Option<&Path>| {
        let keys = super::Keys {
            vault_file: file.map(Into::into),
            vault_file_previous: previous.map(Into::into),
            ..super::Keys::default()
        };
        super::read_vault_keys(&keys, &root)
    };
    for (current, previous, key, said) in [
        (Some(&*absent), None, "keys.vault_file", "there is no key"),
        (Some(&*short), None, "keys.vault_file", "31 bytes"),
        (Some(&*text), None, "keys.vault_file", "not random"),
        (Some(&*same), None, "keys.vault_file", "the same key as keys.root_file"),
        (Some(&*new), Some(&*absent), "keys.vault_file_previous", "there is no key"),
        (Some(&*new), Some(&*text), "keys.vault_file_previous", "not random"),
        (Some(&*new), Some(&*same), "keys.vault_file_previous", "the same key as keys.root_file"),
        (Some(&*new), Some(&*copy), "keys.vault_file_previous", "the same key as keys.vault_file"),
    ] {
        let problem = read(current, previous).unwrap_err();
        assert_eq!(problem.key, key);
        assert!(problem.message.contains(said), "{problem}");
    }
    let derived = root.derive(gateway_core::keys::Purpose::Vault);
    let none = read(None, None).unwrap();
    assert_eq!((none.current, none.previous), (derived, None));
    // From the derived key to one of its own, and from one to the next.
    assert_eq!(read(Some(&new), None).unwrap().previous, Some(derived));
    let between = read(Some(&new), Some(&old)).unwrap();
    assert_ne!(between.previous, Some(derived));
    assert_ne!(Some(between.current), between.previous);
}

#[test]
fn another_catalogue_of_servers_is_read_and_checked() {
    let folder = Folder::new();
    let catalog = folder.write(
        "catalog.json",
        r#"{"servers":[{"name":"com.example/a","description":"A",
        "version":"1","remotes":[{"type":"streamable-http","url":"https://a.example.com/mcp"}]}]}"#,
    );
    let text = format!("[servers]\ncatalog_file = \"{}\"", catalog.display());
    let config = load(&text, &[]).unwrap();
    let read = super::read_catalog(&config.servers).unwrap();
    assert_eq!(read.entries().len(), 1);
    assert!(super::read_catalog(&Config::default().servers).unwrap().entries().len() >= 30);
    let wrong =
        folder.write("wrong.json", r#"{"servers":[{"name":"com.example/a","description":""}]}"#);
    let text = format!("[servers]\ncatalog_file = \"{}\"", wrong.display());
    let error = load(&text, &[]).unwrap_err();
    assert!(error.contains("gateway.toml:2: servers.catalog_file: "), "{error}");
    assert!(
        error.contains("wrong.json: servers[0] (com.example/a).description: expected"),
        "{error}"
    );
}
