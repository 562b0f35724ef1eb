//! Looking after servers: whether each one answers, and now and then what it lists.
//!
//! One replica does it for all (an advisory lock, [`gateway_store::server_health::Watch`]): they share what is
//! learned, and one viewpoint does not contradict itself. When a server is due says [`schedule`], which knows no
//! time of its own. Health is measured and decides nothing: a server that fails stays callable.

mod schedule;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use gateway_core::credential::Credential;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_core::server::{Health, HealthStatus, Server, ServerStatus};
use gateway_core::{Clock, Timestamp};
use gateway_store::Store;
use gateway_store::StoreError;
use gateway_store::audit::Trail;
use gateway_store::server_health::Watch;
use tokio_util::sync::CancellationToken;

use crate::connections::Connections;
use crate::learn::Learner;
use crate::ports::{Random, Unread, Upstreams, uuid7};
use crate::refresh::Current;
use crate::settings::GovernanceSettings;
use schedule::{Due, Pace, Schedule, Seen};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_secs(1);
/// How often a replica asks whether the duty is free.
const STAND_BY: Duration = Duration::from_secs(5);
/// Longest wait for a server's answer.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// Servers that are asked at once.
const AT_ONCE: usize = 16;

/// Looks after servers.
pub(crate) struct Watcher {
    store: Store,
    trail: Trail,
    upstreams: Arc<dyn Upstreams>,
    connections: Arc<Connections>,
    learner: Arc<Learner>,
    current: Arc<Current>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pace: Pace,
    schedule: Mutex<Schedule>,
}

impl Watcher {
    pub(crate) fn new(
        (store, trail): (Store, Trail),
        upstreams: Arc<dyn Upstreams>,
        (connections, learner, current): (Arc<Connections>, Arc<Learner>, Arc<Current>),
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
        settings: &GovernanceSettings,
    ) -> Watcher {
        let pace = Pace::new(settings.servers.probe, settings.refresh);
        let schedule = Mutex::default();
        Watcher {
            store,
            trail,
            upstreams,
            connections,
            learner,
            current,
            clock,
            random,
            pace,
            schedule,
        }
    }

    /// Takes over when nobody does it, and then does it, until `shutdown`.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        let mut watch: Option<Watch> = None;
        loop {
            let turn = async {
                if let Some(held) = &mut watch
                    && !held.holds().await
                {
                    watch = None;
                }
                if watch.is_none() {
                    watch = self.take_over().await;
                }
                if watch.is_some() && self.current.is_fresh() {
                    self.round().await;
                }
                tokio::time::sleep(if watch.is_some() { TICK } else { STAND_BY }).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = turn => {}
            }
        }
        if let Some(watch) = watch {
            watch.leave().await;
        }
    }

    async fn take_over(&self) -> Option<Watch> {
        let taken = async {
            let Some(watch) = self.store.watch_servers().await? else { return Ok(None) };
            self.resume().await?;
            Ok::<_, StoreError>(Some(watch))
        };
        match taken.await {
            Ok(watch) => watch,
            Err(error) => {
                tracing::debug!(%error, "nobody could be asked who looks after servers");
                None
            }
        }
    }

    /// Goes on from what was last measured.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        let known = self.store.server_health().await?;
        *self.schedule() = Schedule::resume(known);
        Ok(())
    }

    /// Looks after whatever is due now.
    pub(crate) async fn round(&self) {
        let snapshot = self.current.snapshot();
        let active = snapshot.servers.iter().filter(|s| s.status == ServerStatus::Active);
        let active: Vec<Arc<Server>> = active.cloned().collect();
        let now = self.clock.now();
        let due = self.schedule().due(now, &active, &self.pace, || self.share());
        stream::iter(due).for_each_concurrent(AT_ONCE, |due| self.look_after(due, now)).await;
    }

    async fn look_after(&self, due: Due, now: Timestamp) {
        let Due { server, probe, mut read } = due;
        if probe {
            let started = Instant::now();
            let seen = match self.ask(&server).await {
                Ok(()) => {
                    let took = started.elapsed().as_micros();
                    Seen::Ok { latency_us: i64::try_from(took).unwrap_or(i64::MAX) }
                }
                Err((reason, detail)) => Seen::Failing { reason, detail },
            };
            read |= self.conclude(&server, seen, now).await;
        }
        // One that wants to know who calls is read when one of its callers comes.
        if read && !server.auth.is_personal() && self.schedule().answers(server.id) {
            // What goes wrong there is logged there.
            let _ = self.learner.learn(&server, None, None).await;
        }
    }

    /// Whether it answers, asked as the gateway itself. Who wants to know who calls, and says so, is there.
    async fn ask(&self, server: &Server) -> Result<(), (Reason, String)> {
        let personal = server.auth.is_personal();
        let credential = match personal {
            true => Credential::none(),
            false => self
                .connections
                .credential(None, server)
                .await
                .map_err(|unconnected| (unconnected.reason, unconnected.detail))?,
        };
        let asked = self.upstreams.ping(server, &credential);
        match tokio::time::timeout(PROBE_DEADLINE, asked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unread { refused: Some(_), .. })) if personal => Ok(()),
            Ok(Err(unread)) => Err((unread.reason, unread.detail)),
            Err(_) => Err((Reason::UpstreamTimeout, "no answer in time".to_owned())),
        }
    }

    /// Keeps what was seen, and records a change; true when the server answers again.
    async fn conclude(&self, server: &Server, seen: Seen, now: Timestamp) -> bool {
        let share = self.share();
        let concluded = self.schedule().concluded((server.id, now), seen, &self.pace, share);
        let Some(concluded) = concluded else { return false };
        if concluded.changed {
            self.record(server, &concluded.health, now);
        }
        if concluded.write {
            match self.store.set_server_health(server.id, &concluded.health).await {
                Ok(()) => self.schedule().written(server.id, now),
                Err(error) => {
                    tracing::warn!(server = %server.slug, %error, "a server's health was not kept");
                }
            }
        }
        concluded.changed && concluded.health.status == HealthStatus::Ok
    }

    fn record(&self, server: &Server, health: &Health, now: Timestamp) {
        let id = || uuid7(now, &*self.random);
        let failing = health.status == HealthStatus::Failing;
        let reason = health.reason.as_deref().unwrap_or("none");
        tracing::info!(server = %server.slug, health = health.status.as_str(), reason, "a server's health changed");
        let subject = Subject {
            server_id: Some(server.id),
            server_slug: Some(server.slug.to_string()),
            resource_type: Some("server"),
            resource_name: Some(server.id.to_string()),
            ..Subject::default()
        };
        self.trail.conclude(Event {
            reason: health.reason.as_deref().and_then(Reason::parse),
            detail: Some(match &health.detail {
                Some(detail) => format!("{}: {detail}", health.status.as_str()),
                None => health.status.as_str().to_owned(),
            }),
            upstream_us: health.latency_us.and_then(|us| u64::try_from(us).ok()),
            ..Event::new(
                EventId(id()),
                now,
                CallId(id()),
                subject,
                ActionType::ServerHealthChanged,
                if failing { Outcome::Error } else { Outcome::Ok },
            )
        });
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A random share of one.
    fn share(&self) -> f64 {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}
