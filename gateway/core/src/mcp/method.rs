//! The methods that the gateway knows; everything else is refused.

use super::Era;

/// What a listing lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listing {
    /// `tools/list`
    Tools,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    ResourceTemplates,
    /// `prompts/list`
    Prompts,
}

impl Listing {
    /// The member of `result` that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            Listing::Tools => "tools",
            Listing::Resources => "resources",
            Listing::ResourceTemplates => "resourceTemplates",
            Listing::Prompts => "prompts",
        }
    }

    /// The member of an item that policies name.
    pub fn key(self) -> &'static str {
        match self {
            Listing::Tools | Listing::Prompts => "name",
            Listing::Resources => "uri",
            Listing::ResourceTemplates => "uriTemplate",
        }
    }

    /// The method.
    pub fn method(self) -> &'static str {
        match self {
            Listing::Tools => "tools/list",
            Listing::Resources => "resources/list",
            Listing::ResourceTemplates => "resources/templates/list",
            Listing::Prompts => "prompts/list",
        }
    }
}

/// A method or notification that the gateway lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `initialize`
    Initialize,
    /// `ping`
    Ping,
    /// `server/discover`
    Discover,
    /// `*/list`
    List(Listing),
    /// `tools/call`
    CallTool,
    /// `resources/read`
    ReadResource,
    /// `resources/subscribe`
    Subscribe,
    /// `resources/unsubscribe`
    Unsubscribe,
    /// `prompts/get`
    GetPrompt,
    /// `completion/complete`
    Complete,
    /// `logging/setLevel`
    SetLevel,
    /// `subscriptions/listen`
    Listen,
    /// `tasks/get`, `tasks/result`, `tasks/update`, `tasks/cancel`
    Task,
    /// `notifications/initialized`
    Initialized,
    /// `notifications/cancelled`
    Cancelled,
    /// `notifications/progress`
    Progress,
    /// `notifications/roots/list_changed`
    RootsListChanged,
    /// `notifications/tasks/status`, of a task that the client runs for the server
    TaskStatus,
}

impl Method {
    /// The request method of that name, in that era. Names are case-sensitive.
    pub fn of_request(name: &str, era: Era) -> Option<Method> {
        let legacy = era == Era::Legacy;
        Some(match name {
            "initialize" if legacy => Method::Initialize,
            "ping" if legacy => Method::Ping,
            "server/discover" => Method::Discover,
            "tools/list" => Method::List(Listing::Tools),
            "resources/list" => Method::List(Listing::Resources),
            "resources/templates/list" => Method::List(Listing::ResourceTemplates),
            "prompts/list" => Method::List(Listing::Prompts),
            "tools/call" => Method::CallTool,
            "resources/read" => Method::ReadResource,
            "resources/subscribe" if legacy => Method::Subscribe,
            "resources/unsubscribe" if legacy => Method::Unsubscribe,
            "prompts/get" => Method::GetPrompt,
            "completion/complete" => Method::Complete,
            "logging/setLevel" if legacy => Method::SetLevel,
            "subscriptions/listen" if !legacy => Method::Listen,
            "tasks/get" | "tasks/cancel" => Method::Task,
            "tasks/result" if legacy => Method::Task,
            "tasks/update" if !legacy => Method::Task,
            _ => return None,
        })
    }

    /// The client notification of that name.
    pub fn of_notification(name: &str) -> Option<Method> {
        Some(match name {
            "notifications/initialized" => Method::Initialized,
            "notifications/cancelled" => Method::Cancelled,
            "notifications/progress" => Method::Progress,
            "notifications/roots/list_changed" => Method::RootsListChanged,
            "notifications/tasks/status" => Method::TaskStatus,
            _ => return None,
        })
    }

    /// The member of `params` that names what the request is about.
    pub fn target_member(self) -> Option<&'static str> {
        match self {
            Method::CallTool | Method::GetPrompt => Some("name"),
            Method::ReadResource | Method::Subscribe | Method::Unsubscribe => Some("uri"),
            Method::Task => Some("taskId"),
            Method::Initialize
            | Method::Ping
            | Method::Discover
            | Method::List(_)
            | Method::Complete
            | Method::SetLevel
            | Method::Listen
            | Method::Initialized
            | Method::Cancelled
            | Method::Progress
            | Method::RootsListChanged
            | Method::TaskStatus => None,
        }
    }

    /// True for what may have effects upstream: nothing of it leaves before its record is durable.
    /// The rest is chatter, recorded without waiting.
    pub fn has_effects(self) -> bool {
        match self {
            Method::CallTool
            | Method::ReadResource
            | Method::GetPrompt
            | Method::Subscribe
            | Method::Unsubscribe
            | Method::Complete
            | Method::Task => true,
            Method::Initialize
            | Method::Ping
            | Method::Discover
            | Method::List(_)
            | Method::SetLevel
            | Method::Listen
            | Method::Initialized
            | Method::Cancelled
            | Method::Progress
            | Method::RootsListChanged
            | Method::TaskStatus => false,
        }
    }
}
