//! What a server told about itself: the eras that it speaks and its tools' definitions, byte for byte.

use std::collections::HashMap;

use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::server::{Eras, Tool};

use crate::definition::{DefinitionKind, Known, LONGEST_NAME, Newcomers, prune};
use crate::error::StoreError;
use crate::pool::Store;

/// What a fresh look at a server changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// The eras differ from before.
    pub eras: bool,
    /// Names of tools that are new.
    pub added: Vec<String>,
    /// Tools whose definition changed by at least one byte.
    pub changed: Vec<ChangedTool>,
    /// Names of tools that are gone.
    pub removed: Vec<String>,
    /// Names of tools that nobody knew and that wait for somebody's approval.
    pub waiting: Vec<String>,
}

/// A tool that is defined otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedTool {
    /// Its name.
    pub name: String,
    /// The definition before, JSON text.
    pub before: String,
    /// The definition now, JSON text.
    pub after: String,
    /// Hashes of the two.
    pub hashes: [[u8; 32]; 2],
    /// SHA-256 of the bytes before.
    pub pin: [u8; 32],
}

impl Learned {
    /// True when nothing was written.
    pub fn is_nothing(&self) -> bool {
        *self == Learned::default()
    }
}

impl Store {
    /// Makes `eras` and `tools` what is known of the server; writes only what differs, so that a look that
    /// shows nothing new leaves the catalogue's version alone. `None` without such a server. Tools that
    /// cannot be stored (a NUL in the name) and later ones of a doubled name are left out: they stay
    /// unknown, and what is unknown cannot be called.
    pub async fn learn(
        &self,
        server: ServerId,
        eras: Eras,
        tools: &[Tool],
        (now, newcomers): (Timestamp, Newcomers),
    ) -> Result<Option<Learned>, StoreError> {
        let tools = storable(server, tools);
        self.within("store what a server told", async {
            let mut transaction = self.change().await?;
            let known = sqlx::query!("select legacy, modern from server where id = $1", server.0)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(known) = known else { return Ok(None) };
            let mut learned = Learned::default();
            if (known.legacy, known.modern) != (Some(eras.legacy), Some(eras.modern)) {
                learned.eras = true;
                sqlx::query!(
                    "update server set legacy = $2, modern = $3 where id = $1",
                    server.0,
                    eras.legacy,
                    eras.modern
                )
                .execute(&mut *transaction)
                .await?;
            }
            let Some(mut pins) = Known::load(&mut transaction, server).await? else {
                return Ok(None);
            };
            write_tools(&mut transaction, server, &tools, now, &mut learned).await?;
            let changed: HashMap<&str, [u8; 32]> =
                learned.changed.iter().map(|tool| (tool.name.as_str(), tool.pin)).collect();
            for tool in &tools {
                let before = changed.get(tool.name.as_str()).copied();
                let seen = (DefinitionKind::Tool, *tool);
                let is_new = pins.pin(&mut transaction, seen, before, newcomers, now).await?;
                let waits = pins.had_first_look && newcomers == Newcomers::Wait;
                if is_new && waits && before.is_none() {
                    learned.waiting.push(tool.name.clone());
                }
            }
            pins.gone(&mut transaction, &learned.removed, now).await?;
            pins.looked(&mut transaction, now).await?;
            if !learned.changed.is_empty() {
                prune(&mut transaction, server).await?;
            }
            transaction.commit().await?;
            Ok(Some(learned))
        })
        .await
    }
}

fn storable(server: ServerId, tools: &[Tool]) -> Vec<&Tool> {
    let mut seen = std::collections::HashSet::new();
    tools
        .iter()
        .filter(|tool| {
            let fits = !tool.name.contains('\0')
                && tool.name.len() <= LONGEST_NAME
                && !tool.definition.contains('\0')
                && seen.insert(tool.name.as_str());
            if !fits {
                tracing::warn!(%server, tool = ?tool.name, "tool left out: doubled, too long a name, or NUL in it");
            }
            fits
        })
        .collect()
}

async fn write_tools(
    connection: &mut sqlx::PgConnection,
    server: ServerId,
    tools: &[&Tool],
    now: Timestamp,
    learned: &mut Learned,
) -> Result<(), StoreError> {
    let names: Vec<String> = tools.iter().map(|tool| tool.name.clone()).collect();
    learned.removed = sqlx::query_scalar!(
        "delete from tool where server_id = $1 and name <> all($2) returning name",
        server.0,
        &names
    )
    .fetch_all(&mut *connection)
    .await?;
    for (position, tool) in (0_i32..).zip(tools) {
        let before = sqlx::query!(
            "select definition, hash, pin, annotations, position from tool
              where server_id = $1 and name = $2",
            server.0,
            tool.name
        )
        .fetch_optional(&mut *connection)
        .await?;
        match before {
            None => learned.added.push(tool.name.clone()),
            Some(row) if row.definition != tool.definition || row.hash != tool.hash => {
                learned.changed.push(ChangedTool {
                    name: tool.name.clone(),
                    before: row.definition,
                    after: tool.definition.clone(),
                    hashes: [crate::catalogue::hash(&row.hash)?, tool.hash],
                    pin: crate::catalogue::hash(&row.pin)?,
                });
            }
            Some(row) if row.position != position || row.annotations != tool.annotations => {}
            Some(_) => continue,
        }
        sqlx::query!(
            "insert into tool
                 (server_id, name, position, definition, hash, annotations, first_seen, changed_at)
             values ($1, $2, $3, $4, $5, $6, $7, $7)
             on conflict (server_id, name) do update
                set position = excluded.position, definition = excluded.definition,
                    hash = excluded.hash, annotations = excluded.annotations,
                    changed_at = excluded.changed_at",
            server.0,
            tool.name,
            position,
            tool.definition,
            &tool.hash[..],
            &tool.annotations,
            now
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
