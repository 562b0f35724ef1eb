//! `client_credentials` (RFC 6749, section 4.4): an agent account acts for itself.

use std::sync::Arc;

use super::super::error::OauthError;
use super::super::token::{Given, Granted, TokenRequest};
use super::super::{AuthorizationServer, LONGEST_TOKEN, scope};

/// Its `grant_type`.
pub(crate) const NAME: &str = "client_credentials";

pub(crate) async fn exchange(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Given, OauthError> {
    let agent = server.proven_agent(request.form, request.authorization).await?;
    let scope = scope::requested(request.form.get("scope"))?;
    let snapshot = server.current.snapshot();
    let gone = || OauthError::grant("the agent account is gone");
    let principal = snapshot.agent(agent.principal.id).map(Arc::clone).ok_or_else(gone)?;
    let audience = server.audience_for(request.form, &[&principal])?;
    let issued = server
        .issue(Granted {
            subject: principal.id,
            actor: None,
            client_id: principal.email.clone(),
            audience,
            scope: scope.clone(),
            session: agent.session,
            lifetime: LONGEST_TOKEN,
        })
        .await?;
    Ok(Given {
        issued,
        refresh_token: None,
        scope,
        more: Vec::new(),
        client: (principal.email.clone(), principal.name.clone()),
        user: principal,
        actor: None,
        session: agent.session,
    })
}
