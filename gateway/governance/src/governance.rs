//! [`Governance`]: everything that decides, in one value that both planes share.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, Role, User};
use gateway_core::decision::{Circumstances, Target, Verdict};
use gateway_core::ids::{CallId, ServerId, UserId};
use gateway_core::keys::{Purpose, RootKey};
use gateway_core::reason::Reason;
use gateway_core::seal::Sealer;
use gateway_core::server::Server;
use gateway_core::{Clock, Timestamp};
use gateway_store::Store;
use gateway_store::audit::Trail;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::confirmations::Confirmations;
use crate::connections::{Connections, Ground, Unconnected};
use crate::decide::{Attempt, Decider};
use crate::flow::Flow;
use crate::grants::Grants;
use crate::health::Watcher;
use crate::identity::{Identity, Presented, Unidentified};
use crate::learn::Learner;
use crate::limits::Limits;
use crate::notices::{Notices, Ways};
use crate::oauth::AuthorizationServer;
use crate::perform::{Face, Origin};
use crate::ports::{Fetch, Mail, Random, Scanner, Upstreams, uuid7};
use crate::refresh::{Current, RefreshError};
use crate::settings::GovernanceSettings;
use crate::sign_in::SignIn;
use crate::snapshot::Snapshot;
use crate::tool_list::{Follower, Seen, Silence, ToolListGuard, Unheard};
use crate::vault::{Vault, VaultError};

