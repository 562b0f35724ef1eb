//! What servers' definitions were whenever somebody looked, byte for byte, and what was decided about those of tools.
//!
//! A definition is known by its pin, the SHA-256 of its exact bytes; the same bytes make one row and one record,
//! however many replicas see them. [`crate::tool`] writes what a whole look at a server shows, [`Store::saw`] what
//! single listings show on their way to a client. Deciding and listing is in `decide`. What is not decided and not in
//! use any more is kept up to a bound, the newest first.

mod decide;

use std::collections::{HashMap, HashSet};

use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::mcp::Listing;
use gateway_core::server::{Approval, Tool};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

pub use decide::{Asked, Decided, Place, StoredDefinition};

/// Longest text that is kept, bytes.
const LONGEST: usize = 256 << 10;
/// Longest name that is kept, bytes: an index holds it.
pub const LONGEST_NAME: usize = 1000;
/// Undecided definitions of one tool that are kept.
const MOST_OF_ONE: i64 = 20;
/// Undecided definitions of one server that are kept.
const MOST_OF_ALL: i64 = 2000;

/// What a definition defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DefinitionKind {
    Tool,
    Resource,
    ResourceTemplate,
    Prompt,
    Instructions,
}

impl From<Listing> for DefinitionKind {
    fn from(listing: Listing) -> DefinitionKind {
        match listing {
            Listing::Tools => DefinitionKind::Tool,
            Listing::Resources => DefinitionKind::Resource,
            Listing::ResourceTemplates => DefinitionKind::ResourceTemplate,
            Listing::Prompts => DefinitionKind::Prompt,
        }
    }
}

impl DefinitionKind {
    const ALL: [DefinitionKind; 5] = [
        DefinitionKind::Tool,
        DefinitionKind::Resource,
        DefinitionKind::ResourceTemplate,
        DefinitionKind::Prompt,
        DefinitionKind::Instructions,
    ];

    /// The name in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            DefinitionKind::Tool => "tool",
            DefinitionKind::Resource => "resource",
            DefinitionKind::ResourceTemplate => "resource_template",
            DefinitionKind::Prompt => "prompt",
            DefinitionKind::Instructions => "instructions",
        }
    }

    fn parse(name: &str) -> Result<DefinitionKind, StoreError> {
        let found = DefinitionKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| StoreError::Corrupt(format!("definition.kind: {name}")))
    }
}

/// The definitions of one server's tools that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// By pin; `None`: nobody has decided.
    pub known: HashMap<[u8; 32], Option<Approval>>,
    /// By name: since when there is such a tool.
    pub since: HashMap<String, Timestamp>,
}

/// What becomes of a tool that was not there at the first look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomers {
    /// It counts as approved.
    Pass,
    /// It waits for somebody's approval.
    Wait,
}

/// A definition as a listing showed it.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Of what.
    pub kind: DefinitionKind,
    /// Name, bytes and hashes; the annotations count for tools only.
    pub item: Tool,
    /// What the scanners saw in it, JSON text.
    pub findings: Option<String>,
}

/// What was new about a [`Sighting`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// These bytes were never seen before.
    pub is_new: bool,
    /// What is known of the tool before them: definition and hash.
    pub before: Option<(String, [u8; 32])>,
    /// These findings were never seen in them before.
    pub is_flagged: bool,
}

impl Store {
    /// Keeps what listings showed, in one transaction; for each, in order, what was new about it. A tool's
    /// definition is from then on the last one that is known of it. Nothing where the server is gone.
    pub async fn saw(
        &self,
        server: ServerId,
        sightings: &[Sighting],
        newcomers: Newcomers,
        now: Timestamp,
    ) -> Result<Vec<Told>, StoreError> {
        self.within("keep what a listing showed", async {
            let mut transaction = self.change().await?;
            let Some(mut known) = Known::load(&mut transaction, server).await? else {
                return Ok(vec![Told::default(); sightings.len()]);
            };
            let mut told = Vec::with_capacity(sightings.len());
            for sighting in sightings {
                told.push(known.saw(&mut transaction, sighting, newcomers, now).await?);
            }
            prune(&mut transaction, server).await?;
            transaction.commit().await?;
            Ok(told)
        })
        .await
    }
}

