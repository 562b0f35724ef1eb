//! What a server offers, read through the gateway, so that the policies' filter applies.
//!
//! Rows are short: a tool's whole schema costs a model thousands of tokens, and its client has it anyway.

use std::sync::Arc;

use gateway_core::decision::{Circumstances, Question, Target};
use gateway_core::json::Json;
use gateway_core::mcp::Listing;
use gateway_core::reason::Reason;
use gateway_core::scan::External;
use gateway_core::server::{Server, ServerStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer;
use super::run::Run;
use crate::connections::{Refusing, Unconnected};
use crate::perform::{Answer, Refused};
use crate::ports::Unread;
use crate::tool_list::{Shown, Standing};

/// Why an item that policies allow is withheld.
const HELD_BACK: &str =
    "its definition is not approved, or a scanner stops it: list_tool_definition_changes";

/// What is listed, and which page of it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOnServer {
    /// The server's id or slug.
    pub server_id: String,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Something that a server offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// A tool's or prompt's name, a resource's URI, a resource template's URI template.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people and models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A tool's annotations that are true, for instance `destructiveHint`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    /// True for a resource template.
    #[serde(skip_serializing_if = "is_false")]
    pub template: bool,
    /// Whether you may use it, with some arguments or once people agree.
    pub allowed: bool,
    /// Of a tool that nobody has approved as it is now: `changed`, `quarantined`, `rejected` or `blocked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<&'static str>,
    /// For admins, of what is withheld: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_withheld: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !*value
}

macro_rules! listing_operations {
    ($($(#[$doc:meta])* $name:ident = $listings:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub ListOnServer);

        impl From<ListOnServer> for $name {
            fn from(arguments: ListOnServer) -> $name {
                $name(arguments)
            }
        }

        impl $name {
            pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
                self.0.list(run, &$listings).await
            }
        }
    )+};
}

listing_operations! {
    /// Of `list_server_tools`.
    ListServerTools = [Listing::Tools];
    /// Of `list_server_resources`: resources and resource templates.
    ListServerResources = [Listing::Resources, Listing::ResourceTemplates];
    /// Of `list_server_prompts`.
    ListServerPrompts = [Listing::Prompts];
}

impl ListOnServer {
    async fn list(self, run: &Run<'_>, listings: &[Listing]) -> Result<Answer, Refused> {
        let server = run.server(&self.server_id)?;
        if server.status != ServerStatus::Active {
            let detail = format!("{} is {}", server.slug, server.status.as_str());
            return Err(Refused::new(Reason::ServerDisabled, detail));
        }
        let admin = run.may(false);
        let mut items = Vec::new();
        let (upstreams, caller) = (&run.governance.upstreams, &run.caller);
        let credential = run.governance.connections().credential(Some(caller), &server).await;
        let credential = credential.map_err(unconnected)?;
        for listing in listings {
            let raw = match upstreams.list(&server, *listing, caller, &credential).await {
                Ok(raw) => raw,
                // Servers without templates need not know the method.
                Err(_) if *listing == Listing::ResourceTemplates => Vec::new(),
                Err(unread) => return Err(unreadable(run, &server, unread).await),
            };
            hear(run, &server, *listing, &raw).await?;
            let page = Filter { run, server: &server, listing: *listing, admin };
            items.extend(raw.iter().filter_map(|text| page.item(text)));
        }
        answer(&run.page(items, self.limit, self.cursor.as_deref())?)
    }
}

