//! Reads the file and checks what it alone shows: keys, types, texts, doubles.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use gateway_core::caller::Role;
use gateway_core::ids::{LimitId, Slug};
use gateway_core::label::{Label, labels};
use gateway_core::located::{Problem, unknown_key};
use gateway_core::scan::Detectors;
use gateway_core::server::{RUNLAYER_SLUG, ServerStatus, UpstreamAuth};
use gateway_store::desired_state::{
    DesiredGroup, DesiredLimit, DesiredPolicy, DesiredScanners, DesiredServer, DesiredState,
    DesiredUser,
};
use policies::PolicySpec;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeValue, ValueDeserializer};
use uuid::Uuid;

use super::auth;
use super::item::{GroupItem, ServerItem, UserItem};
use super::names;
use super::tree::Tree;
use crate::limits::spec::{Limit, LimitSpec};
use crate::scanners::settings::ScannerSettings;

const TABLES: [&str; 6] = ["groups", "users", "servers", "policies", "limits", "scanners"];

/// A file that makes sense by itself.
pub struct Desired {
    place: String,
    text: String,
    state: DesiredState,
    specs: Vec<PolicySpec>,
    limits: Vec<LimitSpec>,
}

impl Desired {
    /// What should be.
    pub fn state(&self) -> &DesiredState {
        &self.state
    }

    /// The policies, in order.
    pub fn policies(&self) -> &[PolicySpec] {
        &self.specs
    }

    /// The limits on calls.
    pub fn limits(&self) -> &[LimitSpec] {
        &self.limits
    }

    /// Problems at paths, with their lines.
    pub(super) fn problems(&self, wrong: Vec<(String, String)>) -> Vec<Problem> {
        let mut problems: Vec<Problem> = match Tree::parse(&self.place, &self.text) {
            Ok(tree) => wrong.into_iter().map(|(path, text)| tree.problem(&path, text)).collect(),
            Err(problem) => vec![problem],
        };
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// Reads `text`, which stands in the file `place`.
pub fn read(place: &str, text: &str) -> Result<Desired, Vec<Problem>> {
    let tree = Tree::parse(place, text).map_err(|problem| vec![problem])?;
    let mut reading = Reading { tree, problems: Vec::new(), scanners: Vec::new() };
    reading.refuse_unknown_tables();
    let state = DesiredState {
        groups: reading.groups(),
        users: reading.users(),
        servers: reading.servers(),
        policies: Vec::new(),
        limits: Vec::new(),
        scanners: Vec::new(),
    };
    reading.organisation();
    let specs: Vec<PolicySpec> = reading.items("policies").into_iter().flatten().collect();
    reading.names("policies", "name", specs.iter().map(|spec| spec.name.clone()).enumerate());
    let policies = reading.policies(&specs);
    let found: Vec<Option<LimitSpec>> = reading.items("limits");
    let desired_limits = reading.limits(&found);
    let Reading { mut problems, scanners, .. } = reading;
    if problems.is_empty() {
        let state = DesiredState { policies, limits: desired_limits, scanners, ..state };
        let limits = found.into_iter().flatten().collect();
        return Ok(Desired { place: place.into(), text: text.into(), state, specs, limits });
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

struct Reading<'a> {
    tree: Tree<'a>,
    problems: Vec<Problem>,
    /// Of the organisation and of servers.
    scanners: Vec<DesiredScanners>,
}

impl Reading<'_> {
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.tree.problem(path, message));
    }

    fn refuse_unknown_tables(&mut self) {
        let names: Vec<String> =
            self.tree.root().iter().map(|(k, _)| k.get_ref().to_string()).collect();
        for name in names.iter().filter(|name| !TABLES.contains(&name.as_str())) {
            self.refuse(name, unknown_key(name, &TABLES));
        }
    }

    /// The items of `[[table]]`; `None` in place of those that could not be read.
    fn items<T: DeserializeOwned>(&mut self, table: &str) -> Vec<Option<T>> {
        let found = self.tree.root().iter().find(|(key, _)| key.get_ref() == table);
        let items = match found.map(|(_, value)| value.get_ref()) {
            None => return Vec::new(),
            Some(DeValue::Array(items)) => items,
            Some(_) => {
                self.refuse(table, format!("expected [[{table}]]"));
                return Vec::new();
            }
        };
        let mut read = Vec::with_capacity(items.len());
        let mut problems = Vec::new();
        for (index, item) in items.iter().enumerate() {
            read.push(match T::deserialize(ValueDeserializer::from(item.clone())) {
                Ok(item) => Some(item),
                Err(error) => {
                    problems.push(self.tree.misread(&format!("{table}[{index}]"), &error));
                    None
                }
            });
        }
        self.problems.extend(problems);
        read
    }

