//! Signing in, on a real Postgres and against a provider that the tests play.

use crate::settings::Provider;

/// A provider.
pub(super) fn provider() -> Provider {
    Provider {
        name: "Example".into(),
        issuer: "https://idp.example.com".into(),
        client_id: "gateway".into(),
        client_secret: Some("s3cret".into()),
        scopes: vec!["email".into(), "profile".into()],
        allowed_domains: vec![],
        groups_claim: "groups".into(),
        email_claim: "email".into(),
        attributes: vec![],
        create_users: false,
    }
}
