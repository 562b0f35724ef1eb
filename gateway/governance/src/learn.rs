//! What upstream servers say about themselves: read when needed, stored for every replica.
//!
//! The regular round is [`crate::health`]'s. One read at a time per server and at most one a second, however many calls ask for it. Policies that
//! select tools by annotation and confirmations that are bound to a definition rest on what is read here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use gateway_core::caller::Caller;
use gateway_core::credential::Credential;
use gateway_core::ids::ServerId;
use gateway_core::json::{Json, Kind};
use gateway_core::reason::Reason;
use gateway_core::server::{Server, Tool};
use gateway_core::{Clock, Timestamp};
use gateway_store::Store;
use gateway_store::audit::Trail;
use gateway_store::tool::ChangedTool;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::connections::{Connections, Refusing, Unconnected};
use crate::ports::{Probed, Random, Unread, Upstreams};
use crate::refresh::Current;
use crate::snapshot::Snapshot;
use crate::tool_list::{Redefined, appeared, newcomers, redefined, sha256};

/// Least time between two reads of one server.
const PAUSE: time::Duration = time::Duration::seconds(1);
/// Longest time for one read.
const PROBE_DEADLINE: Duration = Duration::from_secs(15);
/// Servers whose re-reading may be waiting at once.
const SUSPECTS: usize = 1024;

/// Reads servers and stores what they say.
pub(crate) struct Learner {
    store: Store,
    upstreams: Arc<dyn Upstreams>,
    connections: Arc<Connections>,
    clock: Arc<dyn Clock>,
    current: Arc<Current>,
    trail: Trail,
    random: Arc<dyn Random>,
    // One lock per server, held across a read on purpose: those who need the same answer share it.
    last_read: StdMutex<HashMap<ServerId, Arc<Mutex<Option<Timestamp>>>>>,
    suspects: mpsc::Sender<Suspect>,
}

/// A server that may have changed, and who noticed: one that wants to know who calls is read as they are.
type Suspect = (ServerId, Option<Caller>);

impl Learner {
    pub(crate) fn new(
        (store, trail): (Store, Trail),
        upstreams: Arc<dyn Upstreams>,
        connections: Arc<Connections>,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
        current: Arc<Current>,
    ) -> (Learner, mpsc::Receiver<Suspect>) {
        let (suspects, received) = mpsc::channel(SUSPECTS);
        let last_read = StdMutex::default();
        let learner = Learner {
            store,
            upstreams,
            connections,
            clock,
            current,
            trail,
            random,
            last_read,
            suspects,
        };
        (learner, received)
    }

    /// Reads `server` now, unless that was done within the last second or `tool` is known by now. A server that
    /// wants to know who calls is read as `caller`, and not without.
    pub(crate) async fn learn(
        &self,
        server: &Server,
        tool: Option<&str>,
        caller: Option<&Caller>,
    ) -> Result<Arc<Snapshot>, Unconnected> {
        let arrived = self.clock.now();
        let lock = self.lock_of(server.id);
        let mut last = lock.lock().await;
        let snapshot = self.current.snapshot();
        let known = tool.is_some_and(|tool| {
            snapshot.server_by_id(server.id).is_some_and(|now| now.tool(tool).is_some())
        });
        // Who waited for a read shares it, however long it took.
        if known || last.is_some_and(|last| arrived < last + PAUSE) {
            return Ok(snapshot);
        }
        let now = self.clock.now();
        // Who lacks an account must not keep those who have one from reading.
        let mut credential = self.connections.credential(caller, server).await?;
        *last = Some(now);
        for _ in 0..2 {
            let Err(unread) = self.read(server, &credential, now).await else { break };
            let reason = unread.reason;
            tracing::warn!(server = %server.slug, %reason, trouble = unread.detail, "reading a server's tools failed");
            let (Some(refused), Some(caller)) = (unread.refused, caller) else { break };
            // Nobody else is kept from reading by what this caller lacks.
            *last = None;
            match self.connections.refused(caller, server, refused.0, &refused.1).await {
                Refusing::Nothing => break,
                Refusing::Again(_) => {
                    credential = self.connections.credential(Some(caller), server).await?;
                }
                Refusing::Person(unconnected) => return Err(unconnected),
            }
        }
        *last = last.map(|_| self.clock.now());
        Ok(self.current.snapshot())
    }

    /// Has `server` read soon, by the task behind [`Learner::follow`].
    pub(crate) fn suspect(&self, server: ServerId, caller: &Caller) {
        // A full queue means that much is being read anyway, and the regular round comes to it too.
        let _ = self.suspects.try_send((server, Some(caller.clone())));
    }

    /// The regular round ([`crate::health`]) leaves out servers that want to know who calls; their callers bring it about.
    pub(crate) fn suspect_if_old(&self, server: &Server, caller: &Caller, age: Duration) {
        if !server.auth.is_personal() {
            return;
        }
        let lock = self.lock_of(server.id);
        let Ok(last) = lock.try_lock() else { return };
        if last.is_none_or(|last| self.clock.now() > last + age) {
            self.suspect(server.id, caller);
        }
    }

