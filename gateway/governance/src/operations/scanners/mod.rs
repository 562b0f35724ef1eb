//! Operations on the scanners' settings: reading them and what they were; [`update`] changes them, [`test`] tries
//! them.

mod test;
mod update;

use std::sync::Arc;

use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::scan::Scanning;
use gateway_core::server::Server;
use gateway_store::scanner::{ScannersChange, StoredScanners};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policies::called;
use super::run::{Page, Run, page_limit, wrong_cursor};
use super::{answer, rfc3339};
use crate::perform::{Answer, Refused};
use crate::scanners::Scanners;
use crate::scanners::settings::ScannerSettings;
use crate::snapshot::Snapshot;

pub use test::{ScannerFinding, ScannerTested, TestScanner};
pub use update::UpdateSecurityScannerSettings;
pub(crate) use update::Write;
pub(super) use update::write;

/// Of `get_security_scanner_settings`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetSecurityScannerSettings {
    /// Id or slug; absent: the organisation's.
    #[serde(default)]
    pub server_id: Option<String>,
}

/// Of `list_security_scanner_changes`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSecurityScannerChanges {
    /// Id or slug; absent: all.
    #[serde(default)]
    pub server_id: Option<String>,
    /// 1 to 200; default 50.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Settings of the scanners.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ScannerSettingsRow {
    /// The server's slug; null: the organisation.
    pub server: Option<String>,
    /// What holds there, all of it.
    pub effective: Map<String, Value>,
    /// What is set there; the rest is as above it.
    pub own: Map<String, Value>,
    /// Counts changes; null: nothing is set.
    pub version: Option<i32>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
    /// Who did it; absent: `apply`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// Of the organisation: servers with settings of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<String>>,
}

/// One change of settings.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ScannerChangeRow {
    /// The server's slug, or its id once it is gone; null: the organisation.
    pub server: Option<String>,
    /// The version that came of it.
    pub version: i32,
    /// RFC 3339.
    pub at: String,
    /// Who did it; null: `apply`.
    pub by: Option<String>,
    /// As they were; null: nothing was set.
    pub before: Option<Map<String, Value>>,
    /// As they are since; null: nothing is set.
    pub after: Option<Map<String, Value>>,
}

impl GetSecurityScannerSettings {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let server = allowed(run, self.server_id.as_deref())?;
        answer(&row(&run.snapshot, server.as_deref()))
    }
}

impl ListSecurityScannerChanges {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let server = self.of(run)?;
        let limit = page_limit(self.limit)?;
        let before = match &self.cursor {
            Some(cursor) => Some(run.open_cursor(cursor)?.parse().map_err(|_| wrong_cursor())?),
            None => None,
        };
        let found = run.governance.store.scanner_changes(server, before, limit + 1).await;
        let found = found.map_err(Refused::store)?;
        let shown = &found[..found.len().min(limit as usize)];
        let last = shown.last().filter(|_| found.len() > shown.len());
        answer(&Page {
            data: shown.iter().map(|change| change_row(run, change)).collect::<Vec<_>>(),
            next_cursor: last.map(|change| run.seal_cursor(&change.change.to_string())),
        })
    }

    /// Which server's. One that is gone is known by its id, to those who may know all.
    fn of(&self, run: &Run<'_>) -> Result<Option<ServerId>, Refused> {
        let named = self.server_id.as_deref();
        let gone = named.filter(|_| run.may(false)).and_then(|name| name.parse().ok());
        match (allowed(run, named), gone) {
            (Ok(server), _) => Ok(server.map(|server| server.id)),
            (Err(refused), Some(gone)) if refused.reason == Reason::ServerNotFound => {
                Ok(Some(gone))
            }
            (Err(refused), _) => Err(refused),
        }
    }
}

/// The server that is named, if any; refused unless the caller may read these settings, or administers the server.
fn allowed(run: &Run<'_>, server: Option<&str>) -> Result<Option<Arc<Server>>, Refused> {
    let Some(name) = server else {
        run.authorize(false)?;
        return Ok(None);
    };
    let server = run.server(name)?;
    run.authorize(run.administers(&server))?;
    Ok(Some(server))
}

/// What holds for a server, or for those without settings of their own.
fn row(snapshot: &Snapshot, server: Option<&Server>) -> ScannerSettingsRow {
    let id = server.map(|server| server.id);
    let scanners = &snapshot.scanners;
    let stored = scanners.stored(id);
    let own = || {
        let slugs = scanners.own().filter_map(|id| snapshot.server_by_id(id));
        slugs.map(|server| server.slug.to_string()).collect()
    };
    ScannerSettingsRow {
        server: server.map(|server| server.slug.to_string()),
        effective: effective(scanners, id),
        own: stored.map(|stored| object(&stored.settings_json)).unwrap_or_default(),
        version: stored.map(|stored| stored.version),
        changed_at: stored.map(|stored| rfc3339(stored.updated_at)),
        changed_by: stored.and_then(|stored| stored.changed_by).map(|id| called(snapshot, id)),
        servers: server.is_none().then(own),
    }
}

/// Everything spelled out; what the organisation looks for, in its own alone.
fn effective(scanners: &Scanners, server: Option<ServerId>) -> Map<String, Value> {
    let patterns = server.is_none().then(|| scanners.patterns().to_vec());
    let all = ScannerSettings { patterns, ..ScannerSettings::of(scanners.scanning(server)) };
    written(&all)
}

fn change_row(run: &Run<'_>, change: &ScannersChange) -> ScannerChangeRow {
    let now = change.server.and_then(|id| run.snapshot.server_by_id(id));
    let now = now.map(|server| server.slug.to_string());
    let was = change.server_slug.clone().or(change.server.map(|id| id.to_string()));
    ScannerChangeRow {
        server: now.or(was),
        version: change.version,
        at: rfc3339(change.at),
        by: change.actor.map(|id| called(&run.snapshot, id)),
        before: change.before.as_deref().map(object),
        after: change.after.as_deref().map(object),
    }
}

/// What is stored as the snapshot has it, so it can be read.
fn read(stored: Option<&StoredScanners>) -> ScannerSettings {
    stored.and_then(|stored| crate::scanners::read(stored).ok()).unwrap_or_default()
}

fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_default()
}

fn written(settings: &ScannerSettings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// What would hold for a server with these settings of its own, where those of the organisation are `above`.
fn laid_over(above: &Scanning, own: &ScannerSettings) -> Scanning {
    let mut scanning = above.clone();
    own.lay_over(&mut scanning);
    scanning
}
