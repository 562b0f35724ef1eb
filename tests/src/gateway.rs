//! The gateway itself: the real binary with a written config, in a folder of its own, tied to this
//! process. Tests start, kill, stop and restart it, and talk to its command line.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use crate::process::{Tied, free_port};
use crate::wait::eventually;

/// How a gateway is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// `database.url`; absent: the gateway's private Postgres.
    pub database_url: Option<String>,
    /// TOML that is added to the config; a section that the rig writes too is merged key by key.
    pub config: String,
    /// The desired state to apply before it serves.
    pub state: Option<String>,
    /// Environment variables, for instance upstream secrets.
    pub environment: Vec<(String, String)>,
    /// The root key; replicas of one gateway share it.
    pub root_key: [u8; 32],
    /// Words before the command line of `serve`: a program that sets something up and then becomes the gateway.
    pub launcher: Vec<String>,
}

impl Options {
    /// For that database, with a new root key.
    pub fn new(database_url: &str) -> Options {
        let mut root_key = [0; 32];
        SystemRandom::new().fill(&mut root_key).expect("randomness works");
        Options {
            database_url: Some(database_url.into()),
            config: String::new(),
            state: None,
            environment: Vec::new(),
            root_key,
            launcher: Vec::new(),
        }
    }
}

/// A gateway process; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Where clients reach it, without a slash at the end.
    pub base: String,
    /// Health and metrics.
    pub admin: String,
    /// How it was set up.
    pub options: Options,
    dir: PathBuf,
    process: Option<Tied>,
}

impl Gateway {
    /// Writes the config, applies the desired state, serves, and waits until it is ready.
    pub async fn start(options: Options) -> Gateway {
        let mut gateway = Gateway::prepare(options);
        if let Some(state) = gateway.options.state.clone() {
            gateway.apply(&state);
        }
        gateway.launch();
        gateway.ready().await;
        gateway
    }

    /// Writes the config; nothing runs yet.
    pub fn prepare(options: Options) -> Gateway {
        let dir = std::env::temp_dir().join(format!("gateway-rig-{}", Uuid::new_v4().simple()));
        fs::create_dir(&dir).expect("the temporary folder can be written");
        // The private Postgres may have to run as another user.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).expect("the folder is ours");
        let (listen, admin) = (free_port(), free_port());
        let gateway = Gateway {
            base: format!("http://127.0.0.1:{listen}"),
            admin: format!("http://127.0.0.1:{admin}"),
            options,
            dir,
            process: None,
        };
        let key = gateway.dir.join("root.key");
        fs::write(&key, gateway.options.root_key).expect("it is our folder");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        fs::write(gateway.config(), gateway.config_text(listen, admin)).expect("it is our folder");
        gateway
    }

    fn config_text(&self, listen: u16, admin: u16) -> String {
        let dir = self.dir.display();
        let mut text = format!(
            r#"
            server.listen = "127.0.0.1:{listen}"
            server.admin_listen = "127.0.0.1:{admin}"
            server.public_url = "http://127.0.0.1:{listen}"
            server.drain = "5s"
            database.data_dir = "{dir}/data"
            egress.allow_cidrs = ["127.0.0.0/8"]
            keys.root_file = "{dir}/root.key"
            # Probes would be among what upstreams have received.
            servers.probe = "0s"
            log.format = "json"
            log.filter = "debug,h2=info,hyper=info,sqlx=info"
            "#
        );
        if let Some(url) = &self.options.database_url {
            text.push_str(&format!("database.url = \"{url}\"\n"));
        }
        let mut config: toml::Table = text.parse().expect("the rig writes legal TOML");
        let extra: toml::Table = self.options.config.parse().expect("the test writes legal TOML");
        for (section, keys) in extra {
            match (config.get_mut(&section), keys) {
                (Some(toml::Value::Table(into)), toml::Value::Table(keys)) => into.extend(keys),
                (_, keys) => {
                    config.insert(section, keys);
                }
            }
        }
        config.to_string()
    }

