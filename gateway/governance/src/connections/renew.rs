//! People's tokens, renewed before they end: once, whoever asks on whichever replica, because a refresh token that is
//! used twice can cost the whole connection.
//!
//! ```text
//! replica A   locks the row -> records the intent -> asks the issuer -> stores, lets go -> records the end
//! replica B   waits for the row .................................................. -> finds the new token
//! ```
//! A replica that dies between the issuer's answer and its commit loses the new refresh token; then the person
//! connects once more. No order of steps avoids that: the issuer has no part in our transaction.
//!
//! A server that answers 401 has refused the call before doing anything (RFC 6750). Still nothing is sent twice
//! where it may have had effects: whether a server is right about that is not ours to know. The token is
//! distrusted, the caller is told to make the call again, and that call renews first. Where nothing can have
//! happened (a listing), the line sends again by itself.

use std::time::Duration;

use gateway_core::caller::Caller;
use gateway_core::credential::Credential;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{OauthClient, Server, UpstreamAuth};
use gateway_store::connection::{LockedConnection, StoredConnection};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use tokio::time::timeout;

use super::challenge::Challenge;
use super::kept::KeptTokens;
use super::tokens::{Issued, NotIssued};
use super::trouble::Trouble;
use super::{Connections, Unconnected};

/// A token that ends sooner is renewed first.
const EARLY: time::Duration = time::Duration::seconds(60);
/// A new token that is refused within this time will not be taken after another renewal either.
const YOUNG: time::Duration = time::Duration::seconds(30);
/// The longest wait for one's turn.
const TURN: Duration = Duration::from_secs(9);

/// What a server's refusal of a credential means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusing {
    /// It is not about what the caller presents.
    Nothing,
    /// The next credential may be taken.
    Again(Unconnected),
    /// The person has to do something.
    Person(Unconnected),
}

impl Connections {
    /// The token of the caller's account.
    pub(super) async fn of_person(
        &self,
        caller: &Caller,
        server: &Server,
        client: &OauthClient,
    ) -> Result<Credential, Unconnected> {
        let (found, tokens) = self.usable(caller, server, client).await?;
        let now = self.clock.now();
        if found.expires_at.is_none_or(|expiry| expiry > now + EARLY) {
            return Ok(bearer(&tokens));
        }
        let still_good = found.expires_at.is_some_and(|expiry| expiry > now);
        if tokens.refresh.is_none() {
            return match still_good {
                true => Ok(bearer(&tokens)),
                false => {
                    Err(self
                        .connect_first(server, "the token has ended, and no other came with it"))
                }
            };
        }
        match self.renew(caller, server, client).await {
            Ok(renewed) => Ok(bearer(&renewed)),
            // The issuer is away; the token is not over yet.
            Err(Unconnected { link: None, .. }) if still_good => Ok(bearer(&tokens)),
            Err(unconnected) => Err(unconnected),
        }
    }

    /// Waits for a turn and for the row, looks again, and asks the issuer if that is still needed.
    async fn renew(
        &self,
        caller: &Caller,
        server: &Server,
        client: &OauthClient,
    ) -> Result<KeptTokens, Unconnected> {
        let places = self.places(server.id);
        let turn = async { (places.acquire().await, self.renewals.acquire().await) };
        let _turn = timeout(TURN, turn).await.map_err(|_| {
            Unconnected::from(Trouble::new(Reason::Overloaded, "too many tokens are being renewed"))
        })?;
        let locked = self.store.lock_connection(server.id, caller.user.id).await;
        let Some(locked) = locked.map_err(Trouble::from)? else {
            return Err(self.connect_first(server, "disconnected meanwhile"));
        };
        let (renewed, locked) = match self.looked_again(&locked, server, client).await {
            Ok(Some(tokens)) => {
                (self.ask(caller, server, client, (&locked, &tokens)).await, locked)
            }
            Ok(None) => {
                let tokens = self.open(locked.connection()).await?;
                locked.release().await.map_err(Trouble::from)?;
                return Ok(tokens);
            }
            Err(unconnected) => return Err(unconnected),
        };
        self.settle(renewed, locked, server).await
    }

    /// The tokens to renew; `None` when somebody else did it meanwhile.
    async fn looked_again(
        &self,
        locked: &LockedConnection,
        server: &Server,
        client: &OauthClient,
    ) -> Result<Option<KeptTokens>, Unconnected> {
        let found = locked.connection();
        if let Some(why) = broken(found) {
            return Err(self.connect_first(server, why));
        }
        if client.issuer.as_ref().is_some_and(|issuer| *issuer != found.issuer) {
            return Err(self.connect_first(server, "the server has another issuer now"));
        }
        let due = found.expires_at.is_some_and(|expiry| expiry <= self.clock.now() + EARLY);
        if !due {
            return Ok(None);
        }
        Ok(Some(self.open(found).await?))
    }

