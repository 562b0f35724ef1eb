//! What the scanners look for and do about it, at one version of the catalogue. [`settings`] understands what is
//! written; the snapshot holds a [`Scanners`] of it. Who asks: the line's `scan` and `filter`, through
//! [`Snapshot::scanning`](crate::Snapshot::scanning).

pub(crate) mod difference;
pub mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::ids::ServerId;
use gateway_core::scan::{BadPattern, Detectors, External, Pattern, Scanning};
use gateway_core::server::RUNLAYER_ID;
use gateway_store::scanner::StoredScanners;

use settings::ScannerSettings;

/// The settings of one snapshot.
#[derive(Debug)]
pub struct Scanners {
    /// What holds for servers without settings of their own.
    organisation: Arc<Scanning>,
    by_server: HashMap<ServerId, Arc<Scanning>>,
    stored: Vec<StoredScanners>,
    patterns: Vec<Pattern>,
}

impl Scanners {
    /// Reads and lays over each other; patterns that are those of `previous` are not compiled again. Else whose
    /// settings cannot be read, and why.
    pub(crate) fn build(
        stored: &[StoredScanners],
        previous: Option<&Arc<Scanners>>,
    ) -> Result<Arc<Scanners>, (String, String)> {
        if let Some(previous) = previous.filter(|previous| previous.stored == stored) {
            return Ok(Arc::clone(previous));
        }
        let organisation = stored.iter().find(|one| one.server.is_none());
        let organisation = organisation.map(read).transpose()?.unwrap_or_default();
        let patterns = organisation.patterns.clone().unwrap_or_default();
        let detectors = match previous {
            Some(previous) if previous.patterns == patterns => {
                Arc::clone(&previous.organisation.detectors)
            }
            Some(_) | None => {
                let unusable = |bad: BadPattern| ("the organisation".to_owned(), bad.to_string());
                Detectors::with(&patterns).map_err(unusable)?
            }
        };
        let mut above = Scanning { detectors, ..Scanning::default() };
        organisation.lay_over(&mut above);
        let (organisation, ours) = (Arc::new(above.clone()), Arc::new(ours(&above)));
        let by_server = HashMap::from([(RUNLAYER_ID, ours)]);
        let mut scanners = Scanners { organisation, by_server, stored: stored.to_vec(), patterns };
        for one in stored {
            let Some(server) = one.server else { continue };
            let mut scanning = scanners.above(server);
            read(one)?.lay_over(&mut scanning);
            scanners.by_server.insert(server, Arc::new(scanning));
        }
        Ok(Arc::new(scanners))
    }

    /// What holds for that server where it has no settings of its own.
    pub(crate) fn above(&self, server: ServerId) -> Scanning {
        if server == RUNLAYER_ID { ours(&self.organisation) } else { (*self.organisation).clone() }
    }

    /// Compiles every rule that these settings look for, some hundred milliseconds in all.
    pub(crate) fn prepare(&self) {
        for scanning in self.by_server.values().chain([&self.organisation]) {
            scanning.detectors.prepare(&scanning.modes);
        }
    }

    /// What holds for that server; `None`: for those without settings of their own.
    pub fn scanning(&self, server: Option<ServerId>) -> &Arc<Scanning> {
        server.and_then(|id| self.by_server.get(&id)).unwrap_or(&self.organisation)
    }

    /// What the organisation looks for besides the built-in rules.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The settings as stored: the organisation's (`None`), or a server's own.
    pub fn stored(&self, server: Option<ServerId>) -> Option<&StoredScanners> {
        self.stored.iter().find(|one| one.server == server)
    }

    /// The servers that have settings of their own.
    pub fn own(&self) -> impl Iterator<Item = ServerId> {
        self.stored.iter().filter_map(|one| one.server)
    }
}

/// The gateway's own server follows the organisation but for the external scanner, which would decide whether an
/// administrator reads what it has done.
fn ours(organisation: &Scanning) -> Scanning {
    Scanning { external: External::Off, ..organisation.clone() }
}

/// What was stored.
pub(crate) fn read(stored: &StoredScanners) -> Result<ScannerSettings, (String, String)> {
    let whose = stored.server.map_or("the organisation".to_owned(), |id| format!("server {id}"));
    let settings: ScannerSettings = serde_json::from_str(&stored.settings_json)
        .map_err(|error| (whose.clone(), error.to_string()))?;
    match settings.check(stored.server.is_some()) {
        Ok(()) => Ok(settings),
        Err((field, expected)) => Err((whose, format!("{field}: {expected}"))),
    }
}
