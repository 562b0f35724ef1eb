//! Case files: who does what, and what must come of it. Written and read without Rust.
//!
//! A file has two parts, parted by a line `---`. First the setting in TOML: `[[policies]]` exactly as in
//! the desired state, `[[users]]` with `email`, `roles`, `groups`, `attributes`, `[[agents]]` with `name`, `roles` (in a
//! case: `agent:NAME`, or `agent:NAME for EMAIL` on a person's behalf), and `[[servers]]` with `slug` and
//! `tools = [{ name = "pay", annotations = ["destructiveHint"] }]` and `labels`. Then a case a line, `who | what |
//! expected`; `#` starts a comment line. `case_line.rs` has the words that a case is made of.

use gateway_core::caller::{Attributes, PrincipalKind, Role, User};
use gateway_core::decision::{Question, Verdict};
use gateway_core::ids::{PolicyId, ServerId, Slug, UserId};
use gateway_core::json::Json;
use gateway_core::label::Label;
use gateway_core::server::{Server, Tool};
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

use crate::case_line::{Case, Expected, What};
use crate::set::PolicySet;
use crate::spec::{PolicySpec, Source};

/// What came of a case file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseRun {
    /// How many cases were run.
    pub cases: usize,
    /// How many of them expect that nothing passes.
    pub denials: usize,
    /// Cases that ended otherwise than expected, and what could not be read.
    pub failures: Vec<CaseFailure>,
}

/// One case that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFailure {
    /// The file, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    #[serde(default)]
    users: Vec<Person>,
    #[serde(default)]
    agents: Vec<Program>,
    #[serde(default)]
    servers: Vec<Connector>,
    #[serde(default)]
    policies: Vec<PolicySpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    email: String,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    groups: Vec<String>,
    /// `{ department = ["finance"] }`.
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    roles: Vec<Role>,
    /// Nothing should come of these.
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Connector {
    slug: Slug,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    tools: Vec<ToolLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolLine {
    name: String,
    #[serde(default)]
    annotations: Vec<String>,
}

/// The setting of a file, ready to be asked.
struct Stage {
    set: PolicySet,
    users: Vec<User>,
    servers: Vec<Server>,
}

/// Runs the cases of one file; `file` is only used in messages.
pub fn run_cases(file: &str, text: &str) -> CaseRun {
    let mut run = CaseRun::default();
    let failure = |line, message: String| CaseFailure { file: file.into(), line, message };
    let lines: Vec<&str> = text.lines().collect();
    let Some(cut) = lines.iter().position(|line| line.trim_end() == "---") else {
        let message = "expected a line --- between the setting and the cases".into();
        run.failures.push(failure(lines.len().max(1), message));
        return run;
    };
    let stage = match Stage::read(&lines[..cut].join("\n")) {
        Ok(stage) => stage,
        Err(wrong) => {
            run.failures.extend(wrong.into_iter().map(|(line, message)| failure(line, message)));
            return run;
        }
    };
    for (number, line) in lines.iter().enumerate().skip(cut + 1) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        run.cases += 1;
        match Case::parse(line).and_then(|case| stage.run(&case).map(|()| case)) {
            Ok(case) => run.denials += usize::from(case.expected.refuses()),
            Err(message) => run.failures.push(failure(number + 1, message)),
        }
    }
    if run.cases == 0 && run.failures.is_empty() {
        run.failures.push(failure(lines.len(), "expected at least one case after ---".into()));
    }
    run
}