    async fn ask(
        &self,
        caller: &Caller,
        server: &Server,
        client: &OauthClient,
        (locked, tokens): (&LockedConnection, &KeptTokens),
    ) -> Result<Issued, NotIssued> {
        let Some(refresh) = tokens.refresh.clone().map(SecretString::from) else {
            return Err(NotIssued::GrantOver("no refresh token".into()));
        };
        let subject = self.subject(caller, server, "renew_token");
        let begun = self.intend(subject).await?;
        let client = tokens.client.client(client);
        let place = (locked.connection().issuer.as_str(), tokens.token_endpoint.as_str());
        let issued = match self.token_endpoint(place, &client, &tokens.resource) {
            Ok(endpoint) => endpoint.refresh(&refresh).await,
            Err(trouble) => Err(trouble.into()),
        };
        let trouble = issued.as_ref().err().cloned().map(NotIssued::into_trouble);
        self.conclude(begun, renewal(trouble.is_none()), trouble.as_ref());
        if issued.is_ok() {
            tracing::debug!(server = %server.slug, connection = %locked.connection().id, "a token was renewed");
        }
        issued
    }

    /// Stores what came, or why nothing will come any more.
    async fn settle(
        &self,
        renewed: Result<Issued, NotIssued>,
        locked: LockedConnection,
        server: &Server,
    ) -> Result<KeptTokens, Unconnected> {
        let found: StoredConnection = locked.connection().clone();
        let why = match renewed {
            Ok(issued) => {
                let now = self.clock.now();
                let tokens = self.open(&found).await?.with(&issued);
                let owner = (found.user, found.server, found.issuer.as_str());
                let sealed = self.seal(owner, &tokens).await?;
                let scope = issued.scope.as_deref().unwrap_or(&found.scope);
                let stored = locked.renewed(&sealed, scope, issued.expires_at(now), now).await;
                stored.map_err(Trouble::from)?;
                return Ok(tokens);
            }
            Err(NotIssued::GrantOver(_)) => "the issuer does not renew it any more",
            Err(NotIssued::ClientUnknown(_)) => "the issuer does not know the gateway any more",
            Err(NotIssued::Trouble(trouble)) => {
                locked.release().await.map_err(Trouble::from)?;
                return Err(trouble.into());
            }
        };
        let forget = why.contains("gateway").then(|| found.issuer.clone());
        locked.broken(why).await.map_err(Trouble::from)?;
        if let Some(issuer) = forget
            && let Ok(tokens) = self.open(&found).await
        {
            let dropped =
                self.store.drop_upstream_client(server.id, &issuer, &tokens.client.id).await;
            dropped.map_err(Trouble::from)?;
        }
        Err(self.connect_first(server, why))
    }

    /// The server refused what was presented for `caller`: notes what that means.
    pub async fn refused(
        &self,
        caller: &Caller,
        server: &Server,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Refusing {
        let client = match &server.auth {
            UpstreamAuth::OauthUser(client) => client,
            UpstreamAuth::OauthShared(_) | UpstreamAuth::TokenExchange(_) => {
                return self.own_refused(caller, server, status);
            }
            UpstreamAuth::None | UpstreamAuth::Header { .. } | UpstreamAuth::IdentityForward => {
                return Refusing::Nothing;
            }
        };
        let challenge = Challenge::of(headers);
        let lacks_scope = challenge.error.as_deref() == Some("insufficient_scope");
        if status != StatusCode::UNAUTHORIZED && !lacks_scope {
            return Refusing::Nothing;
        }
        let (found, tokens) = match self.usable(caller, server, client).await {
            Ok(found) => found,
            Err(unconnected) => return Refusing::Person(unconnected),
        };
        let now = self.clock.now();
        let hopeless = tokens.refresh.is_none() || now < found.refreshed_at + YOUNG;
        let why = match (lacks_scope, hopeless) {
            (true, _) => {
                let scope = challenge.scope.unwrap_or_default();
                format!("{LACKS_SCOPE}{}", scope.escape_default())
            }
            (false, true) => "the server does not take the token".to_owned(),
            (false, false) => {
                if let Err(error) = self.store.distrust(found.id, &found.sealed, now).await {
                    return Refusing::Person(Trouble::from(error).into());
                }
                let detail = "the server does not take the token any more; it is renewed";
                return Refusing::Again(Unconnected {
                    reason: Reason::ConnectionStale,
                    detail: detail.into(),
                    link: None,
                });
            }
        };
        match self.store.break_connection(found.id, &found.sealed, &why).await {
            Ok(()) => Refusing::Person(self.connect_first(server, &why)),
            Err(error) => Refusing::Person(Trouble::from(error).into()),
        }
    }
}

/// Begins the note on a connection whose token is good, but for too little; the scopes follow. It goes on to work
/// for what it is good for.
const LACKS_SCOPE: &str = "the server asks for more: ";

/// Why a connection does not work any more.
pub(crate) fn broken(found: &StoredConnection) -> Option<&str> {
    found.broken.as_deref().filter(|why| !why.starts_with(LACKS_SCOPE))
}

/// The scopes that the server asked for beyond those of a connection, separated by spaces.
pub(crate) fn lacks_scope(found: &StoredConnection) -> Option<&str> {
    found.broken.as_deref()?.strip_prefix(LACKS_SCOPE)
}

fn renewal(done: bool) -> ActionType {
    match done {
        true => ActionType::UpstreamTokenRefreshSuccess,
        false => ActionType::UpstreamTokenRefreshFailure,
    }
}

fn bearer(tokens: &KeptTokens) -> Credential {
    Credential::bearer(&SecretString::from(tokens.access.clone()))
}
