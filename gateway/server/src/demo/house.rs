//! The gateway that the demo runs: a private Postgres, the demo organisation applied the way an operator
//! applies it, an API key and a password for each person.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use gateway_governance::desired_state::{self, Options, Recorder};
use gateway_governance::operations::api_keys::CreateApiKey;
use gateway_governance::operations::sign_in::SetLocalPassword;
use gateway_governance::{Governance, Operation, Random, SystemRandom, command_line};
use secrecy::SecretString;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::DemoArgs;
use super::organisation::{PEOPLE, desired_state};
use super::person::{Mode, Person};
use super::upstreams::{self, Upstreams};
use crate::app::App;
use crate::config::{Config, Refused, make_root_key};

/// Where the demo listens if nobody says otherwise and nobody else does.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The letters of passwords: those that nobody confuses.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What a person proves with who they are.
struct Credentials {
    /// For scripts.
    key: String,
    /// For the browser.
    password: String,
}

/// By name.
type Everybody = HashMap<&'static str, Credentials>;

/// The running gateway with its upstreams.
pub(super) struct House {
    app: App,
    base_url: String,
    people: Everybody,
    started_at: String,
    temporary: Option<PathBuf>,
    _upstreams: Upstreams,
}

impl House {
    /// Starts everything; when it returns, people can connect.
    pub(super) async fn open(args: &DemoArgs) -> anyhow::Result<House> {
        let upstreams = upstreams::start().await?;
        let (data, temporary) = match &args.data {
            Some(data) => (data.clone(), None),
            None => {
                let name = format!("gateway-demo-{}", Uuid::new_v4().simple());
                let data = std::env::temp_dir().join(name);
                (data.clone(), Some(data))
            }
        };
        let opened = Box::pin(start(config(args, &data)?, &upstreams)).await;
        let (app, people) = match (opened, &temporary) {
            (Err(error), Some(folder)) => {
                remove(folder);
                return Err(error);
            }
            (opened, _) => opened?,
        };
        let started_at = app.governance().clock().now().format(&Rfc3339)?;
        let base_url = app.public_url().as_str().trim_end_matches('/').to_owned();
        Ok(House { app, base_url, people, started_at, temporary, _upstreams: upstreams })
    }

    /// A person's client, connected to a server through the gateway.
    pub(super) async fn person(
        &self,
        name: &str,
        server: &str,
        mode: Mode,
    ) -> anyhow::Result<Person> {
        Person::connect(&self.proxy_url(server), self.key(name), mode).await
    }

    /// Where clients of a server send to.
    pub(super) fn proxy_url(&self, server: &str) -> String {
        format!("{}/api/v1/proxy/{server}/mcp", self.base_url)
    }

    /// The gateway's address, without a slash at the end.
    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// A person's API key.
    pub(super) fn key(&self, name: &str) -> &str {
        self.people.get(name).map_or("", |has| has.key.as_str())
    }

    /// A person's password.
    pub(super) fn password(&self, name: &str) -> &str {
        self.people.get(name).map_or("", |has| has.password.as_str())
    }

    /// Returns when the gateway works with everything that was changed so far.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        self.app.governance().refresh().await?;
        Ok(())
    }

    /// When the walk-through began, as audit filters want it.
    pub(super) fn started_at(&self) -> &str {
        &self.started_at
    }

    /// Returns on Ctrl-C or SIGTERM.
    pub(super) async fn until_stopped(&self) {
        let mut terminate = signal(SignalKind::terminate()).ok();
        let terminated = async {
            match &mut terminate {
                Some(terminate) => terminate.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminated => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }

    /// Stops the gateway and removes what was temporary.
    pub(super) async fn close(self) {
        Box::pin(self.app.stop()).await;
        if let Some(folder) = &self.temporary {
            remove(folder);
        }
    }
}

fn config(args: &DemoArgs, data: &Path) -> anyhow::Result<Config> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let mut config = Config::default();
    config.server.listen = match args.listen {
        Some(listen) => listen,
        // A walk-through alone needs no address that can be remembered.
        None if args.once || TcpListener::bind(USUAL).is_err() => ANY,
        None => USUAL,
    };
    config.server.admin_listen = ANY;
    let public = match config.server.listen.ip() {
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    let public = SocketAddr::new(public, config.server.listen.port());
    config.server.public_url = format!("http://{public}").parse()?;
    config.server.drain = std::time::Duration::from_secs(2);
    config.database.data_dir = data.to_path_buf();
    config.egress.allow_cidrs = vec!["127.0.0.0/8".parse()?];
    config.sign_in.local = true;
    config.keys.root_file = data.join("root.key");
    make_root_key(&config.keys.root_file, &|bytes| SystemRandom::new().fill(bytes))?;
    Ok(config)
}

async fn start(config: Config, upstreams: &Upstreams) -> anyhow::Result<(App, Everybody)> {
    let app = App::start(config).await?;
    match organise(&app, upstreams).await {
        Ok(people) => Ok((app, people)),
        Err(error) => {
            app.stop().await;
            Err(error)
        }
    }
}

/// What `gateway apply`, `gateway key create` and `gateway user password` do.
async fn organise(app: &App, upstreams: &Upstreams) -> anyhow::Result<Everybody> {
    let governance = app.governance();
    let desired = desired_state::read("the demo organisation", &desired_state(upstreams));
    let desired = desired.map_err(Refused)?;
    let recorder = Recorder {
        trail: governance.trail(),
        clock: governance.clock(),
        random: governance.random(),
    };
    let options = Options { dry_run: false, prune: false };
    desired_state::apply(app.store(), &recorder, &desired, options).await?;
    governance.refresh().await?;
    let mut people = HashMap::new();
    for (name, email, _) in PEOPLE {
        people.insert(name, equip(governance, email).await?);
    }
    governance.refresh().await?;
    Ok(people)
}

async fn equip(governance: &Governance, email: &str) -> anyhow::Result<Credentials> {
    let create = Operation::CreateApiKey(CreateApiKey {
        user: Some(email.into()),
        name: Some("demo".into()),
        expires_at: None,
        confirm: Some(true),
    });
    let made = perform(governance, create).await?;
    let key = made["key"].as_str().context("the answer holds no key")?.to_owned();
    let password = new_password();
    let set = Operation::SetLocalPassword(SetLocalPassword {
        user: email.into(),
        password: SecretString::from(password.clone()),
        confirm: Some(true),
    });
    perform(governance, set).await?;
    Ok(Credentials { key, password })
}

async fn perform(governance: &Governance, operation: Operation) -> anyhow::Result<Value> {
    let origin = governance.command_line_origin();
    let performed = governance.perform(&command_line(), &origin, operation).await;
    Ok(performed.map_err(|refused| anyhow::anyhow!("{}", refused.detail))?.value)
}

/// Four groups of four letters: 80 random bits.
fn new_password() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes);
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let groups: Vec<String> =
        bytes.chunks(4).map(|group| group.iter().map(letter).collect()).collect();
    groups.join("-")
}

fn remove(folder: &Path) {
    // Somebody will tidy the system's temporary folder.
    let _ = std::fs::remove_dir_all(folder);
}
