//! For the tests of the faces: a real governance on a real Postgres, with a small organisation. Bob may use the
//! server `tickets`, Carol may not, Alice is its security and IT administrator; upstreams are faked.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::credential::Credential;
use gateway_core::decision::{Approver, Demand, Target};
use gateway_core::ids::{CallId, ConfirmationId, ConnectionId, SessionId, VaultKeyId};
use gateway_core::keys::RootKey;
use gateway_core::mcp::Listing;
use gateway_core::server::{Eras, Server};
use gateway_governance::confirmations::NewConfirmation;
use gateway_governance::operations::access_requests::RequestAccess;
use gateway_governance::operations::agent_accounts::CreateAgentAccount;
use gateway_governance::operations::api_keys::CreateApiKey;
use gateway_governance::operations::delegations::CreateDelegation;
use gateway_governance::operations::groups::CreateGroup;
use gateway_governance::operations::policies::CreatePolicy;
use gateway_governance::{
    Face, Fetch, Governance, GovernanceSettings, Offline, Operation, Origin, Parts, Probed,
    ServerSettings, SignInSettings, SystemClock, SystemRandom, Unread, Upstreams, command_line,
    desired_state,
};
use gateway_store::audit::{Trail, TrailSettings};
use gateway_store::connection::StoredConnection;
use gateway_store::oauth_session::StoredSession;
use gateway_store::private_postgres::PrivatePostgres;
use gateway_store::vault::{Sealed, StoredVaultKey};
use gateway_store::{Store, StoreSettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const STATE: &str = r#"
[[groups]]
name = "engineering"
[[users]]
email = "alice@example.com"
name = "Alice"
roles = ["security_admin", "it_admin", "analytics_admin"]
[[users]]
email = "bob@example.com"
name = "Bob"
groups = ["engineering"]
[[users]]
email = "carol@example.com"
name = "Carol"
[[servers]]
slug = "tickets"
url = "http://127.0.0.1:9/mcp"
[[policies]]
name = "engineers use tickets"
effect = "allow"
principals = ["group:engineering"]
server = "tickets"
"#;

/// The provisioning system's.
pub(crate) const SCIM_TOKEN: &str = "scim-Zk3v0Qw8Jr5tYx2Lb7Nc1Md4Hf6Gs9Pa";

/// An organisation behind a gateway.
pub(crate) struct Organisation {
    pub(crate) governance: Arc<Governance>,
    store: Store,
    _postgres: PrivatePostgres,
    _spool: Scratch,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Person {
    Admin,
    User,
    Other,
}

impl Person {
    fn email(self) -> &'static str {
        match self {
            Person::Admin => "alice@example.com",
            Person::User => "bob@example.com",
            Person::Other => "carol@example.com",
        }
    }
}

/// A policy under a name of its own.
pub(crate) fn a_policy() -> Value {
    json!({
        "name": format!("policy {}", Uuid::new_v4()), "effect": "deny", "principals": ["everyone"],
        "server": "tickets", "tools": ["drop_*"]
    })
}

impl Organisation {
    /// A new one, on a Postgres of its own.
    pub(crate) async fn start() -> Organisation {
        Organisation::reaching(Arc::new(Offline)).await
    }

    /// One that reaches other hosts that way.
    pub(crate) async fn reaching(fetch: Arc<dyn Fetch>) -> Organisation {
        Organisation::with(fetch, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn with(
        fetch: Arc<dyn Fetch>,
        change: impl FnOnce(&mut GovernanceSettings),
    ) -> Organisation {
        let postgres = PrivatePostgres::throwaway(&std::env::temp_dir()).await.unwrap();
        let spool = Scratch::new();
        let store = Store::open(&StoreSettings {
            url: Some(postgres.url(None).into()),
            migrate_url: None,
            data_dir: spool.0.clone(),
            migrate: true,
            max_connections: 5,
            acquire_timeout: Duration::from_secs(5),
        })
        .await
        .unwrap();
        let clock = Arc::new(SystemClock);
        let settings = TrailSettings::new(Uuid::new_v4(), spool.0.clone(), [7; 32], clock.clone());
        let trail = Trail::start(&store, settings).await.unwrap();
        let random = Arc::new(SystemRandom::new());
        let desired = desired_state::read("state.toml", STATE).unwrap();
        let recorder = desired_state::Recorder { trail: &trail, clock: &*clock, random: &*random };
        let options = desired_state::Options::default();
        desired_state::apply(&store, &recorder, &desired, options).await.unwrap();
        let root =
            RootKey::new(&std::array::from_fn::<u8, 32, _>(|i| (i * 37 + 11) as u8)).unwrap();
        let url = "https://mcp.example.com".parse().unwrap();
        let mut settings = GovernanceSettings {
            scim_token: Some(SCIM_TOKEN.into()),
            sign_in: SignInSettings { local: true, ..SignInSettings::default() },
            servers: ServerSettings { probe: Duration::ZERO, ..ServerSettings::default() },
            ..GovernanceSettings::new(root, url)
        };
        change(&mut settings);
        let parts = Parts {
            store: store.clone(),
            trail,
            settings,
            upstreams: Arc::new(Fake),
            fetch,
            mail: None,
            scanner: None,
            clock,
            random,
        };
        let governance = Governance::start(parts, CancellationToken::new()).await.unwrap();
        Organisation { governance, store, _postgres: postgres, _spool: spool }
    }

    /// A new API key of that person.
    pub(crate) async fn key(&self, person: Person) -> String {
        self.new_key(person).await["key"].as_str().unwrap().to_owned()
    }

    /// The id of another.
    pub(crate) async fn key_id(&self, person: Person) -> String {
        self.new_key(person).await["id"].as_str().unwrap().to_owned()
    }

    /// The name of a new group.
    pub(crate) async fn group(&self) -> String {
        let name = format!("group-{}", Uuid::new_v4());
        let create = CreateGroup { name: name.clone(), confirm: Some(true), ..Default::default() };
        let origin = self.governance.command_line_origin();
        let operation = Operation::CreateGroup(create);
        self.governance.perform(&command_line(), &origin, operation).await.unwrap();
        name
    }

    async fn new_key(&self, person: Person) -> serde_json::Value {
        let create = CreateApiKey { user: Some(person.email().into()), ..CreateApiKey::default() };
        let origin = self.governance.command_line_origin();
        let operation = Operation::CreateApiKey(CreateApiKey { confirm: Some(true), ..create });
        self.governance.perform(&command_line(), &origin, operation).await.unwrap().value
    }

    /// That person, signed in.
    pub(crate) fn caller(&self, person: Person) -> Caller {
        let user = self.governance.snapshot().user_by_email(person.email()).unwrap().clone();
        Caller::new(user, AuthMethod::ApiKey, "test")
    }

    /// The name of a new agent account of Bob's.
    pub(crate) async fn agent(&self) -> String {
        let create = CreateAgentAccount {
            name: format!("agent-{}", Uuid::new_v4()),
            owner: Some(Person::User.email().into()),
            confirm: Some(true),
            ..CreateAgentAccount::default()
        };
        let origin = self.governance.command_line_origin();
        let operation = Operation::CreateAgentAccount(create);
        let made = self.governance.perform(&command_line(), &origin, operation).await.unwrap();
        made.value["name"].as_str().unwrap().to_owned()
    }

    /// The id of a new policy.
    pub(crate) async fn policy(&self, spec: Value) -> String {
        let create =
            CreatePolicy { spec: serde_json::from_value(spec).unwrap(), confirm: Some(true) };
        let origin = self.governance.command_line_origin();
        let operation = Operation::CreatePolicy(create);
        let made = self.governance.perform(&command_line(), &origin, operation).await.unwrap();
        made.value["id"].as_str().unwrap().to_owned()
    }

    /// The id of a new delegation of Bob's.
    pub(crate) async fn delegation(&self) -> String {
        let agent = self.agent().await;
        let create = CreateDelegation { agent, confirm: Some(true), ..CreateDelegation::default() };
        let (caller, origin) = (self.caller(Person::User), self.origin(Face::Rest));
        let operation = Operation::CreateDelegation(create);
        let made = self.governance.perform(&caller, &origin, operation).await.unwrap();
        made.value["id"].as_str().unwrap().to_owned()
    }

    /// The id of a new request of Bob's for access to the server `tickets`.
    pub(crate) async fn access_request(&self) -> String {
        let ask = RequestAccess {
            server_id: "tickets".into(),
            tools: Some(vec![Uuid::new_v4().to_string()]),
            reason: "on call".into(),
            ..RequestAccess::default()
        };
        let (caller, origin) = (self.caller(Person::User), self.origin(Face::Rest));
        let operation = Operation::RequestAccess(ask);
        let made = self.governance.perform(&caller, &origin, operation).await.unwrap();
        made.value["id"].as_str().unwrap().to_owned()
    }

    /// The id of a new session of Bob's with some client.
    pub(crate) async fn session(&self) -> String {
        let now = self.governance.clock().now();
        let session = StoredSession {
            id: SessionId(self.governance.next_id(now)),
            user: self.caller(Person::User).user.id,
            client_id: "client".into(),
            client_name: "A client".into(),
            resource: "https://mcp.example.com".into(),
            scope: "mcp:proxy".into(),
            created_at: now,
            expires_at: now + time::Duration::HOUR,
        };
        self.store.start_session(&session).await.unwrap();
        session.id.to_string()
    }

    /// Where a tool call of theirs comes from.
    pub(crate) fn origin(&self, face: Face) -> Origin {
        Origin {
            call: CallId(self.governance.next_id(self.governance.clock().now())),
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client_name: Some("test".into()),
            face,
        }
    }

    /// Bob's account at the server `tickets`; nobody here can open its tokens.
    pub(crate) async fn connected(&self) {
        let now = self.governance.clock().now();
        let key = VaultKeyId(Uuid::from_u128(1));
        let wrapped = String::new();
        let stored = StoredVaultKey { id: key, wrapped, created_at: now, retired_at: None };
        self.store.first_vault_key(&stored).await.unwrap();
        let connection = StoredConnection {
            id: ConnectionId(Uuid::new_v4()),
            server: self.governance.snapshot().server("tickets").unwrap().id,
            user: self.caller(Person::User).user.id,
            issuer: "https://as.example.com".into(),
            scope: String::new(),
            sealed: Sealed { key, text: String::new() },
            expires_at: None,
            connected_at: now,
            refreshed_at: now,
            broken: None,
        };
        self.store.connect(&connection).await.unwrap();
    }

    /// The hash of a definition of one of the tools of `tickets`.
    pub(crate) async fn definition(&self) -> String {
        let tickets = self.governance.snapshot().server("tickets").unwrap().clone();
        let known = self.governance.learn(&tickets, None, &self.caller(Person::Admin)).await;
        let known = known.unwrap();
        let pin = known.server("tickets").unwrap().tool("close_ticket").unwrap().pin;
        URL_SAFE_NO_PAD.encode(pin)
    }

    /// A call of Bob's that waits for `approver`.
    pub(crate) async fn waiting(&self, arguments: &str, approver: Approver) -> ConfirmationId {
        let bob = self.caller(Person::User);
        let server = self.governance.snapshot().server("tickets").unwrap().id;
        let confirmations = self.governance.confirmations();
        let target = Target::Tool("close_ticket");
        let new = NewConfirmation {
            binding: confirmations.binding(&bob, server, target, [0; 32], arguments),
            user: bob.user.id,
            server,
            target: "tool:close_ticket".into(),
            demand: Demand {
                policies: vec![],
                message: "Closing is final".into(),
                approvers: vec![approver],
            },
            call: CallId(Uuid::new_v4()),
            arguments: Some(arguments.into()),
        };
        confirmations.request(new).await.unwrap().id
    }
}

/// Upstreams that have one tool, one resource and one prompt each.
struct Fake;

#[async_trait]
impl Upstreams for Fake {
    async fn probe(&self, _server: &Server, _credential: &Credential) -> Result<Probed, Unread> {
        let tool = r#"{"name":"close_ticket","inputSchema":{"type":"object"}}"#;
        Ok(Probed { eras: Eras { legacy: true, modern: true }, tools: vec![tool.into()] })
    }

    async fn ping(&self, _server: &Server, _credential: &Credential) -> Result<(), Unread> {
        Ok(())
    }

    async fn reachable(&self, _url: &str) -> Result<(), Unread> {
        Ok(())
    }

    async fn list(
        &self,
        _server: &Server,
        listing: Listing,
        _caller: &Caller,
        _credential: &Credential,
    ) -> Result<Vec<String>, Unread> {
        let item = match listing {
            Listing::Tools => r#"{"name":"close_ticket","inputSchema":{"type":"object"}}"#,
            Listing::Resources => r#"{"uri":"tickets://1","name":"one"}"#,
            Listing::ResourceTemplates => r#"{"uriTemplate":"tickets://{id}","name":"any"}"#,
            Listing::Prompts => r#"{"name":"triage"}"#,
        };
        Ok(vec![item.into()])
    }
}

/// A directory that goes with the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("gateway-control-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