    /// Its config file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("gateway.toml")
    }

    /// A folder that belongs to it alone.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the process without waiting for anything.
    pub fn launch(&mut self) {
        let mut words = self.options.launcher.iter();
        let mut command = match words.next() {
            Some(program) => {
                let mut command = self.command_of(Path::new(program));
                command.args(words).arg(binary());
                command
            }
            None => self.command(),
        };
        command.arg("serve").arg("--config").arg(self.config());
        let log = self.dir.join("log");
        self.process =
            Some(Tied::start(command, &log, "KILL", Some(&self.dir)).expect("the gateway starts"));
    }

    /// Waits until `/health/ready` says yes.
    pub async fn ready(&mut self) {
        crate::install_crypto();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
        let client = client.expect("a client can be made");
        let url = format!("{}/health/ready", self.admin);
        eventually("the gateway is ready", Duration::from_secs(60), async || {
            assert!(self.running(), "the gateway has ended:\n{}", self.log_tail());
            let answer = client.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to drain and waits until it has ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it was started");
        process.signal("TERM");
        process.wait(Duration::from_secs(60)).expect("SIGTERM ends the gateway within a minute")
    }

    /// Sends it any signal.
    pub fn signal(&mut self, name: &str) {
        if let Some(process) = &mut self.process {
            process.signal(name);
        }
    }

    /// Starts it again at the same address and waits until it is ready.
    pub async fn restart(&mut self) {
        self.launch();
        self.ready().await;
    }

    /// True while the process runs.
    pub fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Tied::running)
    }

    /// Its process id.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Tied::id)
    }

    /// Runs a subcommand with `--config`; the arguments follow.
    pub fn cli(&self, subcommand: &[&str], arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(subcommand).arg("--config").arg(self.config()).args(arguments);
        command.output().expect("the gateway binary runs")
    }

    fn command(&self) -> Command {
        self.command_of(binary())
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir);
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Applies a desired state; panics with what the gateway says if it refuses.
    pub fn apply(&self, state: &str) -> String {
        let file = self.dir.join(format!("state-{}.toml", Uuid::new_v4().simple()));
        fs::write(&file, state).expect("it is our folder");
        succeeded(self.cli(&["apply"], &[&file.display().to_string()]))
    }

    /// Makes an API key for a person.
    pub fn key(&self, email: &str) -> String {
        let key = succeeded(self.cli(&["key", "create"], &["--user", email, "--name", "rig"]));
        let key = key.trim().to_owned();
        assert!(key.starts_with("rl_"), "not a key: {key}");
        key
    }

    /// Gives a person a password for the built-in sign-in.
    pub fn set_password(&self, email: &str, password: &str) {
        let mut command = self.command();
        command.args(["user", "password", "--user", email, "--config"]).arg(self.config());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let child = child.as_mut().expect("the gateway binary runs");
        let mut stdin = child.stdin.take().expect("it was piped");
        writeln!(stdin, "{password}").expect("it reads its stdin");
        drop(stdin);
        assert!(child.wait().expect("it ends").success(), "no password for {email}");
    }

    /// Where clients of a server send to.
    pub fn proxy_url(&self, server: &str) -> String {
        format!("{}/api/v1/proxy/{server}/mcp", self.base)
    }

    /// All that it has logged.
    pub fn logs(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> String {
        let answer = reqwest::get(format!("{}/metrics", self.admin)).await;
        match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the gateway's last words:\n{}", self.log_tail());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn succeeded(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "exit {:?}: {errors}", output.status.code());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The gateway's binary next to the tests, built now if it is not up to date; or the one that
/// `GATEWAY_BIN` names.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("GATEWAY_BIN") {
        Some(given) => given.into(),
        None => build("gateway"),
    })
}

fn build(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a process has a binary");
    // target/PROFILE/deps/it-0123 -> target/PROFILE
    let profile = tests.ancestors().nth(2).expect("cargo's folders").to_path_buf();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.args(["build", "--quiet", "--workspace", "--bin", name]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile.join(name)
}
