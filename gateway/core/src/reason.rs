//! Why something was refused: one closed, stable list for clients, audit rows, metrics and the runbook.

use serde::Serialize;

/// A refusal's reason. Its name never changes once released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// What arrived is not HTTP that can be read in only one way.
    MalformedRequest,
    /// The body is not strict JSON.
    InvalidJson,
    /// The body is JSON, but not one JSON-RPC message.
    InvalidMessage,
    /// A batch array.
    BatchNotSupported,
    /// The body is longer than `server.max_body`.
    BodyTooLarge,
    /// Request headers are too long or too many.
    HeadersTooLarge,
    /// The body did not arrive in time or broke off.
    BodyIncomplete,
    /// Neither JSON sent nor a usable answer type accepted.
    UnsupportedMediaType,
    /// An HTTP method that this address does not have.
    HttpMethodNotAllowed,
    /// No such address.
    NotFound,
    /// A required MCP header is missing, doubled, malformed or differs from the body.
    HeaderMismatch,
    /// A protocol version that the gateway or the upstream does not speak.
    UnsupportedProtocolVersion,
    /// Required parameters are missing or of the wrong type.
    InvalidParams,
    /// A method that the gateway does not know for this era.
    UnknownMethod,
    /// `Host` is not one of ours.
    HostNotAllowed,
    /// `Origin` is not one of ours.
    OriginNotAllowed,
    /// No credential was presented.
    CredentialMissing,
    /// A credential that is malformed, unknown, revoked or not for us.
    CredentialInvalid,
    /// A credential that was good once.
    CredentialExpired,
    /// More than one credential was presented.
    CredentialAmbiguous,
    /// A good token of a scope that does not reach where the request goes.
    InsufficientScope,
    /// No such server, or none on which the caller may do anything.
    ServerNotFound,
    /// The server is switched off.
    ServerDisabled,
    /// No such tool, resource or prompt, or none that a policy allows.
    TargetNotFound,
    /// A policy denies it, or an allowing policy's condition does not hold.
    PolicyDenied,
    /// A human must agree first.
    ConfirmationRequired,
    /// The human said no.
    ConfirmationDeclined,
    /// Nobody answered in time, or the agreement was used or is for another call.
    ConfirmationExpired,
    /// A session that we did not issue, that has expired, or that belongs to somebody else.
    SessionUnknown,
    /// A task that this principal did not start.
    TaskUnknown,
    /// A scanner blocked it.
    ScannerBlocked,
    /// A message that is too long to be scanned.
    ScanLimitExceeded,
    /// The external scanner does not answer, and nothing passes without it.
    ScannerUnavailable,
    /// The tool's definition is not the one that was approved.
    DefinitionNotApproved,
    /// The audit trail cannot be written: no record, no call.
    AuditUnavailable,
    /// The catalogue is older than the gateway may trust.
    CatalogueStale,
    /// The upstream could not be reached.
    UpstreamUnreachable,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream has not answered lately, and is not asked again before a moment has passed.
    UpstreamUnavailable,
    /// The upstream's answer is not usable.
    UpstreamInvalid,
    /// The upstream's address is not one that the gateway may connect to.
    UpstreamAddressRefused,
    /// The upstream's credential is missing on this replica.
    UpstreamCredentialMissing,
    /// The person has not connected their account at the server, or it does not work any more.
    ConnectionRequired,
    /// The server did not take the person's token; the next call has a new one.
    ConnectionStale,
    /// An account was not connected.
    ConnectionNotMade,
    /// A limit lets no more calls pass at the moment.
    RateLimited,
    /// A limit lets no more calls pass today.
    BudgetExhausted,
    /// Too much at once.
    Overloaded,
    /// The gateway is shutting down.
    ShuttingDown,
    /// An operation needs `confirm=true`.
    ConfirmMissing,
    /// The caller's roles do not allow the operation.
    RoleMissing,
    /// The thing asked for does not exist or is not the caller's.
    EntityNotFound,
    /// Two changes met.
    Conflict,
    /// As many of the caller's own as may be open are.
    TooManyOpen,
    /// Our own fault.
    Internal,
}

