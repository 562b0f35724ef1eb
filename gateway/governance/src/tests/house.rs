//! A small organisation with two replicas of the gateway on one Postgres of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::credential::Credential;
use gateway_core::decision::{Approver, Circumstances, Demand, Target};
use gateway_core::ids::CallId;
use gateway_core::mcp::Listing;
use gateway_core::reason::Reason;
use gateway_core::server::{Eras, Server, UpstreamAuth};
use gateway_core::{Clock, Timestamp};
use gateway_store::audit::{EventEntry, EventFilter, Trail, TrailSettings};
use gateway_store::desired_state::{DesiredServer, DesiredState};
use gateway_store::private_postgres::PrivatePostgres;
use gateway_store::{Store, StoreSettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::world::World;
use crate::confirmations::{Binding, NewConfirmation};
use crate::desired_state::{self, Options, Recorder};
use crate::operations::spec;
use crate::testing::settings;
use crate::{
    Answer, Face, Fetch, Governance, GovernanceSettings, Mail, Operation, Origin, Parts, Probed,
    Refused, SystemRandom, Unread, Upstreams, command_line,
};

pub(super) const STATE: &str = r#"
[[groups]]
name = "engineering"
[[groups]]
name = "security"
[[users]]
email = "root@example.com"
roles = ["super_admin"]
[[users]]
email = "sec@example.com"
roles = ["security_admin"]
groups = ["security"]
[[users]]
email = "it@example.com"
roles = ["it_admin"]
[[users]]
email = "desk@example.com"
roles = ["helpdesk"]
[[users]]
email = "bob@example.com"
groups = ["engineering"]
[[users]]
email = "dora@example.com"
groups = ["engineering", "security"]
[[users]]
email = "carol@example.com"
[[servers]]
slug = "tickets"
title = "Tickets"
url = "http://127.0.0.1:9/mcp"
[[servers]]
slug = "vault"
title = "Vault"
url = "http://127.0.0.1:9/vault"
auth = { mode = "header", name = "Authorization", value_env = "GATEWAY_TEST_ABSENT" }
[[policies]]
name = "engineers use tickets"
effect = "allow"
principals = ["group:engineering"]
server = "tickets"
tools = ["list", "pay"]
resources = ["*"]
[[policies]]
name = "not much at once"
effect = "deny"
principals = ["everyone"]
server = "tickets"
tools = ["pay"]
when = [{ arg = "amount", op = "gt", value = 100 }]
message = "ask finance"
"#;

/// The machine's time, moved by hand.
pub(super) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(super) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::now_utc() + time::Duration::seconds(self.0.load(Ordering::SeqCst))
    }
}

/// Upstreams that say what a test wants.
pub(super) struct Fake {
    pub(super) tools: Mutex<Vec<String>>,
    pub(super) probes: AtomicUsize,
    /// Slugs of the servers that were read.
    pub(super) read: Mutex<Vec<String>>,
    /// Slugs of the servers that were asked whether they answer.
    pub(super) pings: Mutex<Vec<String>>,
    /// What those of these slugs say to that.
    pub(super) broken: Mutex<HashMap<String, Unread>>,
}

impl Fake {
    fn empty() -> Fake {
        Fake {
            tools: Mutex::default(),
            probes: AtomicUsize::new(0),
            read: Mutex::default(),
            pings: Mutex::default(),
            broken: Mutex::default(),
        }
    }
}

impl Default for Fake {
    fn default() -> Fake {
        let tool =
            |name: &str| json!({"name": name, "inputSchema": {"type": "object"}}).to_string();
        let tools = ["list", "pay", "drop_all"].map(tool).to_vec();
        Fake { tools: Mutex::new(tools), ..Fake::empty() }
    }
}