/// What is known of one server's definitions, under the catalogue's lock.
pub(crate) struct Known {
    server: ServerId,
    pub(crate) had_first_look: bool,
    rows: HashMap<(DefinitionKind, String, [u8; 32]), Row>,
    tools: HashSet<String>,
}

struct Row {
    gone: bool,
    findings: Option<String>,
}

impl Known {
    pub(crate) async fn load(
        connection: &mut PgConnection,
        server: ServerId,
    ) -> Result<Option<Known>, StoreError> {
        let first = sqlx::query_scalar!("select baseline_at from server where id = $1", server.0)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(first) = first else { return Ok(None) };
        let stored = sqlx::query!(
            r#"select kind, name, pin, gone_at is not null as "gone!", findings
                 from definition where server_id = $1"#,
            server.0
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut known = Known {
            server,
            had_first_look: first.is_some(),
            rows: HashMap::new(),
            tools: HashSet::new(),
        };
        for row in stored {
            let kind = DefinitionKind::parse(&row.kind)?;
            if kind == DefinitionKind::Tool {
                known.tools.insert(row.name.clone());
            }
            let key = (kind, row.name, crate::catalogue::hash(&row.pin)?);
            known.rows.insert(key, Row { gone: row.gone, findings: row.findings });
        }
        Ok(Some(known))
    }

    async fn saw(
        &mut self,
        connection: &mut PgConnection,
        sighting: &Sighting,
        newcomers: Newcomers,
        now: Timestamp,
    ) -> Result<Told, StoreError> {
        let Sighting { kind, item, findings } = sighting;
        if item.name.len() > LONGEST_NAME || item.name.contains('\0') {
            return Ok(Told::default());
        }
        let is_tool = *kind == DefinitionKind::Tool;
        if is_tool && !self.had_first_look && newcomers == Newcomers::Wait {
            // The first look is about to come, and must not find anything decided.
            return Ok(Told::default());
        }
        let before = if is_tool { self.now_defined(connection, item).await? } else { None };
        let instead_of = before.as_ref().map(|(_, _, pin)| *pin).filter(|pin| *pin != item.pin);
        let is_new = self.pin(connection, (*kind, item), instead_of, newcomers, now).await?;
        if instead_of.is_some() {
            redefine(connection, self.server, item, now).await?;
        }
        let key = (*kind, item.name.clone(), item.pin);
        let row = self.rows.entry(key).or_insert(Row { gone: false, findings: None });
        let is_flagged = findings.is_some() && row.findings != *findings;
        if is_flagged {
            row.findings.clone_from(findings);
            flag(connection, self.server, sighting).await?;
        }
        let before = before.filter(|_| instead_of.is_some());
        Ok(Told { is_new, before: before.map(|(text, hash, _)| (text, hash)), is_flagged })
    }

    /// The tool's last known definition, its hash and its pin.
    async fn now_defined(
        &self,
        connection: &mut PgConnection,
        item: &Tool,
    ) -> Result<Option<(String, [u8; 32], [u8; 32])>, StoreError> {
        let row = sqlx::query!(
            "select definition, hash, pin from tool where server_id = $1 and name = $2",
            self.server.0,
            item.name
        )
        .fetch_optional(connection)
        .await?;
        let hash = crate::catalogue::hash;
        row.map(|row| Ok((row.definition, hash(&row.hash)?, hash(&row.pin)?))).transpose()
    }

    /// Makes sure that a definition is known; true when it was not.
    pub(crate) async fn pin(
        &mut self,
        connection: &mut PgConnection,
        (kind, item): (DefinitionKind, &Tool),
        instead_of: Option<[u8; 32]>,
        newcomers: Newcomers,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = (kind, item.name.clone(), item.pin);
        if let Some(row) = self.rows.get_mut(&key) {
            if std::mem::take(&mut row.gone) {
                self.back(connection, item).await?;
            }
            return Ok(false);
        }
        let is_tool = kind == DefinitionKind::Tool;
        let decided_by = match newcomers {
            _ if !is_tool => None,
            _ if !self.had_first_look => Some("first listing"),
            Newcomers::Pass if !self.tools.contains(&item.name) => Some("first sight"),
            Newcomers::Pass | Newcomers::Wait => None,
        };
        sqlx::query!(
            "insert into definition (server_id, kind, name, pin, hash, definition, decision,
                                     decided_by, decided_at, first_seen, instead_of)
             values ($1, $2, $3, $4, $5, $6, case when $7::text is null then null else 'approved' end,
                     $7, case when $7::text is null then null else $8::timestamptz end, $8, $9)",
            self.server.0,
            kind.as_str(),
            item.name,
            &item.pin[..],
            &item.hash[..],
            Some(item.definition.as_str()).filter(|text| text.len() <= LONGEST),
            decided_by,
            now,
            instead_of.as_ref().map(<[u8; 32]>::as_slice)
        )
        .execute(connection)
        .await?;
        if is_tool {
            self.tools.insert(item.name.clone());
        }
        self.rows.insert(key, Row { gone: false, findings: None });
        Ok(true)
    }

