//! Asks servers on the gateway's own account: which eras they speak, what they list.

use async_trait::async_trait;
use gateway_core::caller::Caller;
use gateway_core::credential::Credential;
use gateway_core::mcp::Listing;
use gateway_core::reason::Reason;
use gateway_core::server::{Eras, Server};
use gateway_governance::{Probed, Unread, Upstreams};
use tokio::time::timeout;

use super::leg::Leg;
use super::talk::{Party, Talk, Unanswered, invalid};

#[async_trait]
impl Upstreams for Leg {
    async fn probe(&self, server: &Server, credential: &Credential) -> Result<Probed, Unread> {
        self.within(self.probe_eras(Party { server, credential, caller: None })).await
    }

    async fn ping(&self, server: &Server, credential: &Credential) -> Result<(), Unread> {
        self.within(async {
            let talk = self.greet(Party { server, credential, caller: None }).await?;
            talk.close().await;
            Ok(())
        })
        .await
    }

    async fn reachable(&self, url: &str) -> Result<(), Unread> {
        let uri = super::leg::address(url).map_err(|e| (e.reason, e.detail))?;
        let passed = self.connector.passes(&uri).await;
        passed.map_err(|not| (not.reason, not.detail).into())
    }

    async fn list(
        &self,
        server: &Server,
        listing: Listing,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<Vec<String>, Unread> {
        self.within(async {
            let party = Party { server, credential, caller: Some(caller) };
            let mut talk = self.open(party).await?;
            let items = talk.list(listing).await;
            talk.close().await;
            Ok(items?)
        })
        .await
    }
}

impl Leg {
    async fn within<T>(
        &self,
        asking: impl Future<Output = Result<T, Unread>>,
    ) -> Result<T, Unread> {
        let within = self.settings.listing_within;
        timeout(within, asking).await.unwrap_or_else(|_| {
            let detail = format!("not complete within {} s", within.as_secs_f32());
            Err((Reason::UpstreamTimeout, detail).into())
        })
    }

    async fn probe_eras(&self, party: Party<'_>) -> Result<Probed, Unread> {
        let modern = Talk::discover(self, party).await;
        let legacy = match &modern {
            // Nothing answers at all: another question would only wait as long.
            Err(Unanswered::Failed(reason, detail)) if *reason != Reason::UpstreamInvalid => {
                return Err((*reason, detail.clone()).into());
            }
            // Another question would be refused too.
            Err(Unanswered::Refused(refused)) => {
                return Err(Unanswered::Refused(refused.clone()).into());
            }
            Ok(_) | Err(_) => Talk::initialize(self, party).await,
        };
        let eras = Eras { modern: modern.is_ok(), legacy: legacy.is_ok() };
        let mut tools = None;
        for talk in [modern, legacy] {
            match (talk, &mut tools) {
                (Ok(mut talk), None) => {
                    tools = Some(talk.list(Listing::Tools).await);
                    talk.close().await;
                }
                (Ok(talk), Some(_)) => talk.close().await,
                (Err(error), None) if !eras.modern && !eras.legacy => tools = Some(Err(error)),
                (Err(_), _) => {}
            }
        }
        let tools = tools.unwrap_or_else(|| Err(invalid("it speaks no era of MCP")))?;
        Ok(Probed { eras, tools })
    }

    /// Asks one question in the newest era that the server speaks: in both, who it is.
    async fn greet<'a>(&'a self, party: Party<'a>) -> Result<Talk<'a>, Unread> {
        match party.server.eras {
            Some(Eras { modern: true, .. }) => Ok(Talk::discover(self, party).await?),
            Some(Eras { legacy: true, .. }) => Ok(Talk::initialize(self, party).await?),
            Some(Eras { modern: false, legacy: false }) | None => self.open(party).await,
        }
    }

    /// Opens a conversation in the newest era that the server speaks.
    async fn open<'a>(&'a self, party: Party<'a>) -> Result<Talk<'a>, Unread> {
        match party.server.eras {
            Some(Eras { modern: true, .. }) => Ok(Talk::modern(self, party)),
            Some(Eras { legacy: true, .. }) => Ok(Talk::initialize(self, party).await?),
            Some(Eras { modern: false, legacy: false }) | None => {
                match Talk::discover(self, party).await {
                    Ok(talk) => Ok(talk),
                    Err(Unanswered::Failed(reason, detail))
                        if reason != Reason::UpstreamInvalid =>
                    {
                        Err((reason, detail).into())
                    }
                    Err(refused @ Unanswered::Refused(_)) => Err(refused.into()),
                    Err(_) => Ok(Talk::initialize(self, party).await?),
                }
            }
        }
    }
}