    /// Reads suspects until `shutdown`.
    pub(crate) async fn follow(
        &self,
        mut suspects: mpsc::Receiver<Suspect>,
        shutdown: CancellationToken,
    ) {
        loop {
            let (id, caller) = tokio::select! {
                () = shutdown.cancelled() => return,
                suspect = suspects.recv() => match suspect {
                    Some(suspect) => suspect,
                    None => return,
                },
            };
            let snapshot = self.current.snapshot();
            if let Some(server) = snapshot.server_by_id(id) {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.learn_after_pause(server, caller.as_ref()) => {}
                }
            }
        }
    }

    /// A sign of change right after a read must not be lost to the pause between reads.
    async fn learn_after_pause(&self, server: &Server, caller: Option<&Caller>) {
        let lock = self.lock_of(server.id);
        let last = *lock.lock().await;
        let rest = last.map(|last| last + PAUSE - self.clock.now());
        if let Some(Ok(rest)) = rest.map(Duration::try_from) {
            tokio::time::sleep(rest).await;
        }
        if let Err(unconnected) = self.learn(server, None, caller).await {
            tracing::warn!(server = %server.slug, reason = %unconnected.reason, "a server was not read");
        }
    }

    fn lock_of(&self, server: ServerId) -> Arc<Mutex<Option<Timestamp>>> {
        let mut locks = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(server).or_default())
    }

    async fn read(
        &self,
        server: &Server,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<(), Unread> {
        let internal = |error: String| Unread::from((Reason::Internal, error));
        let probe = self.upstreams.probe(server, credential);
        let Probed { eras, tools } = match tokio::time::timeout(PROBE_DEADLINE, probe).await {
            Ok(Ok(probed)) => probed,
            Ok(Err(unread)) => return Err(unread),
            Err(_) => return Err((Reason::UpstreamTimeout, "no answer in time".to_owned()).into()),
        };
        let tools: Vec<Tool> = tools.into_iter().filter_map(read_tool).collect();
        let newcomers = newcomers(&self.current.snapshot(), server);
        let stored = self.store.learn(server.id, eras, &tools, (now, newcomers)).await;
        let learned = stored.map_err(|e| internal(e.to_string()))?;
        if let Some(learned) = learned.filter(|learned| !learned.is_nothing()) {
            tracing::info!(
                server = %server.slug,
                added = learned.added.len(),
                changed = learned.changed.len(),
                removed = learned.removed.len(),
                "a server's tools changed"
            );
            for ChangedTool { name, before, after, hashes, .. } in &learned.changed {
                // The store tells a change to one replica only, so there is one record of it.
                let tool = Redefined { name, before, after, hashes: *hashes };
                redefined((&self.trail, &*self.random), server, &tool, now);
            }
            for tool in tools.iter().filter(|tool| learned.waiting.contains(&tool.name)) {
                appeared((&self.trail, &*self.random), server, tool, now);
            }
            self.current.refresh().await.map_err(|e| internal(e.to_string()))?;
        }
        Ok(())
    }
}

/// A tool from its definition's JSON text; `None` when it has no usable name.
pub(crate) fn read_tool(definition: String) -> Option<Tool> {
    let json = Json::parse(definition.as_bytes()).ok()?;
    let name = json.get("name")?.as_str()?.into_owned();
    let (hash, pin) = (sha256(&json.canonical()), sha256(&definition));
    let annotations = json.get("annotations").filter(|value| value.kind() == Kind::Object);
    let mut annotations: Vec<String> = annotations
        .into_iter()
        .flat_map(|annotations| annotations.members())
        .filter(|member| member.value.as_bool() == Some(true))
        .map(|member| member.key.into_owned())
        // The database does not take it, and no policy names it.
        .filter(|name| !name.contains('\0'))
        .collect();
    annotations.sort_unstable();
    Some(Tool { name, definition, hash, pin, annotations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read() {
        let text = r#" {"name":"pay","annotations":{"title":"x","readOnlyHint":false,"destructiveHint":true}} "#;
        let tool = read_tool(text.into()).unwrap();
        assert_eq!(tool.name, "pay");
        assert_eq!(tool.definition, text);
        assert_eq!(tool.annotations, ["destructiveHint"]);
    }

    #[test]
    fn the_hash_sees_content_and_not_spelling() {
        let hash = |text: &str| read_tool(text.into()).unwrap().hash;
        let one = hash(r#"{"name":"a","description":"x"}"#);
        assert_eq!(one, hash(r#"{ "description":"\u0078", "name":"a" }"#));
        assert_ne!(one, hash(r#"{"name":"a","description":"y"}"#));
    }

    #[test]
    fn what_has_no_name_is_no_tool() {
        for text in ["", "{", "[]", "{}", r#"{"name":1}"#, r#"{"name":"a","name":"a"}"#, "null"] {
            assert!(read_tool(text.into()).is_none(), "{text}");
        }
    }
}
