//! Token exchange (RFC 8693): an agent account acts on a person's behalf, who has let it. The agent proves itself
//! as a client or by its own access token; the person is named by an access token of theirs, by e-mail address
//! or by id. The answer is the same whether there is no such person, no leave, or no good token.

use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::{PrincipalKind, User};
use gateway_core::ids::{ServerId, UserId};
use gateway_store::agent::StoredAgent;
use serde_json::json;

use super::super::audience::Audience;
use super::super::error::OauthError;
use super::super::form::Form;
use super::super::token::{Given, Granted, TokenRequest};
use super::super::{AuthorizationServer, LONGEST_TOKEN, scope};
use crate::snapshot::Snapshot;

/// Its `grant_type`.
pub(crate) const NAME: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const USER_EMAIL: &str = "urn:runlayer:token-type:user-email";
const USER_ID: &str = "urn:runlayer:token-type:user-id";

pub(crate) async fn exchange(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Given, OauthError> {
    let form = request.form;
    if form.get("requested_token_type").is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        let expected = format!("requested_token_type: expected {ACCESS_TOKEN}");
        return Err(OauthError::request(expected));
    }
    let scope = scope::requested(form.get("scope"))?;
    let agent = actor(server, request).await?;
    let (snapshot, now) = (server.current.snapshot(), server.clock.now());
    let user = subject(server, &snapshot, form, now)?;
    let gone = || OauthError::grant("the agent account is gone");
    let principal = snapshot.agent(agent.principal.id).map(Arc::clone).ok_or_else(gone)?;
    if !snapshot.delegates(principal.id, user.id, now) {
        return Err(OauthError::grant("the person has not let the agent act for them"));
    }
    let audience = server.audience_for(form, &[&user, &principal])?;
    let at: Option<ServerId> = match server.addresses.audience(&audience) {
        Some(Audience::Server(id)) => Some(id),
        Some(Audience::Gateway) | None => None,
    };
    let pair = (principal.id, user.id);
    let leave = snapshot.delegation(pair, at, now).or_else(|| {
        // For the whole gateway: good at the servers of the delegation, and nowhere else.
        let any = |d: &&gateway_store::agent::StoredDelegation| (d.agent, d.user) == pair;
        snapshot.delegations().find(any).filter(|_| at.is_none())
    });
    let leave =
        leave.ok_or_else(|| OauthError::grant("the person has not let the agent act there"))?;
    let lifetime = leave.expires_at.map_or(LONGEST_TOKEN, |end| LONGEST_TOKEN.min(end - now));
    let issued = server
        .issue(Granted {
            subject: user.id,
            actor: Some(principal.id),
            client_id: principal.email.clone(),
            audience,
            scope: scope.clone(),
            session: agent.session,
            lifetime,
        })
        .await?;
    Ok(Given {
        issued,
        refresh_token: None,
        scope,
        more: vec![("issued_token_type", json!(ACCESS_TOKEN))],
        client: (principal.email.clone(), principal.name.clone()),
        user,
        actor: Some(principal),
        session: agent.session,
    })
}

/// Who is to act: whoever the client is, and whoever the actor token says; if both, the same.
async fn actor(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Arc<StoredAgent>, OauthError> {
    let form = request.form;
    let by_token = match (form.get("actor_token"), form.get("actor_token_type")) {
        (None, None) => None,
        (Some(token), Some(ACCESS_TOKEN)) => Some(by_actor_token(server, token)?),
        _ => {
            let expected =
                format!("actor_token_type: expected {ACCESS_TOKEN}, with an actor_token");
            return Err(OauthError::request(expected));
        }
    };
    let presents = request.authorization.is_some()
        || form.get("client_secret").is_some()
        || form.get("client_assertion").is_some();
    match by_token {
        None => server.proven_agent(form, request.authorization).await,
        Some(agent) if presents => {
            let client = server.proven_agent(form, request.authorization).await?;
            match client.principal.id == agent.principal.id {
                true => Ok(agent),
                false => Err(OauthError::grant("the actor token is another agent's")),
            }
        }
        Some(agent) => match form.get("client_id") {
            Some(id) if id != agent.principal.email => {
                Err(OauthError::grant("the actor token is another agent's"))
            }
            Some(_) | None => Ok(agent),
        },
    }
}

/// The agent's own access token: of no person, and for nobody else.
fn by_actor_token(
    server: &AuthorizationServer,
    token: &str,
) -> Result<Arc<StoredAgent>, OauthError> {
    let wrong = |why: &str| OauthError::grant(format!("actor_token: {why}"));
    let snapshot = server.current.snapshot();
    let own = server.own.read(&snapshot, token, server.clock.now());
    let own = own.map_err(|_| wrong("not a living access token of this gateway"))?;
    if own.actor().is_some() {
        return Err(wrong("an agent that acts for a person does not act for another"));
    }
    let agent = snapshot.agents.iter().find(|agent| agent.principal.id == own.subject());
    let agent = agent.filter(|agent| agent.principal.active);
    let agent = agent.ok_or_else(|| wrong("its subject is no enabled agent account"))?;
    if snapshot.is_revoked(own.session) || own.session != agent.session {
        return Err(wrong("its session was ended"));
    }
    Ok(Arc::clone(agent))
}

/// The person on whose behalf.
fn subject(
    server: &AuthorizationServer,
    snapshot: &Snapshot,
    form: &Form,
    now: Timestamp,
) -> Result<Arc<User>, OauthError> {
    let wrong = |why: &str| OauthError::grant(format!("subject_token: {why}"));
    let token = form.required("subject_token")?;
    let user = match form.required("subject_token_type")? {
        ACCESS_TOKEN => {
            let own = server.own.read(snapshot, token, now);
            let own = own.map_err(|_| wrong("not a living access token of this gateway"))?;
            if own.actor().is_some() || snapshot.is_revoked(own.session) {
                return Err(wrong("not a person's own, or its session was ended"));
            }
            snapshot.user(own.subject())
        }
        USER_EMAIL => snapshot.user_by_email(token),
        USER_ID => token.parse::<UserId>().ok().and_then(|id| snapshot.user(id)),
        _ => {
            let expected = format!("expected {ACCESS_TOKEN}, {USER_EMAIL} or {USER_ID}");
            return Err(OauthError::request(format!("subject_token_type: {expected}")));
        }
    };
    let person = |user: &&Arc<User>| user.active && user.kind == PrincipalKind::Person;
    user.filter(person).cloned().ok_or_else(|| wrong("no active person"))
}