/// Governance did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The first snapshot.
    #[error("the catalogue cannot be read: {0}")]
    Catalogue(#[from] RefreshError),
    /// The vault.
    #[error("keys.vault_file: {0}")]
    Vault(#[from] VaultError),
}

/// What governance is made of.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The audit trail.
    pub trail: Trail,
    /// What stays the same while the gateway runs.
    pub settings: GovernanceSettings,
    /// The way to upstream servers.
    pub upstreams: Arc<dyn Upstreams>,
    /// The way to issuers of tokens.
    pub fetch: Arc<dyn Fetch>,
    /// The way to people's mailboxes, if there is one.
    pub mail: Option<Arc<dyn Mail>>,
    /// The organisation's own scanner, if there is one.
    pub scanner: Option<Arc<dyn Scanner>>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// Everything that decides. Shared; lives as long as the gateway.
pub struct Governance {
    pub(crate) settings: GovernanceSettings,
    pub(crate) store: Store,
    pub(crate) current: Arc<Current>,
    pub(crate) upstreams: Arc<dyn Upstreams>,
    pub(crate) cursors: Sealer,
    trail: Trail,
    identity: Arc<Identity>,
    decider: Decider,
    learner: Arc<Learner>,
    tool_list: Arc<ToolListGuard>,
    pub(crate) watcher: Arc<Watcher>,
    confirmations: Confirmations,
    pub(crate) notices: Arc<Notices>,
    connections: Arc<Connections>,
    limits: Arc<Limits>,
    flow: Arc<Flow>,
    scanner: Option<Arc<dyn Scanner>>,
    oauth: Arc<AuthorizationServer>,
    sign_in: SignIn,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Governance {
    /// Loads the first snapshot and keeps it current until `shutdown`.
    pub async fn start(
        parts: Parts,
        shutdown: CancellationToken,
    ) -> Result<Arc<Governance>, StartError> {
        let Parts { store, trail, settings, upstreams, fetch, mail, scanner, clock, random } =
            parts;
        let current = Current::start(store.clone(), Arc::clone(&clock), &settings).await?;
        let current = Arc::new(current);
        let sign_in = SignIn::new(
            (store.clone(), Arc::clone(&current), trail.clone()),
            (Arc::clone(&clock), Arc::clone(&random), Arc::clone(&fetch)),
            &settings,
        );
        let identity = Identity::new(&settings, Arc::clone(&fetch), Arc::clone(&clock));
        let identity = Arc::new(identity.following(Arc::clone(&current)));
        let time_and_chance = (Arc::clone(&clock), Arc::clone(&random));
        let oauth = Arc::new(AuthorizationServer::new(
            settings.clone(),
            (store.clone(), trail.clone()),
            (Arc::clone(&current), Arc::clone(identity.own())),
            Arc::clone(&fetch),
            time_and_chance.clone(),
        ));
        let notices = Arc::new(Notices::new(
            (store.clone(), trail.clone()),
            Ways { fetch: Arc::clone(&fetch), mail },
            time_and_chance.clone(),
            &settings,
        ));
        let vault = Vault::open(store.clone(), &settings.vault, time_and_chance).await?;
        let connections = Arc::new(Connections::new(Ground {
            store: store.clone(),
            trail: trail.clone(),
            vault,
            fetch,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            current: Arc::clone(&current),
            signer: oauth.clone(),
            root: settings.root_key.clone(),
            public_url: settings.public_url.as_str().trim_end_matches('/').to_owned(),
        }));
        let (learner, suspects) = Learner::new(
            (store.clone(), trail.clone()),
            Arc::clone(&upstreams),
            Arc::clone(&connections),
            (Arc::clone(&clock), Arc::clone(&random)),
            Arc::clone(&current),
        );
        let learner = Arc::new(learner);
        let watcher = Arc::new(Watcher::new(
            (store.clone(), trail.clone()),
            Arc::clone(&upstreams),
            (Arc::clone(&connections), Arc::clone(&learner), Arc::clone(&current)),
            (Arc::clone(&clock), Arc::clone(&random)),
            &settings,
        ));
        let confirmations = Confirmations::new(
            store.clone(),
            trail.clone(),
            (Arc::clone(&clock), Arc::clone(&random)),
            (Arc::clone(&current), Arc::clone(&notices)),
            settings.confirmation_lifetime,
        );
        let limits = Arc::new(Limits::new(store.clone(), Arc::clone(&clock)));
        let flow = Arc::new(Flow::new(store.clone(), Arc::clone(&clock), settings.flow));
        let finding_key = settings.root_key.derive(Purpose::Finding);
        let (tool_list, sightings) = ToolListGuard::new(finding_key);
        let governance = Arc::new(Governance {
            cursors: Sealer::new(&settings.root_key.derive(Purpose::Cursor)),
            decider: Decider::new(),
            tasks: Mutex::default(),
            settings,
            store,
            current,
            upstreams,
            trail,
            identity,
            learner,
            tool_list,
            watcher,
            confirmations,
            notices,
            connections,
            limits,
            flow,
            scanner,
            oauth,
            sign_in,
            clock,
            random,
        });
        governance.keep_sightings(sightings, shutdown.clone());
        governance.follow(suspects, shutdown);
        Ok(governance)
    }

    fn follow(
        self: &Arc<Self>,
        suspects: tokio::sync::mpsc::Receiver<(ServerId, Option<Caller>)>,
        shutdown: CancellationToken,
    ) {
        let (current, settings) = (Arc::clone(&self.current), self.settings.clone());
        let (learner, identity) = (Arc::clone(&self.learner), Arc::clone(&self.identity));
        let (oauth, limits) = (Arc::clone(&self.oauth), Arc::clone(&self.limits));
        let watcher = Arc::clone(&self.watcher);
        let notices = Arc::clone(&self.notices);
        let flow = Arc::clone(&self.flow);
        let grants = self.grants();
        let [following, learning, keeping, counting] = [(); 4].map(|()| shutdown.clone());
        let [watching, telling, ending, noting] = [(); 4].map(|()| shutdown.clone());
        let forgetting = shutdown.clone();
        let (uses, store) = (Arc::clone(identity.uses()), self.store.clone());
        let poll = self.settings.poll;
        let mut tasks = vec![
            tokio::spawn(async move { current.follow(&settings, following).await }),
            tokio::spawn(async move { learner.follow(suspects, learning).await }),
            tokio::spawn(async move { identity.follow(keeping).await }),
            tokio::spawn(async move { limits.follow(counting).await }),
            tokio::spawn(async move { oauth.follow(shutdown).await }),
        ];
        if self.settings.serves {
            self.prepare_scanners();
            tasks.push(tokio::spawn(async move { uses.follow(store, noting).await }));
            tasks.push(tokio::spawn(async move { watcher.follow(watching).await }));
            tasks.push(tokio::spawn(async move { flow.follow(forgetting).await }));
            tasks.push(tokio::spawn(async move { notices.follow(telling).await }));
            tasks.push(tokio::spawn(async move { grants.follow(poll, ending).await }));
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
    }

    /// Compiles the rules that the scanners need now, which otherwise the first calls wait for. Unoptimised it would take
    /// longer than most tests.
    fn prepare_scanners(&self) {
        let snapshot = self.current.snapshot();
        if !cfg!(debug_assertions) {
            tokio::task::spawn_blocking(move || snapshot.scanners.prepare());
        }
    }

    fn keep_sightings(
        &self,
        sightings: tokio::sync::mpsc::Receiver<Seen>,
        shutdown: CancellationToken,
    ) {
        let follower = Follower {
            guard: Arc::clone(&self.tool_list),
            store: self.store.clone(),
            trail: self.trail.clone(),
            current: Arc::clone(&self.current),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
        };
        let keeping = tokio::spawn(async move { follower.follow(sightings, shutdown).await });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(keeping);
    }

    /// What ends grants.
    pub(crate) fn grants(&self) -> Grants {
        Grants {
            store: self.store.clone(),
            trail: self.trail.clone(),
            clock: Arc::clone(&self.clock),
            current: Arc::clone(&self.current),
            notices: Arc::clone(&self.notices),
        }
    }

    /// Waits for the background tasks, after the token given to [`Governance::start`] was cancelled.
    pub async fn stopped(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A panicked task was reported when it panicked.
            let _ = task.await;
        }
    }

    /// The catalogue as it is now. Take it once per exchange.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.snapshot()
    }

    /// False when the snapshot could not be confirmed for too long: then everything is refused with
    /// [`Reason::CatalogueStale`].
    pub fn is_fresh(&self) -> bool {
        self.current.is_fresh()
    }

    /// Reads the catalogue now; for those who just changed it.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, RefreshError> {
        self.current.refresh().await
    }

    /// Who presents these credentials.
    pub async fn identify(&self, presented: Presented<'_>) -> Result<Caller, Unidentified> {
        if !self.is_fresh() {
            let detail = "the catalogue could not be refreshed in time";
            return Err(Unidentified::new(Reason::CatalogueStale, detail));
        }
        self.identity.identify(&self.snapshot(), presented).await
    }

    /// May it pass? Of a call on somebody's behalf: may both? Never errs; what cannot be evaluated is
    /// denied.
    pub fn decide(&self, snapshot: &Snapshot, caller: &Caller, attempt: &Attempt<'_>) -> Verdict {
        self.decider.decide(snapshot, caller, attempt)
    }

    /// Whether a listing shows `target`: if and only if some call of it could pass.
    pub fn listed(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        server: &Server,
        target: Target<'_>,
        circumstances: &Circumstances,
    ) -> bool {
        self.decider.listed(snapshot, caller, (server, target), circumstances)
    }

    /// Whether the caller may do anything on the server now, and on somebody's behalf has their leave for
    /// it. False: it must look absent.
    pub fn may_enter(&self, snapshot: &Snapshot, caller: &Caller, server: &Server) -> bool {
        snapshot.has_leave(caller, Some(server.id), self.clock.now())
            && self.decider.enters(snapshot, caller, server)
    }

    /// Reads a server's eras and tools now (shared among those who ask, at most once a second), stores
    /// them, and gives the snapshot that knows them. With `tool`: unless that tool is known by now. An error
    /// where the caller has no credential for it.
    pub async fn learn(
        &self,
        server: &Server,
        tool: Option<&str>,
        caller: &Caller,
    ) -> Result<Arc<Snapshot>, Unconnected> {
        self.learner.learn(server, tool, Some(caller)).await
    }

    /// A server said that its listings changed, or showed `caller` what is not known: it is read again soon.
    pub fn suspect(&self, server: ServerId, caller: &Caller) {
        self.learner.suspect(server, caller);
    }

    /// A server that only its callers can read is read again soon, if that is long ago.
    pub fn keep_learned(&self, server: &Server, caller: &Caller) {
        self.learner.suspect_if_old(server, caller, self.settings.refresh);
    }

    /// What looks at definitions before they are shown.
    pub fn tool_list(&self) -> &ToolListGuard {
        &self.tool_list
    }

    /// Has the organisation's own scanner read definitions, for that call and method.
    pub async fn hear(
        &self,
        unheard: Unheard,
        call: CallId,
        method: Option<&str>,
    ) -> Result<(), Silence> {
        self.tool_list.hear(self.scanner(), (call, method), unheard).await
    }

    /// Credentials towards upstream servers.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Makes a new data key for the vault and seals everything with it; gives how many rows that were.
    pub async fn rotate_vault(&self) -> Result<u64, VaultError> {
        self.connections.vault.rotate().await
    }

    /// People's agreements to calls.
    pub fn confirmations(&self) -> &Confirmations {
        &self.confirmations
    }

    /// Limits on calls.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The organisation's own scanner, if there is one.
    pub fn scanner(&self) -> Option<&dyn Scanner> {
        self.scanner.as_deref()
    }

    /// The flow rule.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Ends the MCP session whose handle has that SHA-256, on every replica; `until`: when the handle expires. This
    /// replica knows of it when it returns.
    pub async fn end_session(&self, hash: &[u8; 32], until: Timestamp) -> Result<(), RefreshError> {
        self.store.end_mcp_session(hash, until).await?;
        self.refresh().await.map(drop)
    }

    /// The authorization server.
    pub fn oauth(&self) -> &AuthorizationServer {
        &self.oauth
    }

    /// People's sign-in, and the browsers in which they are signed in.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// The audit trail.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The present.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Randomness.
    pub fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// The root key, for purposes of other floors.
    pub fn root_key(&self) -> &RootKey {
        &self.settings.root_key
    }

    /// Where clients reach the gateway.
    pub fn public_url(&self) -> &url::Url {
        &self.settings.public_url
    }

    /// A new UUIDv7 of that instant.
    pub fn next_id(&self, at: Timestamp) -> Uuid {
        uuid7(at, &*self.random)
    }

    /// The governed URL of a server, as clients use it.
    pub fn proxy_url(&self, server: ServerId) -> String {
        let base = self.settings.public_url.as_str().trim_end_matches('/');
        format!("{base}/api/v1/proxy/{server}/mcp")
    }

    /// The origin of an operation that an operator performs on the command line.
    pub fn command_line_origin(&self) -> Origin {
        Origin {
            call: CallId(self.next_id(self.clock.now())),
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client_name: None,
            face: Face::CommandLine,
        }
    }
}

/// The operator who runs a command next to the configuration and the root key: whoever can do that holds
/// every right already. Nobody on the network can become this caller.
pub fn command_line() -> Caller {
    let user = User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::nil()),
        email: String::new(),
        name: "command line".into(),
        roles: vec![Role::SuperAdmin],
        groups: vec![],
        attributes: Default::default(),
        active: true,
    };
    Caller::new(Arc::new(user), AuthMethod::CommandLine, "operator")
}