/// Has the organisation's own scanner read what it has not, as on the way of the listing to a client.
async fn hear(
    run: &Run<'_>,
    server: &Arc<Server>,
    listing: Listing,
    items: &[String],
) -> Result<(), Refused> {
    let items = items.iter().map(|raw| (listing.into(), raw.as_str()));
    let guard = run.governance.tool_list();
    let Some(unheard) = guard.unheard(&run.snapshot, server, items) else { return Ok(()) };
    let heard = run.governance.hear(unheard, run.origin.call, Some(listing.method())).await;
    let open = run.snapshot.scanning(server.id).external == External::FailOpen;
    match heard {
        Err(silence) if silence.suspected || !open => {
            let detail = "the organisation's own scanner does not answer now; try again later";
            Err(Refused::new(Reason::ScannerUnavailable, detail))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// What a server's refusal of the caller's credential means is noted, so that the next question fares better.
async fn unreadable(run: &Run<'_>, server: &Server, unread: Unread) -> Refused {
    if let Some(refused) = &unread.refused {
        let connections = run.governance.connections();
        match connections.refused(&run.caller, server, refused.0, &refused.1).await {
            Refusing::Nothing => {}
            Refusing::Again(missing) | Refusing::Person(missing) => return unconnected(missing),
        }
    }
    Refused::new(unread.reason, format!("{}: {}", server.slug, unread.detail))
}

fn unconnected(unconnected: Unconnected) -> Refused {
    match unconnected.link {
        Some(link) => Refused::new(unconnected.reason, format!("open {link}")),
        None => Refused::new(unconnected.reason, unconnected.detail),
    }
}

struct Filter<'a> {
    run: &'a Run<'a>,
    server: &'a Arc<Server>,
    listing: Listing,
    admin: bool,
}

impl Filter<'_> {
    /// The row for one raw item; `None` when it is not the caller's to see. What of it may not be shown to clients is
    /// not shown here either, to nobody: a model reads this as well.
    fn item(&self, raw: &str) -> Option<Item> {
        let whole = Json::parse(raw.as_bytes()).ok()?;
        let name = whole.get(self.listing.key())?.as_str()?.into_owned();
        let target = target(self.listing, &name);
        let circumstances = self.run.circumstances();
        let (governance, snapshot) = (self.run.governance, &self.run.snapshot);
        let caller = &self.run.caller;
        let permitted = governance.listed(snapshot, caller, self.server, target, &circumstances);
        if !permitted && !self.admin {
            return None;
        }
        let guard = governance.tool_list();
        let shown = guard.item(snapshot, self.server, self.listing.into(), (&name, raw));
        let standing = matches!(self.listing, Listing::Tools)
            .then(|| guard.standing(snapshot, self.server, &name));
        let definition = standing.filter(|standing| *standing != Standing::Approved);
        let shown = match &shown {
            Shown::Whole => Some(whole),
            Shown::Masked(masked) => Json::parse(masked.as_bytes()).ok(),
            Shown::Cut => None,
        };
        let allowed = permitted && shown.is_some();
        if !allowed && !self.admin {
            return None;
        }
        let text = |member: &str| Some(shown?.get(member)?.as_str()?.into_owned());
        Some(Item {
            title: text("title"),
            description: text("description"),
            annotations: shown.map(true_annotations).unwrap_or_default(),
            template: self.listing == Listing::ResourceTemplates,
            allowed,
            definition: definition.map(Standing::as_str),
            why_withheld: match (permitted, shown.is_some()) {
                (true, true) => None,
                (false, _) => Some(self.why(target, &circumstances)),
                (true, false) => Some(HELD_BACK.into()),
            },
            name,
        })
    }

    fn why(&self, target: Target<'_>, circumstances: &Circumstances) -> String {
        let question = |user| Question {
            user,
            server: self.server,
            target,
            arguments: None,
            circumstances,
            confirmed: false,
        };
        let (policies, principals) = (&self.run.snapshot.policies, self.run.caller.principals());
        let withheld = principals.map(|user| policies.explain(&question(user)));
        let mut denied = withheld.filter(|explanation| explanation.verdict == "deny");
        denied.next().map(|explanation| explanation.reason).unwrap_or_default()
    }
}

fn target(listing: Listing, name: &str) -> Target<'_> {
    match listing {
        Listing::Tools => Target::Tool(name),
        Listing::Resources | Listing::ResourceTemplates => Target::Resource(name),
        Listing::Prompts => Target::Prompt(name),
    }
}

fn true_annotations(item: Json<'_>) -> Vec<String> {
    let annotations = item.get("annotations");
    annotations
        .into_iter()
        .flat_map(|annotations| annotations.members())
        .filter(|member| member.value.as_bool() == Some(true))
        .map(|member| member.key.into_owned())
        .collect()
}
