//! A file store: tools to search and read, the same documents as resources. No state between requests.

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ErrorData, Implementation, ListResourcesResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

/// A made-up database password and a made-up address: the gateway is to mask both.
const ON_CALL: &str = "Database: postgres://oncall:qX7wfR2vLm9cTz@db.internal:5432/orders\n\
    Outside office hours write to night.shift@corp.example";

const DOCUMENTS: [(&str, &str); 5] = [
    ("handbook/welcome.md", "Welcome! Ask early, write things down."),
    ("engineering/release.md", "Release on Tuesdays. Two reviews. Watch the error rate."),
    ("engineering/oncall.md", ON_CALL),
    ("hr/salaries.csv", "name,salary\nBob,72000\nCarol,68000"),
    ("contracts/carol.md", "Until 31 December, 60 hours a month."),
];

#[derive(Clone)]
pub(super) struct Files;

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// Words to look for in names and texts.
    query: String,
}

#[derive(Deserialize, JsonSchema)]
struct Path {
    /// The document's path, for instance handbook/welcome.md.
    path: String,
}

#[tool_router(server_handler = false)]
impl Files {
    pub(super) fn new() -> Files {
        Files
    }

    #[tool(description = "Find documents", annotations(read_only_hint = true))]
    async fn search_files(&self, Parameters(search): Parameters<Search>) -> String {
        let wanted = search.query.to_lowercase();
        let found = DOCUMENTS.iter().filter(|(path, text)| {
            path.to_lowercase().contains(&wanted) || text.to_lowercase().contains(&wanted)
        });
        let paths: Vec<&str> = found.map(|(path, _)| *path).collect();
        if paths.is_empty() { "Nothing found".into() } else { paths.join("\n") }
    }

    #[tool(description = "Read a document", annotations(read_only_hint = true))]
    async fn read_file(&self, Parameters(wanted): Parameters<Path>) -> Result<String, String> {
        let text = document(&wanted.path);
        text.map(str::to_owned).ok_or_else(|| format!("There is no document {}", wanted.path))
    }

    #[tool(description = "Delete a document", annotations(destructive_hint = true))]
    async fn delete_file(&self, Parameters(wanted): Parameters<Path>) -> String {
        format!("{} would be gone now; this is a demo", wanted.path)
    }
}

fn document(path: &str) -> Option<&'static str> {
    DOCUMENTS.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}

#[tool_handler]
impl ServerHandler for Files {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("files", "2.0.1"))
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = DOCUMENTS.iter().map(|(path, _)| {
            Resource::new(format!("docs://{path}"), *path).with_mime_type("text/plain")
        });
        Ok(ListResourcesResult::with_all_items(resources.collect()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let text = request.uri.strip_prefix("docs://").and_then(document);
        let missing = || ErrorData::resource_not_found("There is no such document", None);
        let content = ResourceContents::text(text.ok_or_else(missing)?, request.uri.clone());
        Ok(ReadResourceResult::new(vec![content.with_mime_type("text/plain")]).into())
    }
}