    /// Checks names and refuses doubles.
    fn names(&mut self, table: &str, key: &str, names: impl Iterator<Item = (usize, String)>) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, text) in names {
            let path = format!("{table}[{index}].{key}");
            if let Err(wrong) = names::name(&text) {
                self.refuse(&path, wrong);
            }
            match seen.entry(text) {
                Entry::Vacant(free) => drop(free.insert(index)),
                Entry::Occupied(taken) => {
                    let message = format!("\"{}\" is there already", taken.key());
                    self.refuse(&path, message);
                }
            }
        }
    }

    fn groups(&mut self) -> Vec<DesiredGroup> {
        let items: Vec<Option<GroupItem>> = self.items("groups");
        let groups = items.into_iter().enumerate().filter_map(|(i, item)| Some((i, item?.name)));
        let groups: Vec<(usize, String)> = groups.collect();
        self.names("groups", "name", groups.iter().cloned());
        groups.into_iter().map(|(_, name)| DesiredGroup { name }).collect()
    }

    fn users(&mut self) -> Vec<DesiredUser> {
        let items: Vec<Option<UserItem>> = self.items("users");
        let mut users = Vec::with_capacity(items.len());
        let mut emails = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Some(item) = item else { continue };
            let path = format!("users[{index}]");
            let email = names::email(&item.email).unwrap_or_else(|wrong| {
                self.refuse(&format!("{path}.email"), wrong);
                item.email.clone()
            });
            if !item.name.is_empty() && names::name(&item.name).is_err() {
                let wrong = names::name(&item.name).err().unwrap_or_default();
                self.refuse(&format!("{path}.name"), wrong);
            }
            let roles = self.roles(&path, &item.roles);
            emails.push((index, email.clone()));
            let attributes = item.attributes.as_ref().map(names::attributes).transpose();
            let attributes = attributes.unwrap_or_else(|(field, wrong)| {
                self.refuse(&format!("{path}.{field}"), wrong);
                None
            });
            let UserItem { name, groups, active, .. } = item;
            users.push(DesiredUser { email, name, roles, groups, active, attributes });
        }
        self.names("users", "email", emails.into_iter());
        users
    }

    fn roles(&mut self, path: &str, names: &[String]) -> Vec<Role> {
        let mut roles = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            match Role::parse(name) {
                Some(role) => roles.push(role),
                None => {
                    let known = Role::ALL.map(Role::as_str).join(", ");
                    let message = format!("expected one of {known}; found \"{name}\"");
                    self.refuse(&format!("{path}.roles[{at}]"), message);
                }
            }
        }
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    fn servers(&mut self) -> Vec<DesiredServer> {
        let items: Vec<Option<ServerItem>> = self.items("servers");
        let mut servers = Vec::with_capacity(items.len());
        let mut slugs = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Some(item) = item else { continue };
            slugs.push((index, item.slug.clone()));
            servers.extend(self.server(&format!("servers[{index}]"), item));
        }
        self.names("servers", "slug", slugs.into_iter());
        servers
    }

    fn server(&mut self, path: &str, item: ServerItem) -> Option<DesiredServer> {
        let slug = names::slug(&item.slug);
        if let Err(wrong) = &slug {
            self.refuse(&format!("{path}.slug"), wrong.clone());
        }
        let ours = item.slug == RUNLAYER_SLUG;
        let url = match item.url.as_deref() {
            Some(_) if ours => {
                self.refuse(
                    &format!("{path}.url"),
                    "the server runlayer has no URL: it is built in",
                );
                None
            }
            None if ours => None,
            None => {
                self.refuse(path, "missing key \"url\"");
                None
            }
            Some(text) => match names::server_url(text) {
                Ok(url) => Some(url),
                Err(wrong) => {
                    self.refuse(&format!("{path}.url"), wrong);
                    None
                }
            },
        };
        let auth = match item.auth.clone().map(auth::auth) {
            None => UpstreamAuth::None,
            Some(Ok(UpstreamAuth::None)) => UpstreamAuth::None,
            Some(Ok(_)) if ours => {
                let wrong = "the server runlayer is built in: nobody signs in to it";
                self.refuse(&format!("{path}.auth"), wrong);
                return None;
            }
            Some(Ok(auth)) => auth,
            Some(Err((key, wrong))) => {
                self.refuse(&format!("{path}.auth.{key}"), wrong);
                return None;
            }
        };
        let status = item.status.as_deref().map(|name| (name, ServerStatus::parse(name)));
        if let Some((name, None)) = status {
            let known = ServerStatus::ALL.map(ServerStatus::as_str).join(", ");
            let message = format!("expected one of {known}; found \"{name}\"");
            self.refuse(&format!("{path}.status"), message);
        }
        let status = status.and_then(|(_, status)| status);
        if let Some(Err(wrong)) = item.icon.as_deref().filter(|i| !i.is_empty()).map(names::icon) {
            self.refuse(&format!("{path}.icon"), wrong);
        }
        let admins = item.admins.map(|admins| self.admins(path, &admins));
        let labels = item.labels.and_then(|names| self.labels(path, &names));
        let ServerItem { title, description, icon, sensitive, scanners, .. } = item;
        let slug = slug.ok()?;
        if let Some(settings) = scanners {
            self.scanners(&format!("{path}.scanners"), Some(slug.clone()), &settings);
        }
        Some(DesiredServer {
            slug,
            title,
            description,
            url,
            auth,
            status,
            icon,
            sensitive,
            labels,
            admins,
        })
    }

    fn labels(&mut self, path: &str, names: &[String]) -> Option<Vec<Label>> {
        match labels(names) {
            Ok(labels) => Some(labels),
            Err(wrong) => {
                self.refuse(&format!("{path}.labels[{}]", wrong.at), wrong.to_string());
                None
            }
        }
    }

    fn admins(&mut self, path: &str, admins: &[String]) -> Vec<String> {
        let mut emails = Vec::with_capacity(admins.len());
        for (at, text) in admins.iter().enumerate() {
            match names::email(text) {
                Ok(email) => emails.push(email),
                Err(wrong) => self.refuse(&format!("{path}.admins[{at}]"), wrong),
            }
        }
        emails
    }

    fn limits(&mut self, items: &[Option<LimitSpec>]) -> Vec<DesiredLimit> {
        let specs = items.iter().enumerate().filter_map(|(at, spec)| Some((at, spec.as_ref()?)));
        let specs: Vec<(usize, &LimitSpec)> = specs.collect();
        self.names("limits", "name", specs.iter().map(|(at, spec)| (*at, spec.name.clone())));
        let mut limits = Vec::with_capacity(specs.len());
        for (at, spec) in specs {
            if let Err((field, expected)) = Limit::read(LimitId(Uuid::nil()), spec.clone())
                && field != "name"
            {
                self.refuse(&format!("limits[{at}].{field}"), format!("expected {expected}"));
            }
            match serde_json::to_string(spec) {
                Ok(spec_json) => limits.push(DesiredLimit { name: spec.name.clone(), spec_json }),
                Err(error) => self.refuse(&format!("limits[{at}]"), error.to_string()),
            }
        }
        limits
    }

    /// The table `[scanners]`: the organisation's.
    fn organisation(&mut self) {
        let found = self.tree.root().iter().find(|(key, _)| key.get_ref() == "scanners");
        let Some((_, value)) = found else { return };
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            return self.refuse("scanners", "expected [scanners]");
        }
        match ScannerSettings::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(settings) => self.scanners("scanners", None, &settings),
            Err(error) => self.problems.push(self.tree.misread("scanners", &error)),
        }
    }

    /// Settings of the scanners, in one canonical spelling. Where nothing is set, there are to be none.
    fn scanners(&mut self, path: &str, server: Option<Slug>, settings: &ScannerSettings) {
        if let Err((field, expected)) = settings.check(server.is_some()) {
            return self.refuse(&format!("{path}.{field}"), expected);
        }
        if let Err(bad) = Detectors::with(settings.patterns.as_deref().unwrap_or_default()) {
            let field = format!("{path}.patterns[{}].{}", bad.index, bad.field);
            return self.refuse(&field, bad.expected);
        }
        let written = (!settings.is_empty()).then(|| serde_json::to_string(settings)).transpose();
        match written {
            Ok(settings_json) => self.scanners.push(DesiredScanners { server, settings_json }),
            Err(error) => self.refuse(path, error.to_string()),
        }
    }

    /// One canonical spelling: the store compares policies as text.
    fn policies(&mut self, specs: &[PolicySpec]) -> Vec<DesiredPolicy> {
        let mut policies = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            match serde_json::to_string(spec) {
                Ok(spec_json) => {
                    policies.push(DesiredPolicy { name: spec.name.clone(), spec_json });
                }
                Err(error) => self.refuse(&format!("policies[{index}]"), error.to_string()),
            }
        }
        policies
    }
}
