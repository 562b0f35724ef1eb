//! A whole small world for a test: a database, a fake upstream, a gateway with three people and their
//! keys. [`check`] runs a test in it and audits what it has left behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::auditor::{Evidence, audit};
use crate::client::{Client, Sightings};
use crate::gateway::{Gateway, Options};
use crate::postgres::{Database, Postgres};
use crate::upstream::{Shape, Upstream};

/// What the upstream header secret is: a canary that must turn up nowhere but at the upstream.
pub const UPSTREAM_SECRET: &str = "canary-upstream-5c1f0e7a9b";

/// The people, as every test knows them.
pub const PEOPLE: &str = r#"
[[groups]]
name = "engineering"

[[groups]]
name = "contractors"

[[users]]
email = "alice@example.com"
name = "Alice"
roles = ["super_admin"]

[[users]]
email = "bob@example.com"
name = "Bob"
roles = ["developer"]
groups = ["engineering"]

[[users]]
email = "carol@example.com"
name = "Carol"
groups = ["contractors"]
"#;

/// The policies that most tests need: engineers may use all tools but `hidden` and must confirm
/// destructive ones; contractors may only `echo`; admins may do nothing on it.
pub const POLICIES: &str = r#"
[[policies]]
name = "engineers use tools"
effect = "allow"
principals = ["group:engineering"]
server = "fake"
tools = ["echo", "list_*", "delete_item", "slow_*", "raw_*"]

[[policies]]
name = "engineers read open things"
effect = "allow"
principals = ["group:engineering"]
server = "fake"
resources = ["fake://open/*"]
prompts = ["*"]

[[policies]]
name = "deleting needs a person"
effect = "confirm"
principals = ["everyone"]
server = "fake"
tools = ["delete_*"]
message = "Delete the item?"

[[policies]]
name = "nothing forbidden"
effect = "deny"
principals = ["everyone"]
server = "fake"
tools = ["echo"]
when = [{ arg = "text", op = "contains", value = "forbidden" }]
message = "That word is forbidden"

[[policies]]
name = "contractors echo"
effect = "allow"
principals = ["group:contractors"]
server = "fake"
tools = ["echo"]
"#;

/// What a test's world looks like.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The upstream's shape.
    pub shape: Shape,
    /// TOML that is added to the gateway's config.
    pub config: String,
    /// The policies of the desired state.
    pub policies: String,
    /// More desired state, for instance further servers.
    pub state: String,
    /// The upstream demands a header whose value is [`UPSTREAM_SECRET`].
    pub secret_header: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            shape: Shape::default(),
            config: String::new(),
            policies: POLICIES.into(),
            state: String::new(),
            secret_header: true,
        }
    }
}

/// The world.
#[derive(Debug)]
pub struct Rig {
    /// The gateway.
    pub gateway: Gateway,
    /// The server `fake`.
    pub upstream: Upstream,
    /// Its database.
    pub database: Database,
    /// More upstreams whose receipts are audited.
    pub upstreams: Vec<Upstream>,
    /// More strings that nobody may find in tables, logs or metrics.
    pub secrets: Vec<String>,
    /// How long the trail may take to close every intent; tests that kill gateways give the sweeper time.
    pub patience: Duration,
    keys: HashMap<String, String>,
    sightings: Sightings,
}

impl Rig {
    /// Starts everything.
    pub async fn start(setup: Setup) -> Rig {
        let database = Postgres::shared().database().await;
        let options = Options { config: setup.config.clone(), ..Options::new(&database.url) };
        Rig::start_with(setup, database, options).await
    }

    /// Starts everything on that database; the rig adds the desired state to the options.
    pub async fn start_with(setup: Setup, database: Database, options: Options) -> Rig {
        let upstream = Upstream::of(setup.shape).await;
        let auth = if setup.secret_header {
            r#"{ mode = "header", name = "x-upstream-key", value_env = "RIG_UPSTREAM_SECRET" }"#
        } else {
            r#"{ mode = "none" }"#
        };
        let server = format!(
            "[[servers]]\nslug = \"fake\"\ntitle = \"Fake\"\nurl = \"{}\"\nauth = {auth}\n",
            upstream.url()
        );
        let state = [PEOPLE, &server, &setup.policies, &setup.state].join("\n");
        let secret = ("RIG_UPSTREAM_SECRET".to_owned(), UPSTREAM_SECRET.to_owned());
        let mut environment = options.environment.clone();
        environment.push(secret);
        let options = Options { state: Some(state), environment, ..options };
        let gateway = Gateway::start(options).await;
        let people = ["alice@example.com", "bob@example.com", "carol@example.com"];
        let keys = people.map(|email| (email.to_owned(), gateway.key(email)));
        Rig {
            gateway,
            upstream,
            database,
            upstreams: Vec::new(),
            secrets: vec![UPSTREAM_SECRET.into()],
            patience: Duration::from_secs(15),
            keys: keys.into(),
            sightings: Arc::default(),
        }
    }

    /// A person's client for the server `fake`.
    pub fn client(&self, name: &str) -> Client {
        self.client_of(name, "fake")
    }

    /// A person's client for another server.
    pub fn client_of(&self, name: &str, server: &str) -> Client {
        self.stranger(server, Some(self.key(name)))
    }

    /// A client with any credential, or none.
    pub fn stranger(&self, server: &str, credential: Option<&str>) -> Client {
        Client::new(&self.gateway.proxy_url(server), credential, self.sightings.clone())
    }

    /// A person's API key.
    pub fn key(&self, name: &str) -> &str {
        &self.keys[&format!("{name}@example.com")]
    }

    /// Calls a tool of the Runlayer MCP as a person; gives the structured content.
    pub async fn ask(
        &self,
        name: &str,
        tool: &str,
        arguments: serde_json::Value,
    ) -> serde_json::Value {
        let client = self.client_of(name, "runlayer");
        let params = json!({"name": tool, "arguments": arguments});
        let reply = client.modern("tools/call", params).await;
        reply.result()["structuredContent"].clone()
    }

    /// Checks what must hold at the end of every test. The gateway still runs: its trail must come to
    /// rest by itself.
    pub async fn finish(mut self) {
        let metrics = self.gateway.metrics().await;
        let upstreams = self.upstreams.iter().chain([&self.upstream]);
        let mut secrets = std::mem::take(&mut self.secrets);
        secrets.extend(self.keys.values().cloned());
        let evidence = Evidence {
            receipts: upstreams.flat_map(Upstream::receipts).collect(),
            sightings: self.sightings.lock().expect("no test panics in here").clone(),
            secrets,
            texts: vec![self.gateway.logs(), metrics],
            patience: self.patience,
        };
        audit(&self.database, &evidence).await;
    }
}

/// Runs a test in a world of its own and audits the world afterwards.
pub async fn check(setup: Setup, test: impl AsyncFnOnce(&mut Rig)) {
    let mut rig = Rig::start(setup).await;
    test(&mut rig).await;
    rig.finish().await;
}
