//! Changing the scanners' settings: only what is named. Its preview says what becomes of what holds, on which servers,
//! and what of it lets more pass.

use std::sync::Arc;

use gateway_core::caller::AuthMethod;
use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::scan::{Detectors, Pattern, Scanning};
use gateway_core::server::{RUNLAYER_ID, Server};
use gateway_store::scanner::ScannersWrite;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{Change, answer, seen_here};
use super::{Run, laid_over, read, row, written};
use crate::perform::{About, Answer, Planned, Refused};
use crate::scanners::difference::{self, Difference};
use crate::scanners::settings::ScannerSettings;

/// Servers that a preview names.
const NAMED: usize = 10;

/// Of `update_security_scanner_settings`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSecurityScannerSettings {
    /// Id or slug; absent: the organisation's.
    #[serde(default)]
    pub server_id: Option<String>,
    /// What changes, as in effective; null: as above it.
    #[serde(default)]
    pub settings: Option<Map<String, Value>>,
    /// First takes away all that is set there.
    #[serde(default)]
    pub reset: Option<bool>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Settings that are ready to be written.
pub(crate) struct Write {
    server: Option<Arc<Server>>,
    /// `None`: nothing is to be set.
    settings_json: Option<String>,
    /// The version that the plan was made from.
    expected: Option<i32>,
}

impl UpdateSecurityScannerSettings {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let server = self.server_id.as_deref().map(|name| run.server(name)).transpose()?;
        let id = server.as_ref().map(|server| server.id);
        let stored = run.snapshot.scanners.stored(id);
        let before = read(stored);
        let after = self.after(&before, server.is_some())?;
        let patterns = after.patterns.clone().unwrap_or_default();
        if server.is_none() && patterns != run.snapshot.scanners.patterns() {
            usable(patterns).await?;
        }
        let settings_json = (!after.is_empty()).then(|| serde_json::to_string(&after)).transpose();
        let settings_json = settings_json.map_err(|error| Refused::params(error.to_string()))?;
        let effects = effects(run, server.as_deref(), &before, &after);
        let name = server.as_ref().map_or("organisation".to_owned(), |s| s.slug.to_string());
        Ok(Planned {
            action: ActionType::SecurityScannerSettingsUpdated,
            about: About { kind: Some("scanners"), name: Some(name), server: server.clone() },
            confirmed: self.confirm == Some(true),
            before: json!({"own": written(&before)}),
            after: merged(json!({"own": written(&after)}), effects),
            change: Change::Scanners(Box::new(Write {
                server,
                settings_json,
                expected: stored.map(|stored| stored.version),
            })),
        })
    }

    fn after(&self, before: &ScannerSettings, server: bool) -> Result<ScannerSettings, Refused> {
        let reset = self.reset == Some(true);
        let nothing = Map::new();
        let patch = match &self.settings {
            Some(patch) => patch,
            None if reset => &nothing,
            None => {
                let wrong = "settings: required, unless reset is true; expected an object as effective of get_security_scanner_settings";
                return Err(Refused::params(wrong));
            }
        };
        let base = if reset { &ScannerSettings::default() } else { before };
        let after = base.changed(patch);
        let after = after.and_then(|after| after.check(server).map(|()| after));
        after.map_err(|(field, wrong)| Refused::params(place(&field, &wrong)))
    }
}

fn place(field: &str, wrong: &str) -> String {
    if field.is_empty() {
        format!("settings: {wrong}")
    } else {
        format!("settings.{field}: {wrong}")
    }
}

/// Whether patterns can be looked for. Compiling them takes its time.
async fn usable(patterns: Vec<Pattern>) -> Result<(), Refused> {
    let compiled = tokio::task::spawn_blocking(move || Detectors::with(&patterns).map(drop)).await;
    let interrupted = |_| Refused::new(Reason::Internal, "patterns could not be compiled");
    compiled.map_err(interrupted)?.map_err(|bad| {
        let field = format!("patterns[{}].{}", bad.index, bad.field);
        Refused::params(place(&field, &bad.expected))
    })
}

/// What holds differently then, on which servers, and which of it lets more pass.
fn effects(
    run: &Run<'_>,
    server: Option<&Server>,
    before: &ScannerSettings,
    after: &ScannerSettings,
) -> Value {
    let scanners = &run.snapshot.scanners;
    let changes = match server {
        Some(server) => {
            let above = scanners.above(server.id);
            difference::of(scanners.scanning(Some(server.id)), &laid_over(&above, after))
        }
        None => {
            let patterns =
                |settings: &ScannerSettings| settings.patterns.clone().unwrap_or_default();
            let above = scanners.scanning(None);
            let mut changes = difference::of(above, &laid_over(&Scanning::default(), after));
            changes.extend(difference::of_patterns(&patterns(before), &patterns(after)));
            changes
        }
    };
    let mut slugs: Vec<String> = match server {
        Some(server) => vec![server.slug.to_string()],
        None => {
            let touched = run.snapshot.servers.iter().filter(|s| touches(run, &changes, s.id));
            touched.map(|server| server.slug.to_string()).collect()
        }
    };
    if changes.is_empty() {
        slugs.clear();
    }
    let loosens: Vec<&str> =
        changes.iter().filter(|one| one.loosens).map(|one| one.setting.as_str()).collect();
    let count = slugs.len();
    slugs.truncate(NAMED);
    let mut told = json!({"changes": changes, "servers": count, "among_them": slugs});
    if !loosens.is_empty() {
        told["warning"] = json!(format!("this lets more pass: {}", loosens.join(", ")));
    }
    told
}

/// Whether any of the organisation's changes reaches a server past what it has of its own.
fn touches(run: &Run<'_>, changes: &[Difference], server: ServerId) -> bool {
    let own = written(&read(run.snapshot.scanners.stored(Some(server))));
    let own = Value::Object(own);
    let is_own = |setting: &str| {
        own.pointer(&format!("/{}", setting.replace('.', "/"))).is_some()
            || (setting == "external" && server == RUNLAYER_ID)
    };
    changes.iter().any(|change| !is_own(&change.setting))
}

fn merged(mut value: Value, more: Value) -> Value {
    if let (Some(members), Value::Object(more)) = (value.as_object_mut(), more) {
        members.extend(more);
    }
    value
}

/// Writes settings; they hold here at once, on other replicas within the revocation lag.
pub(in super::super) async fn write(run: &Run<'_>, write: Write) -> Result<Answer, Refused> {
    let Write { server, settings_json, expected } = write;
    let id = server.as_ref().map(|server| server.id);
    let actor = (run.caller.auth != AuthMethod::CommandLine).then(|| run.user().id);
    let store = &run.governance.store;
    let done = store.write_scanners(id, settings_json.as_deref(), expected, actor).await;
    match done.map_err(Refused::store)? {
        ScannersWrite::Written => {}
        ScannersWrite::Changed => {
            let detail = "somebody else changed these settings meanwhile; nothing was written";
            return Err(Refused::new(Reason::Conflict, detail));
        }
        ScannersWrite::ServerAbsent => {
            let detail = "server_id: no such server any more; nothing was written";
            return Err(Refused::new(Reason::ServerNotFound, detail));
        }
    }
    seen_here(run).await;
    answer(&row(&run.governance.snapshot(), server.as_deref()))
}
