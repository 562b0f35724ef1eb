//! What the organisation's own scanner says of definitions. It is asked about many at once, once for the same bytes as
//! long as the settings of the scanners stay, and before anybody is shown them or calls the tool: [`super::verdict`] looks
//! up what it said and asks nobody. What it gave no answer about is not remembered; whoever asked judges that.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway_core::ids::{CallId, ServerId};
use gateway_core::scan::external::{self, Judged};
use gateway_core::scan::{External, Found, Guard, Scanning};
use gateway_core::server::{Endpoint, Server};
use gateway_store::definition::DefinitionKind;

use super::{ToolListGuard, sha256};
use crate::ports::{Scanner, ScannerQuestion};
use crate::snapshot::Snapshot;

/// Definitions in one question: an answer has 200 findings at most.
const BATCH: usize = 50;
/// Bytes of definitions in one question; a longer one is a question of its own.
const BATCH_BYTES: usize = 256 << 10;
/// Questions about one listing.
const QUESTIONS: usize = 64;

/// Which definition on which server.
pub(super) type HeardKey = (ServerId, DefinitionKind, [u8; 32]);

/// What it said of one definition.
#[derive(Debug)]
pub(super) struct Heard {
    with: Arc<Scanning>,
    /// Places are the definition's own.
    pub(super) found: Vec<Found>,
    /// It does not let it pass.
    pub(super) blocks: bool,
    /// Of each answer another; never 0.
    pub(super) stamp: u64,
}

/// Definitions about which it was not asked yet.
#[derive(Debug)]
pub struct Unheard {
    server: Arc<Server>,
    scanning: Arc<Scanning>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    kind: DefinitionKind,
    pin: [u8; 32],
    raw: String,
}

/// There is a definition about which it gave no answer that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// It does not let something pass among definitions of which this is one.
    pub suspected: bool,
}

/// Some of them.
struct Batch {
    items: Vec<Item>,
    /// It does not let something among these and others pass.
    suspected: bool,
}

impl ToolListGuard {
    /// What of `items` (kind and exact JSON text) it has to be asked about; `None`: nothing.
    pub fn unheard<'a>(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        items: impl IntoIterator<Item = (DefinitionKind, &'a str)>,
    ) -> Option<Unheard> {
        let scanning = snapshot.scanning(server.id);
        if !asks(scanning, server) {
            return None;
        }
        let unknown = |(kind, raw): (DefinitionKind, &str)| {
            let pin = sha256(raw);
            let known =
                raw.len() > scanning.limit || self.heard(scanning, server, (kind, pin)).is_some();
            (!known).then(|| Item { kind, pin, raw: raw.to_owned() })
        };
        let items: Vec<Item> = items.into_iter().filter_map(unknown).collect();
        if items.is_empty() {
            return None;
        }
        Some(Unheard { server: server.clone(), scanning: scanning.clone(), items })
    }

    /// The same about a tool as it was last stored, before it is called.
    pub fn unheard_tool(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        tool: &str,
    ) -> Option<Unheard> {
        let tool = server.tool(tool)?;
        self.unheard(snapshot, server, [(DefinitionKind::Tool, tool.definition.as_str())])
    }

    /// Asks; an error where there is a definition about which it gave no answer.
    pub(crate) async fn hear(
        &self,
        scanner: Option<&dyn Scanner>,
        (call, method): (CallId, Option<&str>),
        unheard: Unheard,
    ) -> Result<(), Silence> {
        let Unheard { server, scanning, items } = unheard;
        let mut left = batches(items);
        left.reverse();
        let mut questions = QUESTIONS;
        let mut silence: Option<Silence> = None;
        while let Some(Batch { mut items, suspected }) = left.pop() {
            let said = match scanner.filter(|_| silence.is_none() && questions > 0) {
                Some(scanner) => {
                    questions -= 1;
                    ask(scanner, (call, method), &server, &items).await
                }
                None => None,
            };
            match said {
                Some((_, true)) if items.len() > 1 => {
                    // Which of them it means, it says when it is asked about fewer.
                    let rest = items.split_off(items.len() / 2);
                    let suspected = |items| Batch { items, suspected: true };
                    left.extend([rest, items].map(suspected));
                }
                Some((found, blocks)) => {
                    for (item, found) in items.iter().zip(found) {
                        self.remember(&scanning, &server, item, found, blocks);
                    }
                }
                None => {
                    let before = silence.is_some_and(|silence| silence.suspected);
                    silence = Some(Silence { suspected: suspected || before });
                }
            }
        }
        silence.map_or(Ok(()), Err)
    }

    /// What it said of a definition under settings like these; `None`: nothing, or it is not asked.
    pub(super) fn heard(
        &self,
        scanning: &Scanning,
        server: &Server,
        (kind, pin): (DefinitionKind, [u8; 32]),
    ) -> Option<Arc<Heard>> {
        if !asks(scanning, server) {
            return None;
        }
        let same = |with: &Scanning| {
            Arc::ptr_eq(&with.detectors, &scanning.detectors)
                && with.modes == scanning.modes
                && with.external == scanning.external
        };
        self.heard.get(&(server.id, kind, pin)).filter(|known| same(&known.with))
    }

    fn remember(
        &self,
        scanning: &Arc<Scanning>,
        server: &Server,
        item: &Item,
        found: Vec<Found>,
        blocks: bool,
    ) {
        let stamp = self.heard_count.fetch_add(1, Ordering::Relaxed) + 1;
        let heard = Heard { with: Arc::clone(scanning), found, blocks, stamp };
        self.heard.insert((server.id, item.kind, item.pin), Arc::new(heard));
    }
}