impl Stage {
    fn read(text: &str) -> Result<Stage, Vec<(usize, String)>> {
        let setting: Setting = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
            vec![(line, error.message().to_owned())]
        })?;
        let number = |n: usize| Uuid::from_u128(n as u128 + 1);
        let sources: Vec<Source> = setting
            .policies
            .into_iter()
            .enumerate()
            .map(|(n, spec)| Source { id: PolicyId(number(n)), spec })
            .collect();
        let set = PolicySet::compile(&sources).map_err(|found| {
            found.iter().map(|problem| (1, problem.to_string())).collect::<Vec<_>>()
        })?;
        let people = setting.users.into_iter().map(Person::user);
        let users = people.chain(setting.agents.into_iter().map(Program::user)).enumerate();
        let servers = setting.servers.into_iter().enumerate();
        Ok(Stage {
            set,
            users: users.map(|(n, user)| User { id: UserId(number(n)), ..user }).collect(),
            servers: servers.map(|(n, server)| server.server(ServerId(number(n)))).collect(),
        })
    }

    fn run(&self, case: &Case) -> Result<(), String> {
        let principals = self.principals(&case.who)?;
        let all = |may: &dyn Fn(&User) -> bool| principals.iter().all(|user| may(user));
        let got = match &case.what {
            What::Enter(slug) => {
                let server = self.server(slug)?;
                Expected::yes(all(&|user| self.set.may_enter(user, server)))
            }
            What::Operate { operation, stance } => {
                Expected::yes(all(&|user| self.set.authorize_as(user, operation, *stance)))
            }
            What::List(target) => {
                let server = self.server(&target.server)?;
                let listed = |user: &User| {
                    self.set.listed(user, server, target.target(), &target.circumstances).listed
                };
                Expected::listed(all(&listed))
            }
            What::Call { target, arguments, confirmed } => {
                let arguments = arguments.as_deref().map(|text| Json::parse(text.as_bytes()));
                let arguments = arguments.transpose().map_err(|error| error.to_string())?;
                let server = self.server(&target.server)?;
                let verdicts = principals.iter().map(|user| {
                    let question = Question {
                        user,
                        server,
                        target: target.target(),
                        arguments,
                        circumstances: &target.circumstances,
                        confirmed: *confirmed,
                    };
                    self.set.decide(&question).verdict
                });
                let verdict = verdicts.reduce(Verdict::and);
                self.named(verdict.ok_or("nobody calls")?)
            }
        };
        if case.expected.agrees(&got) {
            Ok(())
        } else {
            Err(format!("expected {}, got {got}", case.expected))
        }
    }

    /// `EMAIL`, `agent:NAME`, or `agent:NAME for EMAIL`.
    fn principals(&self, who: &str) -> Result<Vec<&User>, String> {
        let called = |name: &str| {
            let user = self.users.iter().find(|user| match name.strip_prefix("agent:") {
                Some(name) => user.kind == PrincipalKind::Agent && user.name == name,
                None => user.kind == PrincipalKind::Person && user.email == name,
            });
            user.ok_or_else(|| format!("nobody is called {name} in this file"))
        };
        match who.split_once(" for ") {
            Some((agent, person)) => Ok(vec![called(person.trim())?, called(agent.trim())?]),
            None => Ok(vec![called(who)?]),
        }
    }

    fn server(&self, slug: &str) -> Result<&Server, String> {
        let found = self.servers.iter().find(|server| server.slug.as_str() == slug);
        found.ok_or_else(|| format!("no server is called {slug} in this file"))
    }

    fn named(&self, verdict: Verdict) -> Expected {
        let (word, policies, approvers) = match verdict {
            Verdict::Allow { policies } => ("allow", policies, vec![]),
            Verdict::Deny(denial) if denial.invisible => ("not found", denial.policies, vec![]),
            Verdict::Deny(denial) => ("deny", denial.policies, vec![]),
            Verdict::Confirm(demand) => ("confirm", demand.policies, demand.approvers),
        };
        let names = policies.iter().map(|id| self.set.name(*id).unwrap_or_default().to_owned());
        Expected { word, by: Some(names.collect()), of: Some(approvers) }
    }
}

impl Person {
    fn user(self) -> User {
        let Person { email, roles, groups, attributes } = self;
        User {
            kind: PrincipalKind::Person,
            id: UserId(Uuid::nil()),
            name: email.clone(),
            email,
            roles,
            groups,
            attributes,
            active: true,
        }
    }
}

impl Program {
    fn user(self) -> User {
        let Program { name, client_id, roles, groups, attributes } = self;
        User {
            kind: PrincipalKind::Agent,
            id: UserId(Uuid::nil()),
            email: client_id,
            name,
            roles,
            groups,
            attributes,
            active: true,
        }
    }
}

impl Connector {
    fn server(self, id: ServerId) -> Server {
        let tools = self.tools.into_iter().map(|ToolLine { name, mut annotations }| {
            annotations.sort();
            Tool { name, definition: "{}".into(), hash: [0; 32], pin: [0; 32], annotations }
        });
        Server {
            title: self.slug.to_string(),
            labels: self.labels,
            tools: Arc::new(tools.collect()),
            ..Server::named(id, self.slug)
        }
    }
}
