//! `jwt-bearer` (RFC 7523) with an identity assertion (ID-JAG): the organisation's identity provider vouches for a
//! person towards one client, and no consent page is shown. Only from issuers that the operator trusts with
//! that, for us, for the client that brings it, and once.

use std::sync::Arc;

use gateway_core::caller::User;
use gateway_core::ids::SessionId;
use gateway_store::oauth_session::StoredSession;
use time::Duration;

use super::super::AuthorizationServer;
use super::super::error::{ErrorCode, OauthError};
use super::super::scope;
use super::super::token::{Given, Granted, TokenRequest};
use crate::identity::assertion::Assertion;
use crate::settings::Issuer;

/// Its `grant_type`.
pub(crate) const NAME: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How far away an assertion's end may be.
const LONGEST: Duration = Duration::minutes(15);

pub(crate) async fn exchange(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Given, OauthError> {
    let form = request.form;
    let client = server.proven_client(form, request.authorization).await?;
    let token = form.required("assertion")?;
    let now = server.clock.now();
    let (said, issuer) = server
        .assertion_issuers
        .verify(token, &*server.fetch, now)
        .await
        .map_err(OauthError::grant)?;
    if said.audience != server.addresses.issuer() {
        return Err(OauthError::grant("the assertion is for somebody else"));
    }
    if said.expires_at > now + LONGEST {
        return Err(OauthError::grant("the assertion lives too long"));
    }
    if claim(&said, "client_id")?.as_deref() != Some(client.id.as_str()) {
        return Err(OauthError::grant("the assertion is for another client"));
    }
    let user = person(server, &said, issuer).await?;
    let scope = wanted_scope(&said, form.get("scope"))?;
    let audience = audience(server, &said, request, &user)?;
    let hash = server.hash("assertion", &format!("{}/{}", said.issuer, said.id));
    // Last: what is refused for another reason may be tried again.
    if !server.store.use_assertion(&hash, said.expires_at).await.map_err(OauthError::store)? {
        return Err(OauthError::grant("the assertion was used before"));
    }
    let session = StoredSession {
        id: SessionId(server.next_id()),
        user: user.id,
        client_name: client.id.chars().take(200).collect(),
        client_id: client.id,
        resource: audience.clone(),
        scope: scope.clone(),
        created_at: now,
        expires_at: now + server.settings.oauth.access_token,
    };
    server.store.start_session(&session).await.map_err(OauthError::store)?;
    let issued = server
        .issue(Granted {
            subject: user.id,
            actor: None,
            client_id: session.client_id.clone(),
            audience,
            scope: scope.clone(),
            session: session.id,
            lifetime: server.settings.oauth.access_token,
        })
        .await?;
    Ok(Given {
        issued,
        refresh_token: None,
        scope,
        more: Vec::new(),
        user,
        actor: None,
        session: session.id,
        client: (session.client_id, session.client_name),
    })
}

fn claim(said: &Assertion, name: &str) -> Result<Option<String>, OauthError> {
    said.text(name).map_err(OauthError::grant)
}

/// The active person who has signed in as the assertion's subject, else the one of the address that the issuer
/// vouches for: addresses change hands, subjects do not.
async fn person(
    server: &AuthorizationServer,
    said: &Assertion,
    issuer: &Issuer,
) -> Result<Arc<User>, OauthError> {
    let none = || OauthError::grant("the assertion names no active person");
    let linked = server.store.linked_user(&said.issuer, &said.subject).await;
    if let Some(id) = linked.map_err(OauthError::store)? {
        let snapshot = server.current.snapshot();
        return snapshot.user(id).filter(|user| user.active).cloned().ok_or_else(none);
    }
    if issuer.email_claim == "email" && !said.allows("email_verified") {
        return Err(OauthError::grant("the assertion's e-mail address is not verified"));
    }
    let email = claim(said, &issuer.email_claim)?.ok_or_else(none)?;
    let snapshot = server.current.snapshot();
    snapshot.user_by_email(&email).filter(|user| user.active).cloned().ok_or_else(none)
}

/// What the assertion grants, or less.
fn wanted_scope(said: &Assertion, asked: Option<&str>) -> Result<String, OauthError> {
    match claim(said, "scope")? {
        None => scope::requested(asked),
        Some(granted) => scope::narrowed(&scope::requested(Some(&granted))?, asked),
    }
}

/// What the assertion is for, which the request may repeat.
fn audience(
    server: &AuthorizationServer,
    said: &Assertion,
    request: TokenRequest<'_>,
    user: &Arc<User>,
) -> Result<String, OauthError> {
    let Some(named) = claim(said, "resource")? else {
        return server.audience_for(request.form, &[user]);
    };
    let wrong = || {
        let description = "resource: not what the assertion is for";
        OauthError::new(ErrorCode::InvalidTarget, description)
    };
    let audience = server.audience_of(Some(&named), &[user])?;
    match request.form.resource()? {
        Some(asked) if server.audience_of(Some(asked), &[user])? != audience => Err(wrong()),
        Some(_) | None => Ok(audience),
    }
}