/// Whether it is asked about definitions of that server. Our own are not sent.
fn asks(scanning: &Scanning, server: &Server) -> bool {
    scanning.external != External::Off
        && !scanning.modes.is_off(Guard::ToolList)
        && server.endpoint != Endpoint::InProcess
}

fn batches(items: Vec<Item>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += item.raw.len();
        match batches.last_mut().filter(|last| last.items.len() < BATCH && bytes <= BATCH_BYTES) {
            Some(last) => last.items.push(item),
            None => {
                bytes = item.raw.len();
                batches.push(Batch { items: vec![item], suspected: false });
            }
        }
    }
    batches
}

/// What it finds in each, and whether it lets them pass: they stand in one array, whose places the paths name.
async fn ask(
    scanner: &dyn Scanner,
    (call, method): (CallId, Option<&str>),
    server: &Server,
    items: &[Item],
) -> Option<(Vec<Vec<Found>>, bool)> {
    let mut message = String::from("[");
    let mut spans: Vec<Range<usize>> = Vec::with_capacity(items.len());
    for item in items {
        if !spans.is_empty() {
            message.push(',');
        }
        let start = message.len();
        message.push_str(&item.raw);
        spans.push(start..message.len());
    }
    message.push(']');
    let texts = external::texts(&message);
    if texts.is_empty() {
        return Some((vec![Vec::new(); items.len()], false));
    }
    let question = ScannerQuestion {
        version: 1,
        correlation_id: call,
        guard: Guard::ToolList,
        server: server.slug.as_str(),
        method,
        tool: None,
        texts: &texts,
        message: &message,
    };
    let Judged { found, blocks } = scanner.ask(&question).await.ok()?;
    let of_item = |(at, span): (usize, &Range<usize>)| {
        let here = found.iter().filter(|one| span.contains(&one.span.start));
        here.map(|one| within(one, at, span.start)).collect()
    };
    Some((spans.iter().enumerate().map(of_item).collect(), blocks))
}

/// The finding with its place in the definition.
fn within(found: &Found, at: usize, start: usize) -> Found {
    let path = found.path.strip_prefix(&format!("/{at}")).unwrap_or(&found.path);
    let span = found.span.start - start..found.span.end - start;
    Found { path: path.to_owned(), span, ..found.clone() }
}
