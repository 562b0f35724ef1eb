//! The catalogue of well-known servers, for those who look for one to add.

#![expect(missing_docs, reason = "the names say it, and models pay for every word")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer;
use super::run::Run;
use crate::catalog::CatalogEntry;
use crate::perform::{Answer, Refused};

/// Of `list_catalog_servers`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCatalogServers {
    /// Only entries whose name, title or description has this text.
    #[serde(default)]
    pub query: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A well-known server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CatalogRow {
    /// The `catalog_entry` of create_server.
    pub name: String,
    pub title: String,
    pub description: String,
    pub url: String,
    /// `none`, `header` or `oauth_user`.
    pub auth_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// Slugs of servers here that were made from it and that you may use.
    pub servers: Vec<String>,
}

impl ListCatalogServers {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let query = self.query.unwrap_or_default().to_lowercase();
        let matches = |entry: &&CatalogEntry| {
            let texts = [&entry.name, &entry.title, &entry.description];
            texts.iter().any(|text| text.to_lowercase().contains(&query))
        };
        let catalog = &run.governance.settings.servers.catalog;
        let rows = catalog.entries().iter().filter(matches).map(|entry| row(run, entry)).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

fn row(run: &Run<'_>, entry: &CatalogEntry) -> CatalogRow {
    let made = run.snapshot.servers.iter().filter(|server| {
        server.catalog_entry.as_deref() == Some(entry.name.as_str())
            && (run.may_enter(server) || run.administers(server))
    });
    CatalogRow {
        name: entry.name.clone(),
        title: entry.title.clone(),
        description: entry.description.clone(),
        url: entry.url.clone(),
        auth_mode: entry.auth.mode(),
        website: entry.website.clone(),
        servers: made.map(|server| server.slug.to_string()).collect(),
    }
}