impl Reason {
    /// Every reason, in the order of the list above.
    pub const ALL: [Reason; 54] = [
        Reason::MalformedRequest,
        Reason::InvalidJson,
        Reason::InvalidMessage,
        Reason::BatchNotSupported,
        Reason::BodyTooLarge,
        Reason::HeadersTooLarge,
        Reason::BodyIncomplete,
        Reason::UnsupportedMediaType,
        Reason::HttpMethodNotAllowed,
        Reason::NotFound,
        Reason::HeaderMismatch,
        Reason::UnsupportedProtocolVersion,
        Reason::InvalidParams,
        Reason::UnknownMethod,
        Reason::HostNotAllowed,
        Reason::OriginNotAllowed,
        Reason::CredentialMissing,
        Reason::CredentialInvalid,
        Reason::CredentialExpired,
        Reason::CredentialAmbiguous,
        Reason::InsufficientScope,
        Reason::ServerNotFound,
        Reason::ServerDisabled,
        Reason::TargetNotFound,
        Reason::PolicyDenied,
        Reason::ConfirmationRequired,
        Reason::ConfirmationDeclined,
        Reason::ConfirmationExpired,
        Reason::SessionUnknown,
        Reason::TaskUnknown,
        Reason::ScannerBlocked,
        Reason::ScanLimitExceeded,
        Reason::ScannerUnavailable,
        Reason::DefinitionNotApproved,
        Reason::AuditUnavailable,
        Reason::CatalogueStale,
        Reason::UpstreamUnreachable,
        Reason::UpstreamTimeout,
        Reason::UpstreamUnavailable,
        Reason::UpstreamInvalid,
        Reason::UpstreamAddressRefused,
        Reason::UpstreamCredentialMissing,
        Reason::ConnectionRequired,
        Reason::ConnectionStale,
        Reason::ConnectionNotMade,
        Reason::RateLimited,
        Reason::BudgetExhausted,
        Reason::Overloaded,
        Reason::ShuttingDown,
        Reason::ConfirmMissing,
        Reason::RoleMissing,
        Reason::EntityNotFound,
        Reason::Conflict,
        Reason::TooManyOpen,
    ];

    /// The stable name: audit rows, metric labels, runbook headings, `data.reason`.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The JSON-RPC code. The specification's own code where it has one, else one of ours outside the
    /// reserved range -32768..-32000.
    pub fn code(self) -> i32 {
        self.row().2
    }

