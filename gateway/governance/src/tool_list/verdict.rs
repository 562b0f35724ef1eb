//! What is thought of one definition under one snapshot: is it approved, what did the scanners find in it, what of it is
//! shown. Remembered by pin; what was found is remembered as long as the settings of the scanners stay.

use std::sync::Arc;
use std::time::Instant;

use gateway_core::ids::ServerId;
use gateway_core::json::Json;
use gateway_core::record::Finding;
use gateway_core::scan::external::VERDICT;
use gateway_core::scan::{
    ChangedDefinitions, Class, Found, Guard, Mode, OverLimit, Scanning, message,
};
use gateway_core::server::{Approval, Server};
use gateway_store::definition::DefinitionKind;

use super::heard::Heard;
use super::{INSTRUCTIONS, Standing, ToolListGuard};
use crate::snapshot::Snapshot;

/// The most findings that one record lists.
const FINDINGS: usize = 64;

/// What is thought of one definition under one snapshot.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(super) standing: Standing,
    /// What is shown instead of it, where it is shown.
    pub(super) masked: Option<String>,
    pub(super) findings: Vec<Finding>,
    /// Why it was not read.
    pub(super) unread: Option<String>,
    /// It is what is known of the tool anyway, and there is nothing to tell about it.
    pub(super) settled: bool,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) generation: u64,
    pub(super) server: ServerId,
    pub(super) kind: DefinitionKind,
    pub(super) pin: [u8; 32],
    /// Which answer of the organisation's own scanner it rests on; 0: on none.
    pub(super) heard: u64,
}

/// What a definition says, under these settings.
pub(super) struct Scan {
    pub(super) with: Arc<Scanning>,
    pub(super) found: Vec<Found>,
    pub(super) took_us: u64,
}

impl Verdict {
    /// The organisation's own scanner does not let it pass, whatever was found.
    fn stopped(mut self) -> Verdict {
        let finding = Finding::whole(Guard::ToolList, Class::Injection, VERDICT, Mode::Block);
        self.findings.insert(0, finding);
        Verdict { standing: Standing::Blocked, masked: None, ..self }
    }
}

impl ToolListGuard {
    pub(super) fn verdict(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        kind: DefinitionKind,
        (name, raw, pin): (&str, &str, [u8; 32]),
    ) -> Arc<Verdict> {
        let scanning = snapshot.scanning(server.id);
        let heard = self.heard(scanning, server, (kind, pin));
        let stamp = heard.as_ref().map_or(0, |heard| heard.stamp);
        let generation = snapshot.generation;
        let key = Key { generation, server: server.id, kind, pin, heard: stamp };
        self.verdicts.get_with(key, || {
            let approval = match kind {
                DefinitionKind::Tool => snapshot.approval(server.id, &pin).flatten(),
                DefinitionKind::Resource
                | DefinitionKind::ResourceTemplate
                | DefinitionKind::Prompt
                | DefinitionKind::Instructions => Some(Approval::Approved),
            };
            let heard = heard.as_deref();
            let mut verdict = self.scanned(snapshot, server, (kind, name), (raw, pin), heard);
            verdict.standing = match (approval, scanning.changed_definitions) {
                (Some(Approval::Rejected), _) => Standing::Rejected,
                (None, ChangedDefinitions::Quarantine) => Standing::Quarantined,
                _ if !verdict.standing.passes() => Standing::Blocked,
                (Some(Approval::Approved), _) => Standing::Approved,
                (None, ChangedDefinitions::Record) => Standing::Changed,
            };
            let is_current = || server.tool(name).is_some_and(|tool| tool.pin == pin);
            verdict.settled = verdict.findings.is_empty()
                && verdict.unread.is_none()
                && (kind != DefinitionKind::Tool || (approval.is_some() && is_current()));
            Arc::new(verdict)
        })
    }