#[async_trait]
impl Upstreams for Fake {
    async fn probe(&self, server: &Server, _credential: &Credential) -> Result<Probed, Unread> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        self.read.lock().unwrap().push(server.slug.to_string());
        tokio::task::yield_now().await;
        if server.slug.as_str() == "vault" {
            return Err((Reason::UpstreamUnreachable, "refused".to_owned()).into());
        }
        let tools = self.tools.lock().unwrap().clone();
        Ok(Probed { eras: Eras { legacy: true, modern: false }, tools })
    }

    async fn ping(&self, server: &Server, _credential: &Credential) -> Result<(), Unread> {
        let slug = server.slug.to_string();
        self.pings.lock().unwrap().push(slug.clone());
        match self.broken.lock().unwrap().get(&slug) {
            Some(unread) => Err(unread.clone()),
            None => Ok(()),
        }
    }

    async fn reachable(&self, url: &str) -> Result<(), Unread> {
        if url.contains("169.254.") {
            return Err((Reason::UpstreamAddressRefused, "never allowed".to_owned()).into());
        }
        if url.contains("nowhere") {
            return Err((Reason::UpstreamUnreachable, "no such name".to_owned()).into());
        }
        Ok(())
    }

    async fn list(
        &self,
        _server: &Server,
        listing: Listing,
        _caller: &Caller,
        _credential: &Credential,
    ) -> Result<Vec<String>, Unread> {
        match listing {
            Listing::Tools => Ok(self.tools.lock().unwrap().clone()),
            Listing::Resources => Ok(vec![r#"{"uri":"t://1","name":"one"}"#.into()]),
            Listing::ResourceTemplates => {
                Err((Reason::UpstreamInvalid, "-32601".to_owned()).into())
            }
            Listing::Prompts => Ok(vec![r#"{"name":"triage"}"#.into()]),
        }
    }
}

/// One gateway.
pub(super) struct Replica {
    pub(super) governance: Arc<Governance>,
    pub(super) store: Store,
    pub(super) shutdown: CancellationToken,
}

pub(super) struct House {
    pub(super) a: Replica,
    pub(super) b: Replica,
    pub(super) clock: Arc<MovedClock>,
    pub(super) upstreams: Arc<Fake>,
    /// Whatever is reached through [`crate::Fetch`].
    pub(super) world: Arc<World>,
    _postgres: PrivatePostgres,
    _spool: Scratch,
}

impl House {
    pub(super) async fn open() -> House {
        let world = Arc::new(World::default());
        House::build(&settings(), (world.clone(), None), world).await
    }

    /// The same, told other things at start, with other hosts behind `fetch`.
    pub(super) async fn open_with(settings: &GovernanceSettings, fetch: Arc<dyn Fetch>) -> House {
        House::build(settings, (fetch, None), Arc::default()).await
    }

    /// One that also sends mail.
    pub(super) async fn open_told(
        settings: &GovernanceSettings,
        fetch: Arc<dyn Fetch>,
        mail: Arc<dyn Mail>,
    ) -> House {
        House::build(settings, (fetch, Some(mail)), Arc::default()).await
    }

    /// Makes that person an admin of the server `tickets`, and of that one alone.
    pub(super) async fn admin_of_tickets(&self, name: &str) {
        let server = DesiredServer {
            slug: "tickets".parse().unwrap(),
            title: None,
            description: None,
            url: Some("http://127.0.0.1:9/mcp".into()),
            auth: UpstreamAuth::None,
            status: None,
            icon: None,
            sensitive: None,
            labels: None,
            admins: Some(vec![format!("{name}@example.com")]),
        };
        let state = DesiredState { servers: vec![server], ..DesiredState::default() };
        self.a.store.apply(&state, false).await.unwrap();
        self.a.governance.refresh().await.unwrap();
    }

    async fn build(
        settings: &GovernanceSettings,
        (fetch, mail): (Arc<dyn Fetch>, Option<Arc<dyn Mail>>),
        world: Arc<World>,
    ) -> House {
        let postgres = PrivatePostgres::throwaway(&std::env::temp_dir()).await.unwrap();
        let spool = Scratch::new();
        let clock = Arc::new(MovedClock(AtomicI64::new(0)));
        let upstreams = Arc::new(Fake::default());
        let around = (settings, &fetch, &mail);
        let a = replica(&postgres, &spool, (&clock, &upstreams), around).await;
        let b = replica(&postgres, &spool, (&clock, &upstreams), around).await;
        let house = House { a, b, clock, upstreams, world, _postgres: postgres, _spool: spool };
        house.apply(STATE).await;
        house.a.governance.refresh().await.unwrap();
        house.b.governance.refresh().await.unwrap();
        house
    }

    /// Time passes, and both replicas have looked at Postgres since.
    pub(super) async fn later(&self, seconds: i64) {
        self.clock.advance(seconds);
        for replica in [&self.a, &self.b] {
            replica.governance.refresh().await.unwrap();
        }
    }

    /// Makes the catalogue what `state` says.
    pub(super) async fn apply(&self, state: &str) {
        let desired = desired_state::read("state.toml", state).unwrap();
        let random = SystemRandom::new();
        let trail = self.a.governance.trail();
        let recorder = Recorder { trail, clock: &*self.clock, random: &random };
        let options = Options { prune: true, ..Options::default() };
        desired_state::apply(&self.a.store, &recorder, &desired, options).await.unwrap();
    }

    /// Makes these the organisation's settings of the scanners, on both replicas.
    pub(super) async fn scanners(&self, settings: &str) {
        self.apply(&format!("{STATE}\n[scanners]\n{settings}")).await;
        self.later(0).await;
    }

    pub(super) fn caller(&self, name: &str) -> Caller {
        let email = format!("{name}@example.com");
        let user = self.a.governance.snapshot().user_by_email(&email).unwrap().clone();
        Caller::new(user, AuthMethod::ApiKey, "test")
    }

    pub(super) fn origin(&self, face: Face) -> Origin {
        let governance = &self.a.governance;
        Origin {
            call: CallId(governance.next_id(governance.clock().now())),
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client_name: Some("test".into()),
            face,
        }
    }

    /// Performs an operation as that person, on replica a, as a face would.
    pub(super) async fn perform(
        &self,
        name: &str,
        face: Face,
        operation: &str,
        arguments: Value,
    ) -> Result<Value, Refused> {
        self.perform_from(name, &self.origin(face), operation, arguments).await
    }

    pub(super) async fn perform_from(
        &self,
        name: &str,
        origin: &Origin,
        operation: &str,
        arguments: Value,
    ) -> Result<Value, Refused> {
        let operation = (spec(operation).unwrap().read)(arguments)?;
        let caller = self.caller(name);
        let answer = self.a.governance.perform(&caller, origin, operation).await?;
        Ok(answer.value)
    }

    /// Performs an operation as the operator.
    pub(super) async fn operate(&self, operation: Operation) -> Result<Answer, Refused> {
        let origin = self.a.governance.command_line_origin();
        self.a.governance.perform(&command_line(), &origin, operation).await
    }

    /// A new API key of that person.
    pub(super) async fn key(&self, name: &str) -> (String, String) {
        let arguments = json!({"user": format!("{name}@example.com"), "name": "t"});
        let operation = (spec("create_api_key").unwrap().read)(arguments).unwrap();
        let value = self.operate(operation).await.unwrap().value;
        let text = |member: &str| value[member].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }

    /// Every audit row of an exchange, once everything is written.
    pub(super) async fn rows(&self, call: CallId) -> Vec<EventEntry> {
        let filter = EventFilter { correlation_id: Some(call), ..EventFilter::default() };
        self.all_rows(&filter).await
    }

    pub(super) async fn all_rows(&self, filter: &EventFilter) -> Vec<EventEntry> {
        for replica in [&self.a, &self.b] {
            assert!(replica.governance.trail().flush(Duration::from_secs(10)).await);
        }
        self.a.store.list_events(filter, None, 200).await.unwrap().events
    }

    pub(super) fn binding(&self, name: &str, arguments: &str) -> Binding {
        let server = self.a.governance.snapshot().server("tickets").unwrap().id;
        let caller = self.caller(name);
        let confirmations = self.a.governance.confirmations();
        confirmations.binding(&caller, server, Target::Tool("pay"), [7; 32], arguments)
    }

    /// A call of that person's which waits for these approvers.
    pub(super) fn waiting(&self, name: &str, approvers: &[&str]) -> NewConfirmation {
        NewConfirmation {
            binding: self.binding(name, "{}"),
            user: self.caller(name).user.id,
            server: self.a.governance.snapshot().server("tickets").unwrap().id,
            target: "tool:pay".into(),
            demand: demand(approvers),
            call: CallId(Uuid::new_v4()),
            arguments: Some("{}".into()),
        }
    }
}

pub(super) fn demand(approvers: &[&str]) -> Demand {
    let approver = |name: &&str| Approver::try_from((*name).to_owned()).unwrap();
    Demand {
        policies: vec![],
        message: "really?".into(),
        approvers: approvers.iter().map(approver).collect(),
    }
}

pub(super) fn circumstances() -> Circumstances {
    Circumstances {
        client: String::new(),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: Timestamp::now_utc(),
    }
}

async fn replica(
    postgres: &PrivatePostgres,
    spool: &Scratch,
    (clock, upstreams): (&Arc<MovedClock>, &Arc<Fake>),
    (settings, fetch, mail): (&GovernanceSettings, &Arc<dyn Fetch>, &Option<Arc<dyn Mail>>),
) -> Replica {
    let store = Store::open(&StoreSettings {
        url: Some(postgres.url(None).into()),
        migrate_url: None,
        data_dir: spool.0.clone(),
        migrate: true,
        max_connections: 8,
        acquire_timeout: Duration::from_secs(5),
    })
    .await
    .unwrap();
    let trail_clock = Arc::new(crate::SystemClock);
    let trail = TrailSettings::new(Uuid::new_v4(), spool.0.clone(), [7; 32], trail_clock);
    let shutdown = CancellationToken::new();
    let parts = Parts {
        store: store.clone(),
        trail: Trail::start(&store, trail).await.unwrap(),
        settings: settings.clone(),
        upstreams: upstreams.clone(),
        fetch: Arc::clone(fetch),
        mail: mail.clone(),
        scanner: None,
        clock: clock.clone(),
        random: Arc::new(SystemRandom::new()),
    };
    let governance = Governance::start(parts, shutdown.clone()).await.unwrap();
    Replica { governance, store, shutdown }
}

/// Asks again until it is so; fails after ten seconds.
pub(super) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("gateway-governance-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