    /// What a client is told, in one sentence without a final full stop.
    pub fn message(self) -> &'static str {
        self.row().3
    }

    /// Whether another credential would help: the answer then says how to get one (`WWW-Authenticate`).
    pub fn is_about_the_credential(self) -> bool {
        self.status() == 401 || self == Reason::InsufficientScope
    }

    /// The error code of that challenge (RFC 6750, section 3.1); none where nothing was presented, and none for what is not
    /// about the credential.
    pub fn challenge_error(self) -> Option<&'static str> {
        if self == Reason::InsufficientScope {
            return Some("insufficient_scope");
        }
        (self.status() == 401 && self != Reason::CredentialMissing).then_some("invalid_token")
    }

    /// The reason of that stable name.
    pub fn parse(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().chain([Reason::Internal]).find(|r| r.as_str() == name)
    }

    /// What a crowd causes: a client can make as many of these as it likes, so the trail counts them together.
    pub fn comes_in_floods(self) -> bool {
        matches!(self, Reason::Overloaded | Reason::UpstreamUnavailable)
    }

    /// Seconds after which trying again makes sense; `None` where it does not.
    pub fn retry_after(self) -> Option<u32> {
        match self.status() {
            503 => Some(2),
            429 => Some(1),
            _ => None,
        }
    }

    fn row(self) -> (&'static str, u16, i32, &'static str) {
        match self {
            Reason::MalformedRequest => {
                ("malformed_request", 400, -31400, "The HTTP request is malformed or ambiguous")
            }
            Reason::InvalidJson => ("invalid_json", 400, -32700, "The body is not strict JSON"),
            Reason::InvalidMessage => {
                ("invalid_message", 400, -32600, "The body is not one JSON-RPC 2.0 message")
            }
            Reason::BatchNotSupported => (
                "batch_not_supported",
                400,
                -32600,
                "Batches are not supported; send one message per request",
            ),
            Reason::BodyTooLarge => ("body_too_large", 413, -31413, "The body is too large"),
            Reason::HeadersTooLarge => {
                ("headers_too_large", 431, -31431, "The request headers are too large")
            }
            Reason::BodyIncomplete => {
                ("body_incomplete", 408, -31408, "The body did not arrive whole and in time")
            }
            Reason::UnsupportedMediaType => (
                "unsupported_media_type",
                415,
                -31415,
                "Send application/json, accept application/json and text/event-stream",
            ),
            Reason::HttpMethodNotAllowed => (
                "http_method_not_allowed",
                405,
                -31405,
                "This address does not have that HTTP method",
            ),
            Reason::NotFound => ("not_found", 404, -31404, "There is nothing at this address"),
            Reason::HeaderMismatch => (
                "header_mismatch",
                400,
                -32020,
                "A required header is missing or does not match the body",
            ),
            Reason::UnsupportedProtocolVersion => (
                "unsupported_protocol_version",
                400,
                -32022,
                "The protocol version is not supported here",
            ),
            Reason::InvalidParams => (
                "invalid_params",
                400,
                -32602,
                "Required parameters are missing or of the wrong type",
            ),
            Reason::UnknownMethod => ("unknown_method", 404, -32601, "Method not found"),
            Reason::HostNotAllowed => {
                ("host_not_allowed", 403, -31403, "The Host header does not name this gateway")
            }
            Reason::OriginNotAllowed => {
                ("origin_not_allowed", 403, -31403, "Requests from this Origin are not allowed")
            }
            Reason::CredentialMissing => {
                ("credential_missing", 401, -31401, "Sign in first: no credential was presented")
            }
            Reason::CredentialInvalid => {
                ("credential_invalid", 401, -31401, "The credential is not valid here")
            }
            Reason::CredentialExpired => {
                ("credential_expired", 401, -31401, "The credential has expired; sign in again")
            }
            Reason::CredentialAmbiguous => {
                ("credential_ambiguous", 401, -31401, "More than one credential was presented")
            }
            Reason::InsufficientScope => {
                ("insufficient_scope", 403, -31403, "The token's scope does not reach here")
            }
            Reason::ServerNotFound => {
                ("server_not_found", 404, -31404, "There is no such server for you")
            }
            Reason::ServerDisabled => {
                ("server_disabled", 503, -31503, "The server is switched off")
            }
            Reason::TargetNotFound => (
                "target_not_found",
                200,
                -32602,
                "There is no such tool, resource or prompt for you",
            ),
            Reason::PolicyDenied => {
                ("policy_denied", 200, -31403, "A policy does not allow this call")
            }
            Reason::ConfirmationRequired => {
                ("confirmation_required", 200, -31428, "A person must agree to this call first")
            }
            Reason::ConfirmationDeclined => {
                ("confirmation_declined", 200, -31403, "A person has declined this call")
            }
            Reason::ConfirmationExpired => (
                "confirmation_expired",
                200,
                -31410,
                "Nobody agreed to this call in time; make it again to ask anew",
            ),
            Reason::SessionUnknown => (
                "session_unknown",
                404,
                -31404,
                "The session is unknown or has ended; initialize again",
            ),
            Reason::TaskUnknown => ("task_unknown", 200, -32602, "There is no such task for you"),
            Reason::ScannerBlocked => {
                ("scanner_blocked", 200, -31403, "A security scanner has blocked this call")
            }
            Reason::ScanLimitExceeded => (
                "scan_limit_exceeded",
                200,
                -31413,
                "The message is too long to be scanned, and nothing passes unread here",
            ),
            Reason::ScannerUnavailable => (
                "scanner_unavailable",
                503,
                -31503,
                "The security scanner does not answer, and nothing passes without it",
            ),
            Reason::DefinitionNotApproved => (
                "definition_not_approved",
                200,
                -31403,
                "The tool's definition has changed and waits for an admin's approval",
            ),
            Reason::AuditUnavailable => (
                "audit_unavailable",
                503,
                -31503,
                "The call was not made because it cannot be recorded now",
            ),
            Reason::CatalogueStale => {
                ("catalogue_stale", 503, -31503, "The gateway cannot read its rules now")
            }
            Reason::UpstreamUnreachable => {
                ("upstream_unreachable", 502, -31502, "The server cannot be reached")
            }
            Reason::UpstreamTimeout => {
                ("upstream_timeout", 504, -31504, "The server did not answer in time")
            }
            Reason::UpstreamUnavailable => (
                "upstream_unavailable",
                503,
                -31503,
                "The server has not answered lately; the call was not made, try again in a moment",
            ),
            Reason::UpstreamInvalid => {
                ("upstream_invalid", 502, -31502, "The server's answer is not usable")
            }
            Reason::UpstreamAddressRefused => (
                "upstream_address_refused",
                502,
                -31502,
                "The server's address is not one that the gateway may connect to",
            ),
            Reason::UpstreamCredentialMissing => (
                "upstream_credential_missing",
                502,
                -31502,
                "The gateway's credential for this server is missing",
            ),
            Reason::ConnectionRequired => (
                "connection_required",
                200,
                -31424,
                "Your account at this server must be connected first",
            ),
            Reason::ConnectionStale => (
                "connection_stale",
                200,
                -31424,
                "The server did not take the token; make the same call again to use a new one",
            ),
            Reason::ConnectionNotMade => {
                ("connection_not_made", 400, -31400, "Your account was not connected")
            }
            Reason::RateLimited => {
                ("rate_limited", 429, -31429, "Too many calls in this time; the call was not made")
            }
            Reason::BudgetExhausted => (
                "budget_exhausted",
                429,
                -31429,
                "Today's budget of calls is used up; the call was not made",
            ),
            Reason::Overloaded => ("overloaded", 503, -31503, "Too many calls at once"),
            Reason::ShuttingDown => ("shutting_down", 503, -31503, "The gateway is shutting down"),
            Reason::ConfirmMissing => {
                ("confirm_missing", 409, -31409, "Nothing was changed: repeat with confirm=true")
            }
            Reason::RoleMissing => ("role_missing", 403, -31403, "Your roles do not allow this"),
            Reason::EntityNotFound => {
                ("entity_not_found", 404, -31404, "There is no such thing, or it is not yours")
            }
            Reason::Conflict => {
                ("conflict", 409, -31409, "Somebody else changed it; read it again")
            }
            Reason::TooManyOpen => {
                ("too_many_open", 409, -31409, "Too many of yours are open; nothing was made")
            }
            Reason::Internal => (
                "internal",
                500,
                -32603,
                "The gateway failed; the call was not made or its outcome is unknown",
            ),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_codes_lie_outside_the_reserved_range_or_in_the_specification() {
        let specified = [-32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022];
        let mut names = HashSet::new();
        for reason in Reason::ALL.into_iter().chain([Reason::Internal]) {
            assert!(names.insert(reason.as_str()), "{reason}");
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            let code = reason.code();
            assert!(!(-32768..=-32000).contains(&code) || specified.contains(&code), "{reason}");
        }
    }
}
