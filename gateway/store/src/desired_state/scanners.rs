//! Settings of the scanners.

use std::collections::HashMap;

use gateway_core::ids::{ServerId, Slug};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Change, ChangeKind, DesiredScanners, Diff, Noun};
use crate::error::StoreError;
use crate::scanner::{StoredScanners, put, remove};

/// What a plan calls the organisation's settings. Servers' are called as they are.
const ORGANISATION: &str = "organisation";
/// What a plan shows where there are no settings.
const NONE: &str = "none";

/// Servers were made what the file says before this.
pub(super) async fn scanners(
    connection: &mut PgConnection,
    desired: &[DesiredScanners],
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    let known = crate::scanner::load(&mut *connection).await?;
    let ids: HashMap<String, ServerId> = crate::server::load(&mut *connection)
        .await?
        .into_iter()
        .map(|server| (server.slug.to_string(), server.id))
        .collect();
    let mut changes = Vec::new();
    let mut kept = Vec::new();
    for scanners in desired {
        let server = match &scanners.server {
            None => None,
            Some(slug) => Some(*ids.get(slug.as_str()).ok_or_else(|| absent(slug))?),
        };
        kept.push(server);
        let before = known.iter().find(|known| known.server == server);
        let name = scanners.server.as_ref().map_or(ORGANISATION, |slug| slug.as_str());
        let settings = scanners.settings_json.as_deref();
        changes.extend(update(&mut *connection, (name, server), before, settings).await?);
    }
    if prune {
        let gone =
            |known: &&StoredScanners| known.source == "apply" && !kept.contains(&known.server);
        for known in known.iter().filter(gone) {
            let slug = ids.iter().find(|(_, id)| Some(**id) == known.server);
            let name = slug.map_or(ORGANISATION, |(slug, _)| slug.as_str());
            changes
                .extend(update(&mut *connection, (name, known.server), Some(known), None).await?);
        }
    }
    Ok(changes)
}

async fn update(
    connection: &mut PgConnection,
    (name, server): (&str, Option<ServerId>),
    before: Option<&StoredScanners>,
    settings: Option<&str>,
) -> Result<Option<Change>, StoreError> {
    let was = before.map(|before| before.settings_json.as_str());
    match settings {
        Some(new) if was != Some(new) || before.is_some_and(|before| before.source != "apply") => {
            put(connection, server, new, "apply").await?;
        }
        Some(_) => {}
        None => remove(connection, server).await?,
    }
    let mut diff = Diff::default();
    diff.field("settings", was.unwrap_or(NONE), settings.unwrap_or(NONE));
    // The organisation has no id.
    let id = server.map_or(Uuid::nil(), |server| server.0);
    let change = diff.into_change(Noun::Scanners, name, id);
    Ok(match (was, settings) {
        (None, None) => None,
        (None, Some(_)) => Some(Change { kind: ChangeKind::Created, ..change }),
        (Some(_), None) => Some(Change { kind: ChangeKind::Deleted, ..change }),
        (Some(_), Some(_)) => Some(change),
    })
}

fn absent(slug: &Slug) -> StoreError {
    StoreError::Invalid(format!("scanners of \"{slug}\": there is no such server"))
}
