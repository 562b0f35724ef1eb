//! Agent accounts at the token endpoint: they prove themselves by their secret, or by an assertion signed with
//! a key of theirs (RFC 7523), which counts once. Whoever fails learns nothing about what is known here.

use std::sync::Arc;

use gateway_store::agent::StoredAgent;
use time::Duration;

use super::presented;
use crate::identity::assertion;
use crate::oauth::AuthorizationServer;
use crate::oauth::error::OauthError;
use crate::oauth::form::Form;

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far away an assertion's end may be.
const LONGEST: Duration = Duration::minutes(5);

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
            (None, Some((ASSERTION, token))) => self.by_assertion(&presented.id, token).await?,
            (None, Some(_)) => {
                return Err(OauthError::client("client_assertion_type: not jwt-bearer"));
            }
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

    async fn by_assertion(&self, named: &str, token: &str) -> Result<Arc<StoredAgent>, OauthError> {
        let now = self.clock.now();
        let issuer = assertion::claimed_issuer(token)
            .ok_or_else(|| OauthError::client("the client assertion cannot be read"))?;
        if !named.is_empty() && named != issuer {
            return Err(OauthError::client("the client assertion is of another client"));
        }
        let snapshot = self.current.snapshot();
        let agent = snapshot.agent_by_client_id(&issuer);
        let agent = agent.ok_or_else(|| OauthError::client("there is no such agent account"))?;
        let none = || OauthError::client("the agent does not sign assertions");
        let jwks = agent.jwks.as_deref().ok_or_else(none)?;
        let said = assertion::of_client(token, jwks, now).map_err(OauthError::client)?;
        if said.subject != issuer {
            return Err(OauthError::client("the assertion's sub is another than its iss"));
        }
        let own = self.addresses.issuer();
        if said.audience != own && said.audience != format!("{own}/api/v1/oauth/token") {
            return Err(OauthError::client("the client assertion is for somebody else"));
        }
        if said.expires_at > now + LONGEST + Duration::minutes(1) {
            return Err(OauthError::client("the client assertion lives too long"));
        }
        let hash = self.hash("client_assertion", &format!("{issuer}/{}", said.id));
        match self.store.use_assertion(&hash, said.expires_at).await.map_err(OauthError::store)? {
            true => Ok(Arc::clone(agent)),
            false => Err(OauthError::client("the client assertion was used before")),
        }
    }
}

/// What is hashed, in [`AuthorizationServer::hash`].
pub(crate) const AGENT_SECRET: &str = "agent_secret";
