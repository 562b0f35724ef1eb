//! The words of OpenID Connect in this gateway's types, and what is known of one provider: its discovery document and
//! keys, read when needed and kept for a while.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use gateway_core::Timestamp;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClaimName, CoreClaimType, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm,
    CoreResponseMode, CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreSubjectIdentifierType, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AdditionalProviderMetadata, AsyncHttpClient, AuthType, Client, ClientId,
    ClientSecret, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, ProviderMetadata, RedirectUrl,
    StandardErrorResponse, StandardTokenResponse,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::Duration;
use tokio::sync::Mutex;

use crate::ports::Fetch;
use crate::settings::{GovernanceSettings, Provider};

/// Largest answer of a provider, in bytes.
const LARGEST: usize = 512 * 1024;

/// Every claim that the library has no name for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Extra {
    #[serde(flatten)]
    claims: Map<String, Value>,
}
impl AdditionalClaims for Extra {}

/// RFC 9207: whether the provider names itself in its answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NamesItself {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}
impl AdditionalProviderMetadata for NamesItself {}

type Metadata = ProviderMetadata<
    NamesItself,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Fields = IdTokenFields<
    Extra,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// What the token endpoint answers.
pub(super) type Tokens = StandardTokenResponse<Fields, CoreTokenType>;

/// The gateway as a client of a provider.
pub(super) type OurClient = Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider, and its documents as read last.
pub(super) struct Known {
    pub(super) provider: Provider,
    max_age: Duration,
    refetch_pause: Duration,
    // Held across a read on purpose: those who need it wait for one and the same.
    read: Mutex<Option<(Timestamp, Arc<Metadata>)>>,
}

/// What went wrong, for the log and the trail; holds no secret.
pub(super) type Trouble = String;

impl Known {
    pub(super) fn new(provider: Provider, settings: &GovernanceSettings) -> Known {
        let span = |setting| Duration::try_from(setting).unwrap_or(Duration::HOUR);
        Known {
            provider,
            max_age: span(settings.jwks_max_age),
            refetch_pause: span(settings.jwks_min_refetch),
            read: Mutex::new(None),
        }
    }

    /// Its documents; `anew` where those at hand do not know a key, at most once in a while.
    pub(super) async fn documents(
        &self,
        fetch: &dyn Fetch,
        now: Timestamp,
        anew: bool,
    ) -> Result<Documents, Trouble> {
        let mut read = self.read.lock().await;
        let oldest = if anew { self.refetch_pause } else { self.max_age };
        if let Some((at, metadata)) = read.as_ref().filter(|(at, _)| now - *at < oldest) {
            return Ok(Documents { at: *at, metadata: Arc::clone(metadata) });
        }
        let issuer = IssuerUrl::new(self.provider.issuer.clone()).map_err(|e| e.to_string())?;
        let metadata = Metadata::discover_async(issuer, &Guarded(fetch)).await;
        let metadata = Arc::new(metadata.map_err(|e| format!("discovery: {}", causes(&e)))?);
        *read = Some((now, Arc::clone(&metadata)));
        Ok(Documents { at: now, metadata })
    }
}

/// What a provider publishes of itself, as read at one time.
#[derive(Clone)]
pub(super) struct Documents {
    pub(super) at: Timestamp,
    metadata: Arc<Metadata>,
}

impl Documents {
    /// Whether its answers must name it.
    pub(super) fn names_itself(&self) -> bool {
        self.metadata.additional_metadata().authorization_response_iss_parameter_supported
    }

    /// Whether it has an endpoint that tells about people.
    pub(super) fn tells_of_people(&self) -> bool {
        self.metadata.userinfo_endpoint().is_some()
    }

    /// The gateway as its client.
    pub(super) fn client(
        &self,
        provider: &Provider,
        public_url: &str,
    ) -> Result<OurClient, Trouble> {
        let secret = provider.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let id = ClientId::new(provider.client_id.clone());
        let redirect = RedirectUrl::new(format!("{public_url}/sign-in/callback"));
        let redirect = redirect.map_err(|e| e.to_string())?;
        // In the header, unless it is known to take it in the body only.
        let methods = self.metadata.token_endpoint_auth_methods_supported();
        let basic = methods.is_none_or(|methods| {
            methods.is_empty() || methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let auth = if basic { AuthType::BasicAuth } else { AuthType::RequestBody };
        let client = Client::from_provider_metadata((*self.metadata).clone(), id, secret);
        Ok(client.set_redirect_uri(redirect).set_auth_type(auth))
    }
}

/// The library's requests, by our guarded way.
pub(super) struct Guarded<'f>(pub(super) &'f dyn Fetch);

impl<'c> AsyncHttpClient<'c> for Guarded<'_> {
    type Error = Unsent;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Unsent>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let answer = self.0.send(request.map(Bytes::from), LARGEST);
        Box::pin(async move { Ok(answer.await.map_err(Unsent)?.map(|body| body.to_vec())) })
    }
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsent(String);

/// The whole chain of causes.
pub(super) fn causes(error: &dyn std::error::Error) -> Trouble {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    // What others wrote may be long, and may be made to look like something else in a terminal.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
