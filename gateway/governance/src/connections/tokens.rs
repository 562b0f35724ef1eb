//! Token endpoints: requests as the `oauth2` crate writes them, answers as it reads them, and what is kept of them.

use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::reason::Reason;
use gateway_core::server::PrivateKey;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenResponse};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::fetch::{Fetcher, place};
use super::trouble::Trouble;

/// How a client proves itself at a token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proof {
    /// Not at all.
    None,
    /// `Authorization: Basic`.
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
    /// By a signed assertion (RFC 7523): the secret is the key, and never leaves.
    PrivateKeyJwt,
}

/// The gateway as a client of one issuer.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<SecretString>,
    pub(super) proof: Proof,
    /// Of the key that it signs with, if that has one.
    pub(super) key_id: Option<String>,
}

impl Client {
    /// One without a key.
    pub(super) fn new(id: String, secret: Option<SecretString>, proof: Proof) -> Client {
        Client { id, secret, proof, key_id: None }
    }

    /// One that signs.
    pub(super) fn signing(id: String, key: &PrivateKey) -> Client {
        let (secret, key_id) = (key.pem.value.clone(), key.key_id.clone());
        Client { id, secret, proof: Proof::PrivateKeyJwt, key_id }
    }

    /// A form with what proves the client: its body, and the header where the proof goes there.
    pub(super) fn form(
        &self,
        form: &[(&str, &str)],
        assertion: Option<&SecretString>,
    ) -> (String, Option<(HeaderName, HeaderValue)>) {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let secret = self.secret.as_ref().map(ExposeSecret::expose_secret);
        let header = match (self.proof, secret) {
            (Proof::ClientSecretBasic, Some(secret)) => basic(&self.id, secret),
            (Proof::ClientSecretPost, Some(secret)) => {
                body.append_pair("client_id", &self.id).append_pair("client_secret", secret);
                None
            }
            (Proof::PrivateKeyJwt | Proof::None, _) | (_, None) => {
                body.append_pair("client_id", &self.id);
                None
            }
        };
        for (name, value) in asserted(assertion) {
            body.append_pair(name, value);
        }
        (body.finish(), header)
    }
}

/// A token endpoint, as one client uses it for one resource.
pub(super) struct TokenEndpoint<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) url: &'a str,
    pub(super) client: &'a Client,
    /// `resource` (RFC 8707).
    pub(super) resource: &'a str,
    /// Of a client that signs.
    pub(super) assertion: Option<SecretString>,
}

/// What an issuer gave.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) access: SecretString,
    pub(super) refresh: Option<SecretString>,
    pub(super) expires_in: Option<Duration>,
    /// `None`: what was asked for.
    pub(super) scope: Option<String>,
}

impl Issued {
    pub(super) fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        // Nobody's token lives a century; whoever says so may say anything.
        let within = self.expires_in?.min(Duration::from_secs(3_153_600_000));
        Some(now + within)
    }
}

/// An issuer gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotIssued {
    /// The grant is worth nothing any more (`invalid_grant`).
    GrantOver(String),
    /// The issuer does not know the client (`invalid_client`, `unauthorized_client`).
    ClientUnknown(String),
    /// Anything else; it may work later.
    Trouble(Trouble),
}

impl NotIssued {
    pub(super) fn into_trouble(self) -> Trouble {
        match self {
            NotIssued::GrantOver(what) | NotIssued::ClientUnknown(what) => Trouble::metadata(what),
            NotIssued::Trouble(trouble) => trouble,
        }
    }
}

impl From<Trouble> for NotIssued {
    fn from(trouble: Trouble) -> NotIssued {
        NotIssued::Trouble(trouble)
    }
}

