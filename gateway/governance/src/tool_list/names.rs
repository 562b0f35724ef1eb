//! The names of all tools on active servers, and what a definition does with those of other servers.
//!
//! Every server can meet every other in one client, so nobody asks who may use which. Of two names that look alike
//! the newer one is the finding; equal plain names on two servers are usual, and only told to those who look.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::json::{Json, Kind};
use gateway_core::scan::rule::Name;
use gateway_core::scan::{Class, Found, lookalike};
use gateway_core::server::{Endpoint, ServerStatus};

use crate::snapshot::Snapshot;

const ODD_NAME: &str = "odd_name";
const LOOKALIKE_NAME: &str = "lookalike_name";
const SHADOWED_TOOL: &str = "shadowed_tool";
const MENTIONS_OTHER_TOOL: &str = "mentions_other_tool";
/// Shorter slugs are words of any text.
const SHORTEST_SLUG: usize = 4;
/// Slugs that are named to people.
const NAMESAKES: usize = 10;

/// The names of one snapshot.
pub(super) struct Names {
    pub(super) generation: u64,
    /// By name, folded.
    folded: HashMap<String, Vec<Owner>>,
    /// By name.
    exact: HashMap<String, Vec<Owner>>,
    slugs: HashMap<ServerId, String>,
    /// What every name folds to; taken over from snapshot to snapshot.
    foldings: HashMap<String, Vec<String>>,
}

/// A tool on a server, and since when it is there.
#[derive(Clone)]
struct Owner {
    server: ServerId,
    name: Arc<str>,
    since: Option<Timestamp>,
}

impl Names {
    pub(super) fn of(snapshot: &Snapshot, before: Option<&Names>) -> Names {
        let mut names = Names {
            generation: snapshot.generation,
            folded: HashMap::new(),
            exact: HashMap::new(),
            slugs: HashMap::new(),
            foldings: HashMap::new(),
        };
        for server in snapshot.servers.iter().filter(|s| s.status == ServerStatus::Active) {
            names.slugs.insert(server.id, server.slug.to_string());
            for tool in server.tools.iter() {
                // Our own were there first.
                let ours = server.endpoint == Endpoint::InProcess;
                let since = if ours { None } else { snapshot.tool_since(server.id, &tool.name) };
                let since = since.or(ours.then_some(Timestamp::UNIX_EPOCH));
                let owner = Owner { server: server.id, name: tool.name.as_str().into(), since };
                let known = before.and_then(|names| names.foldings.get(&tool.name)).cloned();
                let folded = known.unwrap_or_else(|| lookalike::foldings(&tool.name).collect());
                for folding in &folded {
                    names.folded.entry(folding.clone()).or_default().push(owner.clone());
                }
                names.foldings.insert(tool.name.clone(), folded);
                names.exact.entry(tool.name.clone()).or_default().push(owner);
            }
        }
        names
    }

