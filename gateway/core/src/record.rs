//! What the audit trail holds, as plain values: an [`Intent`] before a call leaves, an [`Event`] for what
//! came of it, and events of their own for refusals, sign-ins and changes.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::Timestamp;
use crate::caller::Caller;
use crate::ids::{CallId, ConfirmationId, EventId, ServerId, UserId};
use crate::reason::Reason;
use crate::scan::{Class, Guard, Mode};

/// Who did what through what: the part that an intent and its event share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The person; `None` when nobody could be identified.
    pub actor_id: Option<UserId>,
    /// The person's e-mail at the time; of an agent its client id.
    pub actor_email: Option<String>,
    /// `person` or `agent`.
    pub actor_kind: Option<&'static str>,
    /// The agent account that acts, for itself or on the actor's behalf.
    pub agent_id: Option<UserId>,
    /// Its name at the time.
    pub agent_name: Option<String>,
    /// `api_key`, `jwt`, `oauth_token` or `browser`.
    pub auth_method: Option<&'static str>,
    /// The key's id or the token's issuer; never a secret.
    pub credential: Option<String>,
    /// The MCP client's name, as it gives it.
    pub client_name: Option<String>,
    /// The MCP client's version, as it gives it.
    pub client_version: Option<String>,
    /// The caller's address.
    pub client_ip: Option<String>,
    /// A short hash of the session handle.
    pub session: Option<String>,
    /// The JSON-RPC id, as JSON text.
    pub request_id: Option<String>,
    /// The server.
    pub server_id: Option<ServerId>,
    /// The server's slug at the time.
    pub server_slug: Option<String>,
    /// The MCP method or operation.
    pub method: Option<String>,
    /// `legacy` or `modern`.
    pub era: Option<&'static str>,
    /// `tool`, `resource`, `prompt`, `server`, `policy`, ...
    pub resource_type: Option<&'static str>,
    /// Tool or prompt name, resource URI, entity id.
    pub resource_name: Option<String>,
    /// The deciding policies.
    pub policy_ids: Vec<String>,
    /// The confirmation that let it pass, or that it waits for.
    pub confirmation_id: Option<ConfirmationId>,
    /// What the scanners saw.
    pub findings: Vec<Finding>,
    /// The W3C trace id, as 32 hexadecimal digits.
    pub trace_id: Option<String>,
}

impl Subject {
    /// Names the caller.
    pub fn identified(&mut self, caller: &Caller) {
        self.actor_id = Some(caller.user.id);
        self.actor_email = Some(caller.user.email.clone());
        self.actor_kind = Some(caller.user.kind.as_str());
        self.agent_id = caller.agent().map(|agent| agent.id);
        self.agent_name = caller.agent().map(|agent| agent.name.clone());
        self.auth_method = Some(caller.auth.as_str());
        self.credential = Some(caller.credential.to_string());
    }
}

/// Something that a scanner saw. Never holds what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Who looked.
    pub guard: Guard,
    /// What kind of thing it is.
    pub class: Class,
    /// Stable rule name, for instance `github_token`.
    pub rule: Arc<str>,
    /// What was done about it.
    pub mode: Mode,
    /// The string that holds it, as a JSON Pointer (RFC 6901) into the message.
    pub path: String,
    /// Byte offset in the message.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// Its first characters, at most a quarter of it.
    pub excerpt: String,
    /// A keyed hash: the same secret has the same one.
    pub fingerprint: String,
    /// What scanning the message took, microseconds.
    pub scan_us: u64,
}

impl Finding {
    /// What is said of a message as a whole: nothing in it was found.
    pub fn whole(guard: Guard, class: Class, rule: &str, mode: Mode) -> Finding {
        Finding {
            guard,
            class,
            rule: rule.into(),
            mode,
            path: String::new(),
            offset: 0,
            length: 0,
            excerpt: String::new(),
            fingerprint: String::new(),
            scan_us: 0,
        }
    }
}