    /// The verdict of the scanners alone.
    fn scanned(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        (kind, name): (DefinitionKind, &str),
        (raw, pin): (&str, [u8; 32]),
        heard: Option<&Heard>,
    ) -> Verdict {
        let scanning = snapshot.scanning(server.id);
        let standing = Standing::Approved;
        let passes =
            |unread| Verdict { standing, masked: None, findings: vec![], unread, settled: false };
        if scanning.modes.is_off(Guard::ToolList) {
            return passes(None);
        }
        if raw.len() > scanning.limit {
            let long =
                format!("{} bytes, longer than what is scanned ({})", raw.len(), scanning.limit);
            return match scanning.over_limit {
                OverLimit::Pass => passes(Some(long)),
                OverLimit::Refuse => Verdict { standing: Standing::Blocked, ..passes(Some(long)) },
            };
        }
        let scan = self.scan(scanning, raw, pin);
        let mut found = scan.found.clone();
        let names = self.names(snapshot);
        let about_names = match kind {
            DefinitionKind::Tool => names.of_tool(server.id, name, raw),
            DefinitionKind::Prompt | DefinitionKind::Instructions => {
                names.in_texts(server.id, name, raw)
            }
            DefinitionKind::Resource | DefinitionKind::ResourceTemplate => vec![],
        };
        let wanted = |class: Class| scanning.modes.of(Guard::ToolList, class) != Mode::Off;
        found.extend(about_names.into_iter().filter(|one| wanted(one.class)));
        let mut told = heard.map(|heard| heard.found.clone()).unwrap_or_default();
        told.retain(|one| wanted(one.class));
        // Their places tell nothing that was found before.
        told.iter_mut().for_each(|one| found.iter().for_each(|known| known.hide_in(&mut one.path)));
        found.extend(told);
        let verdict = self.judged(scanning, (kind, name), raw, found, scan.took_us);
        if heard.is_some_and(|heard| heard.blocks) { verdict.stopped() } else { verdict }
    }

    fn judged(
        &self,
        scanning: &Scanning,
        (kind, name): (DefinitionKind, &str),
        raw: &str,
        mut found: Vec<Found>,
        took_us: u64,
    ) -> Verdict {
        found.sort_by_key(|one| one.span.start);
        // No client works without the rest of an introduction.
        let must_stay = kind == DefinitionKind::Instructions && name != INSTRUCTIONS;
        let mode = |one: &Found| match scanning.modes.of(Guard::ToolList, one.class) {
            Mode::Block if must_stay => Mode::Mask,
            mode @ (Mode::Off | Mode::Monitor | Mode::Mask | Mode::Block) => mode,
        };
        let finding =
            |one: &Found| one.finding(Guard::ToolList, mode(one), &self.finding_key, took_us);
        let findings =
            found.iter().filter(|one| !one.plain.is_empty()).take(FINDINGS).map(finding).collect();
        // Under another name it would be another tool.
        let name = handle(kind).and_then(|key| Json::checked_before(raw).get(key));
        let name = name.and_then(|name| name.span_in(raw)).unwrap_or_default();
        let stops = |one: &Found| match mode(one) {
            Mode::Off | Mode::Monitor => false,
            Mode::Mask => one.span.start < name.end && name.start < one.span.end,
            Mode::Block => true,
        };
        if found.iter().any(stops) {
            let standing = Standing::Blocked;
            return Verdict { standing, masked: None, findings, unread: None, settled: false };
        }
        let masked: Vec<Found> =
            found.iter().filter(|one| mode(one) == Mode::Mask).cloned().collect();
        let masked = (!masked.is_empty()).then(|| message::mask(raw, &masked));
        let standing = Standing::Approved;
        Verdict { standing, masked, findings, unread: None, settled: false }
    }

    fn scan(&self, scanning: &Arc<Scanning>, raw: &str, pin: [u8; 32]) -> Arc<Scan> {
        let same = |with: &Scanning| {
            Arc::ptr_eq(&with.detectors, &scanning.detectors) && with.modes == scanning.modes
        };
        if let Some(known) = self.scans.get(&pin).filter(|known| same(&known.with)) {
            return known;
        }
        let started = Instant::now();
        let found = message::read(&scanning.detectors, Guard::ToolList, &scanning.modes, raw);
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let scan = Arc::new(Scan { with: Arc::clone(scanning), found, took_us });
        self.scans.insert(pin, Arc::clone(&scan));
        scan
    }
}

/// The member by which others are called or read.
fn handle(kind: DefinitionKind) -> Option<&'static str> {
    match kind {
        DefinitionKind::Tool | DefinitionKind::Prompt => Some("name"),
        DefinitionKind::Resource => Some("uri"),
        DefinitionKind::ResourceTemplate => Some("uriTemplate"),
        DefinitionKind::Instructions => None,
    }
}
