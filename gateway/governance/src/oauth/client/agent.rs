//! Agent accounts at the token endpoint: they prove themselves by their secret, or by an assertion signed with
//! a key of theirs (RFC 7523), which counts once. Whoever fails learns nothing about what is known here.

use std::sync::Arc;

use gateway_store::agent::StoredAgent;

use super::presented;
use super::signed::{self, Keys};
use crate::oauth::AuthorizationServer;
use crate::oauth::error::OauthError;
use crate::oauth::form::Form;

impl AuthorizationServer {
    /// The enabled agent account that asks for a token.
    pub(crate) async fn proven_agent(
        &self,
        form: &Form,
        authorization: Option<&str>,
    ) -> Result<Arc<StoredAgent>, OauthError> {
        let presented = presented(form, authorization)?;
        let agent = match (presented.secret, presented.assertion) {
            (Some(secret), None) => self.by_secret(&presented.id, &secret)?,
            (None, Some(assertion)) => self.by_assertion(&presented.id, assertion).await?,
            (_, _) => return Err(OauthError::client("the agent did not prove itself")),
        };
        if !agent.principal.active {
            return Err(OauthError::client("the agent account is disabled"));
        }
        Ok(agent)
    }

    fn by_secret(&self, id: &str, secret: &str) -> Result<Arc<StoredAgent>, OauthError> {
        // Hashed whatever there is to compare it with.
        let hash = self.hash(AGENT_SECRET, secret);
        let snapshot = self.current.snapshot();
        let agent = snapshot.agent_by_client_id(id);
        let agent = agent.ok_or_else(|| OauthError::client("there is no such agent account"))?;
        if agent.secret_hash != Some(hash) {
            return Err(OauthError::client("the agent's secret is wrong, or it has none"));
        }
        Ok(Arc::clone(agent))
    }

    async fn by_assertion(
        &self,
        named: &str,
        assertion: (&str, &str),
    ) -> Result<Arc<StoredAgent>, OauthError> {
        let (id, token) = signed::named(named, assertion)?;
        let snapshot = self.current.snapshot();
        let agent = snapshot.agent_by_client_id(&id);
        let agent = agent.ok_or_else(|| OauthError::client("there is no such agent account"))?;
        let none = || OauthError::client("the agent does not sign assertions");
        let keys = Keys::Inline(agent.jwks.clone().ok_or_else(none)?);
        self.take_assertion(&id, &keys, token).await?;
        Ok(Arc::clone(agent))
    }
}

/// What is hashed, in [`AuthorizationServer::hash`].
pub(crate) const AGENT_SECRET: &str = "agent_secret";
