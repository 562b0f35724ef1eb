//! Why something was not provisioned, in the words of RFC 7644 section 3.12.

use gateway_core::reason::Reason;
use gateway_store::StoreError;
use serde_json::{Value, json};

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct ScimError {
    /// The HTTP status.
    pub status: u16,
    /// The name of the error, where the RFC has one.
    pub kind: Option<&'static str>,
    /// What was expected.
    pub detail: String,
    /// For the trail and for metrics.
    pub reason: Reason,
}

impl ScimError {
    fn new(
        (status, kind): (u16, Option<&'static str>),
        reason: Reason,
        detail: impl Into<String>,
    ) -> ScimError {
        ScimError { status, kind, detail: detail.into(), reason }
    }

    /// The body as a whole is none that SCIM knows.
    pub fn syntax(detail: impl Into<String>) -> ScimError {
        ScimError::new((400, Some("invalidSyntax")), Reason::InvalidParams, detail)
    }

    pub(super) fn value(detail: impl Into<String>) -> ScimError {
        ScimError::new((400, Some("invalidValue")), Reason::InvalidParams, detail)
    }

    pub(super) fn path(detail: impl Into<String>) -> ScimError {
        ScimError::new((400, Some("invalidPath")), Reason::InvalidParams, detail)
    }

    pub(super) fn filter() -> ScimError {
        let detail = "filter: expected one attribute, eq and a value, as userName eq \"a@example.com\"; \
                      attributes are userName, displayName, externalId and id";
        ScimError::new((400, Some("invalidFilter")), Reason::InvalidParams, detail)
    }

    /// There is no such resource, or none that is provisioned.
    pub fn absent() -> ScimError {
        ScimError::new((404, None), Reason::EntityNotFound, "there is no such resource")
    }

    pub(super) fn taken() -> ScimError {
        let detail = "another one has this userName, displayName or externalId";
        ScimError::new((409, Some("uniqueness")), Reason::Conflict, detail)
    }

    pub(super) fn foreign() -> ScimError {
        let detail = "this group is in the desired state, which alone removes it";
        ScimError::new((403, Some("mutability")), Reason::RoleMissing, detail)
    }

    pub(super) fn unavailable() -> ScimError {
        ScimError::new((503, None), Reason::CatalogueStale, "try again later")
    }

    pub(super) fn unrecorded() -> ScimError {
        let detail = "nothing was changed: it could not be recorded; try again later";
        ScimError::new((503, None), Reason::AuditUnavailable, detail)
    }

    pub(super) fn store(error: StoreError) -> ScimError {
        tracing::error!(%error, "provisioning failed in the database");
        match error.is_unavailable() {
            true => ScimError::unavailable(),
            false => ScimError::new((500, None), Reason::Internal, "the database refused"),
        }
    }

    /// The body of the answer.
    pub fn json(&self) -> Value {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.to_string(),
            "detail": self.detail,
        });
        if let Some(kind) = self.kind {
            body["scimType"] = kind.into();
        }
        body
    }
}
