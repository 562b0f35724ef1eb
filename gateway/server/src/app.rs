//! Builds the gateway from its configuration, runs it, and takes it down again. The only place that knows
//! every part. Several may run in one process (tests, the demo): nothing here is global.
//!
//! `dispatch` sends each exchange to its face, `settings` translates the configuration for each floor.

mod dispatch;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Clock;
use gateway_core::keys::RootKey;
use gateway_core::located::Problem;
use gateway_governance::{
    Fetch, Governance, GovernanceSettings, Mail, Offline, Parts, Random, Scanner, SystemClock,
    SystemRandom, Upstreams,
};
use gateway_store::audit::Trail;
use gateway_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::{Config, read_root_key, read_vault_keys};
use crate::control::health::{Admin, Health};
use crate::control::metadata::Metadata;
use crate::control::oauth::Oauth;
use crate::control::pages::Pages;
use crate::control::rest::Rest;
use crate::control::scim::Scim;
use crate::control::tools;
use crate::edge::Edge;
use crate::proxy::Proxy;
use crate::proxy::plumbing::{Plumbing, StartError};
use crate::telemetry::Load;
use crate::upstream::{Guard, Leg};
use dispatch::{Dispatch, Faces};
pub(crate) use settings::store as store_settings;

/// How long the last records may take to reach Postgres when the gateway stops; after that they are in
/// the spool on disk.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// The gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration names something that is not usable.
    #[error(transparent)]
    Config(#[from] Problem),
    /// The database.
    #[error("database: {0}")]
    Store(#[from] StoreError),
    /// The clients' listener.
    #[error("server.listen: {0}")]
    Listen(#[from] StartError),
    /// The admin listener.
    #[error("server.admin_listen: cannot listen on {0}: {1}")]
    Admin(SocketAddr, std::io::Error),
    /// The first snapshot, or the vault.
    #[error(transparent)]
    Governance(#[from] gateway_governance::StartError),
}

/// What serves and what commands use alike: the database, the trail, and what decides.
pub struct Base {
    /// The database.
    pub store: Store,
    /// The audit trail.
    pub trail: Trail,
    /// What decides.
    pub governance: Arc<Governance>,
    shutdown: CancellationToken,
}

/// How far it reaches.
struct Reach {
    upstreams: Arc<dyn Upstreams>,
    fetch: Arc<dyn Fetch>,
    mail: Option<Arc<dyn Mail>>,
    scanner: Option<Arc<dyn Scanner>>,
    serves: bool,
}

impl Base {
    /// Opens everything for a command that reaches no upstream.
    pub async fn offline(config: &Config) -> Result<Base, AppError> {
        let root = root_key(config)?;
        let public_url = config.server.public_url.clone();
        let reach = Reach {
            upstreams: Arc::new(Offline),
            fetch: Arc::new(Offline),
            mail: None,
            scanner: None,
            serves: false,
        };
        Base::open(config, root, public_url, reach).await
    }

    async fn open(
        config: &Config,
        root: RootKey,
        public_url: Url,
        reach: Reach,
    ) -> Result<Base, AppError> {
        let Reach { upstreams, fetch, mail, scanner, serves } = reach;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
        let vault = read_vault_keys(&config.keys, &root)?;
        let settings = settings::governance(config, root.clone(), vault, public_url)?;
        let store = Store::open(&settings::store(config)).await?;
        let trail_settings = settings::trail(config, &root, clock.clone(), &*random);
        let trail = Trail::start(&store, trail_settings).await?;
        let shutdown = CancellationToken::new();
        let parts = Parts {
            store: store.clone(),
            trail: trail.clone(),
            settings: GovernanceSettings { serves, ..settings },
            upstreams,
            fetch,
            mail,
            scanner,
            clock,
            random,
        };
        let governance = Governance::start(parts, shutdown.clone()).await?;
        Ok(Base { store, trail, governance, shutdown })
    }

    /// Writes what is queued and closes the database.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.governance.stopped().await;
        if !self.trail.flush(FLUSH_WITHIN).await {
            tracing::warn!("the last audit records wait in the spool");
        }
        self.trail.stop().await;
        self.store.close().await;
    }
}

/// A running gateway.
pub struct App {
    base: Base,
    dispatch: Arc<Dispatch>,
    plumbing: Plumbing,
    admin: Admin,
    health: Arc<Health>,
    public_url: Url,
    notice: Duration,
    drain: Duration,
}

impl App {
    /// Starts everything; when it returns, the gateway answers.
    pub async fn start(config: Config) -> Result<App, AppError> {
        // A second one in the same process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = root_key(&config)?;
        let guard = Arc::new(Guard::new(config.egress.allow_cidrs.clone()));
        // Bound first: the address is known, and a taken one is told, before anything else happens.
        // Until the faces are there, everything is refused with 503.
        let dispatch = Arc::new(Dispatch::new());
        let plumbing = Plumbing::start(
            &settings::listen(&config),
            settings::plumbing(&config),
            dispatch.clone(),
        )?;
        let public_url = settings::public_url(&config, plumbing.address());
        guard.forbid(plumbing.address());
        settings::forbid_database(&config, &guard).await;
        let leg = Arc::new(Leg::new(guard.clone(), settings::leg(&config)));
        let reach = Reach {
            upstreams: leg.clone(),
            fetch: leg.clone(),
            mail: settings::mail(&config, &guard),
            scanner: settings::scanner(&config, &guard),
            serves: true,
        };
        let base = Base::open(&config, root, public_url.clone(), reach).await?;
        leg.set_local(tools::local(base.governance.clone()));
        dispatch.open(faces(&config, &base, leg.clone(), &public_url, plumbing.address()));
        if config.sign_in.local {
            tracing::warn!(
                "sign_in.local is on: people sign in with passwords and links of the gateway's own, \
                 not with your identity provider; never leave this on where you have one"
            );
        }
        let load = load(&plumbing, &leg, &base.store);
        let health = Arc::new(Health::new(base.store.clone(), base.governance.clone(), load));
        let listen = config.server.admin_listen;
        let admin = Admin::start(listen, health.clone())
            .await
            .map_err(|error| AppError::Admin(listen, error))?;
        guard.forbid(admin.address());
        tracing::info!(
            listen = %plumbing.address(),
            admin = %admin.address(),
            public_url = %public_url,
            "the gateway is up"
        );
        let (notice, drain) = (config.server.notice, config.server.drain);
        Ok(App { base, dispatch, plumbing, admin, health, public_url, notice, drain })
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.plumbing.address()
    }

    /// Health and metrics.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// `server.public_url`, with the port that was bound.
    pub fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// What decides, for tests and the demo.
    pub fn governance(&self) -> &Arc<Governance> {
        &self.base.governance
    }

    /// The database, for tests and the demo.
    pub fn store(&self) -> &Store {
        &self.base.store
    }

    /// Runs until `signal`, then stops.
    pub async fn run_until(self, signal: impl Future<Output = ()>) {
        signal.await;
        tracing::info!("stopping: running calls finish, new ones are refused");
        self.stop().await;
    }

    /// Not ready any more; load balancers get `server.notice` to see that, running calls `server.drain` to finish;
    /// then records are flushed and everything is closed.
    pub async fn stop(self) {
        self.health.drain();
        tokio::time::sleep(self.notice).await;
        self.dispatch.drain();
        if !self.plumbing.drain(self.drain).await {
            tracing::warn!("some calls did not finish in time and were cut");
        }
        self.base.close().await;
        self.admin.stop().await;
        tracing::info!("the gateway has stopped");
    }
}

/// What is scarce: the listener's, the servers', the database's.
fn load(
    plumbing: &Plumbing,
    leg: &Arc<Leg>,
    store: &Store,
) -> impl Fn() -> Load + Send + Sync + use<> {
    let (listener, leg, store) = (plumbing.load(), leg.clone(), store.clone());
    move || {
        let mut load = Load { breakers: leg.breakers(), ..Load::default() };
        listener(&mut load);
        let (calls, all) = leg.used();
        load.pools.push(("upstream", calls, all));
        let (connections, all) = store.pool_use();
        load.pools.push(("database", connections, all));
        load
    }
}

fn faces(
    config: &Config,
    base: &Base,
    leg: Arc<Leg>,
    public_url: &Url,
    bound: SocketAddr,
) -> Faces {
    let governance = base.governance.clone();
    let names = settings::listening_names(bound);
    let edge = Arc::new(Edge::new(public_url, &names, &config.server.allowed_hosts));
    // Ours first: most clients take the first one.
    let own = Some(governance.oauth()).filter(|oauth| oauth.is_enabled());
    let others = config.identity.issuers.iter().map(|issuer| issuer.issuer.clone());
    let metadata = Metadata {
        public_url: edge.public_url().to_owned(),
        issuers: own.map(|oauth| oauth.issuer().to_owned()).into_iter().chain(others).collect(),
    };
    let rest = Rest::new(governance.clone(), metadata);
    let pages = Pages::new(governance.clone());
    let oauth = Oauth::new(governance.clone());
    let scim = Scim::new(governance.clone(), edge.public_url());
    let root = governance.root_key().clone();
    let proxy = Proxy::new(governance, leg, edge.clone(), &root, settings::proxy(config));
    Faces { edge, proxy, rest, oauth, scim, pages }
}

fn root_key(config: &Config) -> Result<RootKey, Problem> {
    read_root_key(&config.keys.root_file)
}
