//! Connected accounts as their people see them: listed, and given back.

use bytes::Bytes;
use gateway_core::ids::{ConnectionId, ServerId, UserId};
use gateway_core::server::{OauthClient, UpstreamAuth};
use gateway_store::StoreError;
use gateway_store::connection::StoredConnection;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use url::Url;

use super::Connections;
use super::kept::KeptTokens;

impl Connections {
    /// A person's connections, or everybody's, by id.
    pub(crate) async fn list(
        &self,
        user: Option<UserId>,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<StoredConnection>, StoreError> {
        self.store.connections(user, after, limit).await
    }

    /// A person's connection to a server.
    pub(crate) async fn find(
        &self,
        server: ServerId,
        user: UserId,
    ) -> Result<Option<StoredConnection>, StoreError> {
        self.store.connection(server, user).await
    }

    /// Removes the connection, then tells the issuer (RFC 7009). The tokens are gone here whatever it answers.
    pub(crate) async fn disconnect(&self, found: &StoredConnection) -> Result<bool, StoreError> {
        let tokens = self.open(found).await;
        let gone = self.store.disconnect(found.id).await?;
        if let (true, Ok(tokens)) = (gone, tokens) {
            self.give_back(found, &tokens).await;
        }
        Ok(gone)
    }

    async fn give_back(&self, found: &StoredConnection, tokens: &KeptTokens) {
        let Some(endpoint) = tokens.revocation_endpoint.as_deref() else { return };
        let Ok(url) = Url::parse(endpoint) else { return };
        let snapshot = self.current.snapshot();
        let configured = match snapshot.server_by_id(found.server).map(|server| &server.auth) {
            Some(UpstreamAuth::OauthUser(client)) => client.clone(),
            _ => OauthClient::default(),
        };
        let client = tokens.client.client(&configured);
        let Ok(assertion) = self.assertion(&client, &found.issuer) else { return };
        let (token, hint) = match &tokens.refresh {
            Some(refresh) => (refresh, "refresh_token"),
            None => (&tokens.access, "access_token"),
        };
        let form = [("token", token.as_str()), ("token_type_hint", hint)];
        let (body, proof) = client.form(&form, assertion.as_ref());
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        request.headers_mut().extend(proof);
        let told = self.fetcher.send(&url, request).await;
        let told = told.map(|answer| answer.status().is_success());
        if !told.as_ref().is_ok_and(|done| *done) {
            tracing::warn!(connection = %found.id, "an issuer was not told that a connection ended");
        }
    }
}