    async fn back(&self, connection: &mut PgConnection, item: &Tool) -> Result<(), StoreError> {
        sqlx::query!(
            "update definition set gone_at = null where server_id = $1 and kind = 'tool' and name = $2",
            self.server.0,
            item.name
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Tools that the server does not list any more.
    pub(crate) async fn gone(
        &self,
        connection: &mut PgConnection,
        names: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if names.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "update definition set gone_at = $3
              where server_id = $1 and kind = 'tool' and name = any($2) and gone_at is null",
            self.server.0,
            names,
            now
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The first look is over, once there was something to see.
    pub(crate) async fn looked(
        &self,
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.had_first_look || self.tools.is_empty() {
            return Ok(());
        }
        sqlx::query!("update server set baseline_at = $2 where id = $1", self.server.0, now)
            .execute(connection)
            .await?;
        Ok(())
    }
}

async fn redefine(
    connection: &mut PgConnection,
    server: ServerId,
    item: &Tool,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update tool set definition = $3, hash = $4, annotations = $5, changed_at = $6
          where server_id = $1 and name = $2",
        server.0,
        item.name,
        item.definition,
        &item.hash[..],
        &item.annotations,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn flag(
    connection: &mut PgConnection,
    server: ServerId,
    Sighting { kind, item, findings }: &Sighting,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update definition set findings = $5
          where server_id = $1 and kind = $2 and name = $3 and pin = $4",
        server.0,
        kind.as_str(),
        item.name,
        &item.pin[..],
        findings.as_deref()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A server that says something else every time must not fill the database.
pub(crate) async fn prune(
    connection: &mut PgConnection,
    server: ServerId,
) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from definition using (
             select kind, name, pin,
                    row_number() over (partition by kind, name order by first_seen desc, pin) as of_one,
                    row_number() over (order by first_seen desc, pin) as of_all
               from definition where server_id = $1 and decision is null) ranked
          where definition.server_id = $1 and definition.decision is null
            and (definition.kind, definition.name, definition.pin) = (ranked.kind, ranked.name, ranked.pin)
            and (ranked.of_one > $2 or ranked.of_all > $3)",
        server.0,
        MOST_OF_ONE,
        MOST_OF_ALL
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn load_pins(
    connection: &mut PgConnection,
) -> Result<HashMap<ServerId, Pins>, StoreError> {
    let rows = sqlx::query!(
        "select server_id, name, pin, decision, first_seen from definition
          where kind = 'tool' order by first_seen desc"
    )
    .fetch_all(connection)
    .await?;
    let mut pins: HashMap<ServerId, Pins> = HashMap::new();
    for row in rows {
        let decision = row.decision.as_deref().map(decide::approval).transpose()?;
        let of_server = pins.entry(ServerId(row.server_id)).or_default();
        of_server.known.insert(crate::catalogue::hash(&row.pin)?, decision);
        // The oldest comes last.
        of_server.since.insert(row.name, row.first_seen);
    }
    Ok(pins)
}