    /// What `raw`, the definition of a tool of that name on that server, does with names.
    pub(super) fn of_tool(&self, server: ServerId, name: &str, raw: &str) -> Vec<Found> {
        let json = Json::checked_before(raw);
        let mut found = Vec::new();
        let mut about_name = |class, rule: &'static str| {
            let span = json.get("name").and_then(|name| name.span_in(raw)).unwrap_or_default();
            let (path, plain) = ("/name".to_owned(), name.to_owned());
            found.push(Found { class, rule: Name::BuiltIn(rule), path, span, plain });
        };
        if lookalike::is_odd(name) {
            about_name(Class::HiddenCharacters, ODD_NAME);
        }
        if self.looks_like_an_older_one(server, name) {
            about_name(Class::Injection, LOOKALIKE_NAME);
        }
        found.extend(self.in_texts(server, name, raw));
        found
    }

    /// The same of a text alone, be it a tool's or a server's.
    pub(super) fn in_texts(&self, server: ServerId, name: &str, raw: &str) -> Vec<Found> {
        let mut found = Vec::new();
        self.walk(server, name, (raw, Json::checked_before(raw)), "", &mut found);
        found
    }

    fn looks_like_an_older_one(&self, server: ServerId, name: &str) -> bool {
        let own = self.exact.get(name).into_iter().flatten().find(|own| own.server == server);
        let since = own.and_then(|own| own.since);
        // What is not known yet is the newest.
        let is_older = |other: &Owner| match (other.since, since) {
            (Some(theirs), Some(ours)) => (theirs, other.server) < (ours, server),
            (theirs, None) => theirs.is_some(),
            (None, Some(_)) => false,
        };
        lookalike::foldings(name).any(|folding| {
            let owners = self.folded.get(&folding).into_iter().flatten();
            let mut others = owners.filter(|other| other.server != server && &*other.name != name);
            others.any(|other| match (name.is_ascii(), other.name.is_ascii()) {
                (false, true) => true,
                (true, false) => false,
                (true, true) | (false, false) => is_older(other),
            })
        })
    }

    /// Texts that name other servers' tools and tell the reader what to do about them.
    fn walk(
        &self,
        server: ServerId,
        name: &str,
        (raw, json): (&str, Json<'_>),
        path: &str,
        found: &mut Vec<Found>,
    ) {
        match json.kind() {
            Kind::Object => {
                for member in json.members() {
                    let path = format!("{path}/{}", pointer(&member.key));
                    self.walk(server, name, (raw, member.value), &path, found);
                }
            }
            Kind::Array => {
                for (i, item) in json.elements().enumerate() {
                    self.walk(server, name, (raw, item), &format!("{path}/{i}"), found);
                }
            }
            Kind::String => {
                let Some(text) = json.as_str().filter(|text| lookalike::steers(text)) else {
                    return;
                };
                for (rule, word) in self.steered(server, name, &text) {
                    let span = place(raw, json, &word);
                    let (class, path) = (Class::Injection, path.to_owned());
                    found.push(Found { class, rule: Name::BuiltIn(rule), path, span, plain: word });
                }
            }
            Kind::Number | Kind::Bool | Kind::Null => {}
        }
    }

    /// Rule and word: other servers' tools that a text names, and servers whose tool of the same name it speaks of.
    fn steered(&self, server: ServerId, name: &str, text: &str) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for word in lookalike::mentions(text) {
            let owners = self.exact.get(word).map(Vec::as_slice).unwrap_or_default();
            let elsewhere = !owners.is_empty() && owners.iter().all(|owner| owner.server != server);
            if elsewhere && !found.iter().any(|(_, known)| known == word) {
                found.push((MENTIONS_OTHER_TOOL, word.to_owned()));
            }
        }
        let lower = text.to_lowercase();
        for owner in self.exact.get(name).into_iter().flatten().filter(|o| o.server != server) {
            let Some(slug) = self.slugs.get(&owner.server) else { continue };
            if slug.len() >= SHORTEST_SLUG && lookalike::stands_in(&lower, slug) {
                found.push((SHADOWED_TOOL, slug.clone()));
            }
        }
        found
    }

    /// Other servers with a tool of exactly that name, by slug.
    pub(super) fn namesakes(&self, server: ServerId, tool: &str) -> Vec<String> {
        let owners = self.exact.get(tool).into_iter().flatten().filter(|o| o.server != server);
        owners.filter_map(|owner| self.slugs.get(&owner.server).cloned()).take(NAMESAKES).collect()
    }
}

/// Where `word` stands in a string's source; the whole string where escapes hide it.
fn place(raw: &str, json: Json<'_>, word: &str) -> Range<usize> {
    let whole = json.span_in(raw).unwrap_or_default();
    let found = raw.get(whole.clone()).and_then(|source| source.find(word));
    match found {
        Some(at) => whole.start + at..whole.start + at + word.len(),
        None => whole,
    }
}

fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