/// A call that is about to leave.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The call; also the intent row's id.
    pub id: CallId,
    /// When.
    pub at: Timestamp,
    /// Who does what.
    pub subject: Arc<Subject>,
    /// The call's arguments as sent, if they are to be kept.
    pub arguments: Option<Bytes>,
    /// Bytes of the request body.
    pub request_bytes: u64,
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// The row's id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// The exchange that it belongs to; the client saw this id as `correlation_id`.
    pub call: CallId,
    /// True when an intent row with `call` as its id stands before it: at most one event may.
    pub concludes_intent: bool,
    /// Who does what.
    pub subject: Arc<Subject>,
    /// What kind of event.
    pub action: ActionType,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// For operators: what was tried, on what. No secrets, no bodies.
    pub detail: Option<String>,
    /// From first byte in to last byte out, microseconds.
    pub latency_us: Option<u64>,
    /// Time spent with the upstream, microseconds.
    pub upstream_us: Option<u64>,
    /// Bytes of the request body.
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's body.
    pub response_bytes: Option<u64>,
    /// Arguments, where no intent holds them, if they are to be kept.
    pub arguments: Option<Bytes>,
    /// The answer, or a change's before and after, if it is to be kept.
    pub result: Option<Bytes>,
    /// How many like it this row stands for; 1 unless a flood was aggregated.
    pub count: u32,
}

impl Event {
    /// One that stands for itself and concludes no intent; nothing was measured, said or kept.
    pub fn new(
        id: EventId,
        at: Timestamp,
        call: CallId,
        subject: impl Into<Arc<Subject>>,
        action: ActionType,
        outcome: Outcome,
    ) -> Event {
        Event {
            id,
            at,
            call,
            concludes_intent: false,
            subject: subject.into(),
            action,
            outcome,
            reason: None,
            detail: None,
            latency_us: None,
            upstream_us: None,
            request_bytes: None,
            response_bytes: None,
            arguments: None,
            result: None,
            count: 1,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Ok,
    /// The upstream or the operation answered with an error.
    Error,
    /// Refused.
    Denied,
    /// The client went away or cancelled.
    Cancelled,
    /// Nobody knows: the gateway died, or the connection broke after the call had left.
    Unknown,
}

impl Outcome {
    /// The name in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Denied => "denied",
            Outcome::Cancelled => "cancelled",
            Outcome::Unknown => "unknown",
        }
    }
}

