//! What the faces say of a refusal. How they say it is their own.

use gateway_core::reason::Reason;

/// The refusal in one sentence without a final full stop. Details about what the client sent or may do are told;
/// what the gateway knows of itself, and what is wrong with a credential, stays in the record.
pub(super) fn sentence(reason: Reason, detail: &str) -> String {
    let inward = reason.status() >= 500;
    let credential = reason.is_about_the_credential() && reason != Reason::CredentialAmbiguous;
    match detail.trim_end_matches('.') {
        "" => reason.message().to_owned(),
        _ if inward || credential => reason.message().to_owned(),
        detail => format!("{}: {detail}", reason.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_the_gateway_and_of_credentials_are_not_told() {
        let told = sentence(Reason::InvalidParams, "limit: at most 200.");
        assert!(told.ends_with(": limit: at most 200"), "{told}");
        for reason in [
            Reason::CredentialInvalid,
            Reason::InsufficientScope,
            Reason::AuditUnavailable,
            Reason::UpstreamTimeout,
        ] {
            assert_eq!(sentence(reason, "connection to 10.0.0.7 refused"), reason.message());
        }
        assert!(sentence(Reason::CredentialAmbiguous, "2 headers").ends_with("2 headers"));
    }
}