type Ready =
    BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl TokenEndpoint<'_> {
    /// Redeems a code.
    pub(super) async fn code(
        &self,
        code: &str,
        verifier: &SecretString,
        redirect: &str,
    ) -> Result<Issued, NotIssued> {
        let redirect = RedirectUrl::new(redirect.to_owned())
            .map_err(|e| Trouble::metadata(format!("redirect_uri: {e}")))?;
        let client = self.ready()?.set_redirect_uri(redirect);
        let verifier = PkceCodeVerifier::new(verifier.expose_secret().to_owned());
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(verifier);
        for (name, value) in self.more() {
            request = request.add_extra_param(name, value);
        }
        self.read(request.request_async(self).await)
    }

    /// Renews with a refresh token.
    pub(super) async fn refresh(&self, refresh: &SecretString) -> Result<Issued, NotIssued> {
        let client = self.ready()?;
        let refresh = RefreshToken::new(refresh.expose_secret().to_owned());
        let mut request = client.exchange_refresh_token(&refresh);
        for (name, value) in self.more() {
            request = request.add_extra_param(name, value);
        }
        self.read(request.request_async(self).await)
    }

    /// Gets a token for the gateway itself.
    pub(super) async fn client_credentials(&self, scopes: &[String]) -> Result<Issued, NotIssued> {
        let client = self.ready()?;
        let mut request = client.exchange_client_credentials();
        for scope in scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        for (name, value) in self.more() {
            request = request.add_extra_param(name, value);
        }
        self.read(request.request_async(self).await)
    }

    /// What every request has besides its grant.
    fn more(&self) -> impl Iterator<Item = (&'static str, String)> {
        let resource = ("resource", self.resource);
        let all = asserted(self.assertion.as_ref()).chain([resource]);
        all.map(|(name, value)| (name, value.to_owned()))
    }

    /// Exchanges a token that says who calls (RFC 8693).
    pub(super) async fn exchange(
        &self,
        subject: &SecretString,
        audience: Option<&str>,
        scopes: &[String],
    ) -> Result<Issued, NotIssued> {
        let scope = scopes.join(" ");
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        form.extend(audience.map(|audience| ("audience", audience)));
        form.push(("resource", self.resource));
        form.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
        let answer = self.send(self.form(&form)).await.map_err(|error| error.0)?;
        let (head, body) = answer.into_parts();
        if head.status != http::StatusCode::OK {
            let told: Option<BasicErrorResponse> = serde_json::from_slice(&body).ok();
            return Err(match told {
                Some(told) => self.refused(&told),
                None => self.wrong(&format!("status {}", head.status.as_u16())),
            });
        }
        let read: Result<BasicTokenResponse, _> = serde_json::from_slice(&body);
        self.issued(&read.map_err(|_| self.wrong("not the expected JSON"))?)
    }

    /// For grants that the crate does not know.
    fn form(&self, form: &[(&str, &str)]) -> HttpRequest {
        let (body, proof) = self.client.form(form, self.assertion.as_ref());
        let mut request = http::Request::new(body.into_bytes());
        *request.method_mut() = http::Method::POST;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.extend(proof);
        request
    }

    fn ready(&self) -> Result<Ready, Trouble> {
        let url = TokenUrl::new(self.url.to_owned());
        let url = url.map_err(|error| Trouble::metadata(format!("token_endpoint: {error}")))?;
        let client = BasicClient::new(ClientId::new(self.client.id.clone())).set_token_uri(url);
        let client = match self.client.proof {
            Proof::ClientSecretBasic => client.set_auth_type(AuthType::BasicAuth),
            Proof::None | Proof::ClientSecretPost | Proof::PrivateKeyJwt => {
                client.set_auth_type(AuthType::RequestBody)
            }
        };
        Ok(match (&self.client.secret, self.client.proof) {
            (Some(secret), Proof::ClientSecretBasic | Proof::ClientSecretPost) => {
                client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            }
            (Some(_), Proof::None | Proof::PrivateKeyJwt) | (None, _) => client,
        })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Unsent> {
        let url = Url::parse(self.url);
        let url = url.map_err(|e| Unsent(Trouble::metadata(format!("token_endpoint: {e}"))))?;
        let answer = self.fetcher.send(&url, request.map(Bytes::from)).await.map_err(Unsent)?;
        Ok(answer.map(Vec::from))
    }

    fn read(
        &self,
        answer: Result<BasicTokenResponse, RequestTokenError<Unsent, BasicErrorResponse>>,
    ) -> Result<Issued, NotIssued> {
        match answer {
            Ok(answer) => self.issued(&answer),
            Err(RequestTokenError::ServerResponse(told)) => Err(self.refused(&told)),
            Err(RequestTokenError::Request(Unsent(trouble))) => Err(trouble.into()),
            // Both hold the answer, which may hold tokens.
            Err(RequestTokenError::Parse(..)) => Err(self.wrong("not the expected JSON")),
            Err(RequestTokenError::Other(_)) => Err(self.wrong("not a token response")),
        }
    }

    fn issued(&self, answer: &BasicTokenResponse) -> Result<Issued, NotIssued> {
        let bearer = matches!(answer.token_type(), oauth2::basic::BasicTokenType::Bearer);
        if !bearer {
            return Err(self.wrong("token_type: expected Bearer"));
        }
        let access = answer.access_token().secret();
        // RFC 6750, section 2.1; anything else cannot stand in the header.
        if access.is_empty() || !access.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(self.wrong("access_token: not usable"));
        }
        let scopes = answer
            .scopes()
            .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
        Ok(Issued {
            access: SecretString::from(access.clone()),
            refresh: answer.refresh_token().map(|t| SecretString::from(t.secret().clone())),
            expires_in: answer.expires_in(),
            scope: scopes.filter(|scope| !scope.is_empty()),
        })
    }

    /// What the issuer says of it is not repeated: only its code, which is one of a few words.
    fn refused(&self, told: &BasicErrorResponse) -> NotIssued {
        let code = told.error().to_string();
        let code: String = code.chars().filter(char::is_ascii_graphic).take(40).collect();
        let detail = format!("{}: refused with {code}", self.place());
        match told.error() {
            BasicErrorResponseType::InvalidGrant => NotIssued::GrantOver(detail),
            BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
                NotIssued::ClientUnknown(detail)
            }
            BasicErrorResponseType::InvalidRequest
            | BasicErrorResponseType::InvalidScope
            | BasicErrorResponseType::UnsupportedGrantType
            | BasicErrorResponseType::Extension(_) => NotIssued::Trouble(Trouble::metadata(detail)),
        }
    }

    fn wrong(&self, what: &str) -> NotIssued {
        NotIssued::Trouble(Trouble::new(
            Reason::UpstreamInvalid,
            format!("{}: {what}", self.place()),
        ))
    }

    fn place(&self) -> String {
        Url::parse(self.url).map_or_else(|_| "token_endpoint".into(), |url| place(&url))
    }
}

/// RFC 7523, section 2.2.
fn asserted(assertion: Option<&SecretString>) -> impl Iterator<Item = (&'static str, &str)> {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assertion.into_iter().flat_map(move |assertion| {
        [("client_assertion_type", kind), ("client_assertion", assertion.expose_secret())]
    })
}

/// RFC 6749, section 2.3.1: both are form-encoded first.
fn basic(id: &str, secret: &str) -> Option<(HeaderName, HeaderValue)> {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(id), encode(secret));
    let value = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some((AUTHORIZATION, value))
}

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = Unsent;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Unsent>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The request did not come through.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsent(Trouble);