macro_rules! action_types {
    ($($(#[$doc:meta])? $name:ident = $text:literal),+ $(,)?) => {
        /// What kind of event an audit entry is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, clippy::allow_attributes, reason = "the names say it")]
        pub enum ActionType { $($name),+ }

        impl ActionType {
            /// Every action type.
            pub const ALL: &'static [ActionType] = &[$(ActionType::$name),+];

            /// The name in rows, filters and answers.
            pub fn as_str(self) -> &'static str {
                match self { $(ActionType::$name => $text),+ }
            }
        }
    };
}

action_types! {
    AuthSuccess = "auth_success",
    AuthFailed = "auth_failed",
    ToolCallSuccess = "tool_call_success",
    ToolCallFailure = "tool_call_failure",
    ResourceReadSuccess = "resource_read_success",
    ResourceReadFailure = "resource_read_failure",
    PromptGetSuccess = "prompt_get_success",
    PromptGetFailure = "prompt_get_failure",
    AccessDenied = "access_denied",
    RequestRefused = "request_refused",
    SecurityViolation = "security_violation",
    SecurityDecision = "security_decision",
    SessionStarted = "session_started",
    SessionEnded = "session_ended",
    ListingRead = "listing_read",
    MessageRelayed = "message_relayed",
    ConfirmationRequested = "confirmation_requested",
    ConfirmationApproved = "confirmation_approved",
    ConfirmationDeclined = "confirmation_declined",
    OperationRead = "operation_read",
    ServerCreated = "server_created",
    ServerUpdated = "server_updated",
    ServerDeleted = "server_deleted",
    ServerEnabled = "server_enabled",
    ServerDisabled = "server_disabled",
    ServerHealthChanged = "server_health_changed",
    ToolDefinitionChanged = "tool_definition_changed",
    ToolDefinitionsApproved = "tool_definitions_approved",
    ToolDefinitionsRejected = "tool_definitions_rejected",
    DefinitionFlagged = "definition_flagged",
    PolicyCreated = "policy_created",
    PolicyUpdated = "policy_updated",
    PolicyDeleted = "policy_deleted",
    AccessRequestCreated = "access_request_created",
    AccessRequestApproved = "access_request_approved",
    AccessRequestRejected = "access_request_rejected",
    AccessRequestCancelled = "access_request_cancelled",
    AccessRequestExpired = "access_request_expired",
    NoticeFailed = "notice_failed",
    LimitCreated = "limit_created",
    LimitUpdated = "limit_updated",
    LimitDeleted = "limit_deleted",
    SecurityScannerSettingsUpdated = "security_scanner_settings_updated",
    UserCreated = "user_created",
    UserUpdated = "user_updated",
    UserDeleted = "user_deleted",
    GroupCreated = "group_created",
    GroupUpdated = "group_updated",
    GroupDeleted = "group_deleted",
    ApiKeyCreated = "api_key_created",
    ApiKeyRevoked = "api_key_revoked",
    LocalPasswordSet = "local_password_set",
    SignInLinkCreated = "sign_in_link_created",
    OauthClientRegistered = "oauth_client_registered",
    OauthConsentGranted = "oauth_consent_granted",
    OauthConsentRefused = "oauth_consent_refused",
    OauthSessionRevoked = "oauth_session_revoked",
    OauthReuseDetected = "oauth_reuse_detected",
    AgentAccountCreated = "agent_account_created",
    AgentAccountUpdated = "agent_account_updated",
    AgentAccountEnabled = "agent_account_enabled",
    AgentAccountDisabled = "agent_account_disabled",
    AgentAccountSecretRotated = "agent_account_secret_rotated",
    DelegationCreated = "delegation_created",
    DelegationRevoked = "delegation_revoked",
    OauthConnected = "oauth_connected",
    OauthRevoked = "oauth_revoked",
    UpstreamTokenRefreshSuccess = "upstream_token_refresh_success",
    UpstreamTokenRefreshFailure = "upstream_token_refresh_failure",
}

impl ActionType {
    /// What a refusal for that reason is recorded as, whichever face refuses; `None` for what went wrong behind
    /// the decision: then the call was not refused, it failed, and the record is the call's own.
    pub fn of_refusal(reason: Reason) -> Option<ActionType> {
        match reason {
            Reason::CredentialMissing
            | Reason::CredentialInvalid
            | Reason::CredentialExpired
            | Reason::CredentialAmbiguous
            | Reason::InsufficientScope => Some(ActionType::AuthFailed),
            Reason::ServerNotFound
            | Reason::TargetNotFound
            | Reason::PolicyDenied
            | Reason::ConfirmationDeclined
            | Reason::ConfirmationExpired
            | Reason::RoleMissing
            | Reason::EntityNotFound => Some(ActionType::AccessDenied),
            Reason::ConfirmationRequired => Some(ActionType::ConfirmationRequested),
            Reason::ScannerBlocked | Reason::DefinitionNotApproved => {
                Some(ActionType::SecurityViolation)
            }
            Reason::UpstreamUnreachable
            | Reason::UpstreamTimeout
            | Reason::UpstreamInvalid
            | Reason::UpstreamAddressRefused
            | Reason::UpstreamCredentialMissing
            | Reason::Internal => None,
            Reason::MalformedRequest
            | Reason::InvalidJson
            | Reason::InvalidMessage
            | Reason::BatchNotSupported
            | Reason::BodyTooLarge
            | Reason::HeadersTooLarge
            | Reason::BodyIncomplete
            | Reason::UnsupportedMediaType
            | Reason::HttpMethodNotAllowed
            | Reason::NotFound
            | Reason::HeaderMismatch
            | Reason::UnsupportedProtocolVersion
            | Reason::InvalidParams
            | Reason::UnknownMethod
            | Reason::HostNotAllowed
            | Reason::OriginNotAllowed
            | Reason::ServerDisabled
            | Reason::SessionUnknown
            | Reason::TaskUnknown
            | Reason::ScanLimitExceeded
            | Reason::ScannerUnavailable
            | Reason::AuditUnavailable
            | Reason::CatalogueStale
            | Reason::ConnectionRequired
            | Reason::ConnectionStale
            | Reason::ConnectionNotMade
            | Reason::RateLimited
            | Reason::BudgetExhausted
            | Reason::Overloaded
            | Reason::ShuttingDown
            | Reason::ConfirmMissing
            | Reason::Conflict
            | Reason::TooManyOpen => Some(ActionType::RequestRefused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_credential_is_a_failed_sign_in_wherever_it_is_refused() {
        for reason in Reason::ALL {
            let failed = ActionType::of_refusal(reason) == Some(ActionType::AuthFailed);
            assert_eq!(failed, reason.is_about_the_credential(), "{reason}");
        }
    }
}
