//! Signing in with an OpenID Connect provider: away with code, PKCE and nonce, and back. What belongs to one
//! journey travels in `state`, sealed and bound to the browser that began it: it names the provider, so that
//! an answer of one is never taken for another's (mix-up), and any replica can finish it.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::reason::Reason;
use gateway_store::identity_link::{Admitted, Identified};
use openidconnect::core::{CoreAuthenticationFlow, CoreGenderClaim, CoreJwsSigningAlgorithm};
use openidconnect::{
    AuthorizationCode, ClaimsVerificationError, CsrfToken, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, Scope, SignatureVerificationError, SubjectIdentifier,
    TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::Duration;
use url::{Url, form_urlencoded};

use super::browser::Opened;
use super::claims::{self, Claimed};
use super::openid::{Documents, Extra, Guarded, Known, OurClient, Tokens, Trouble, causes};
use super::{NotSignedIn, SignIn};
use crate::perform::Origin;

/// How long a person may take at the provider.
const JOURNEY: Duration = Duration::minutes(15);
/// The longest way on that is carried along.
const LONGEST_NEXT: usize = 8 * 1024;
/// What a provider may sign with: nothing that its clients could sign too.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What belongs to one way to the provider and back.
#[derive(Serialize, Deserialize)]
struct Journey {
    #[serde(rename = "p")]
    provider: String,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "v")]
    verifier: String,
    #[serde(rename = "t")]
    next: String,
    #[serde(rename = "e")]
    until: i64,
}

/// What a provider sent the browser back with.
#[derive(Default)]
struct CameBack {
    state: String,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

/// Why a journey led nowhere: what is told, and what is recorded.
type Astray = (NotSignedIn, Trouble);

impl SignIn {
    /// Where to send the browser for that provider. `next`: one of our own addresses, for afterwards.
    pub async fn begin(
        &self,
        provider: &str,
        next: &str,
        browser: &[u8; 32],
    ) -> Result<Url, NotSignedIn> {
        let known = self.known(provider).ok_or(NotSignedIn::NoSuchWay)?;
        let client = match self.documents(known, false).await {
            Ok(documents) => documents.client(&known.provider, &self.public_url),
            Err(trouble) => Err(trouble),
        };
        let client = client.map_err(|trouble| self.astray(known, trouble).0)?;
        let verifier = self.unguessable();
        let journey = Journey {
            provider: known.provider.name.clone(),
            nonce: self.unguessable(),
            verifier: verifier.clone(),
            next: if next.len() > LONGEST_NEXT { String::new() } else { next.to_owned() },
            until: (self.clock.now() + JOURNEY).unix_timestamp(),
        };
        let plain = serde_json::to_vec(&journey).unwrap_or_default();
        let state = CsrfToken::new(self.seal(&context(browser), &plain));
        let nonce = Nonce::new(journey.nonce);
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier));
        let scopes = known.provider.scopes.iter().filter(|scope| *scope != "openid");
        let (url, _, _) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .add_scopes(scopes.cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        Ok(url)
    }

    /// The browser is back with `query`. Gives its new name and where it was on its way to.
    pub async fn finish(
        &self,
        query: &str,
        browser: &[u8; 32],
        origin: &Origin,
    ) -> Result<(Opened, String), NotSignedIn> {
        let came_back = CameBack::read(query).ok_or(NotSignedIn::Stale)?;
        let Some(journey) = self.journey(&came_back.state, browser) else {
            let stale = (Reason::CredentialInvalid, "state: not of this browser, or too old");
            self.failed(origin, "unknown", None, stale);
            return Err(NotSignedIn::Stale);
        };
        let known = self.known(&journey.provider).ok_or(NotSignedIn::NoSuchWay)?;
        let issuer = &known.provider.issuer;
        let claimed = self.claimed(known, &journey, came_back).await;
        let admitted = match claimed {
            Ok(claimed) => self.admit(known, claimed, origin).await,
            Err(astray) => Err(astray),
        };
        match admitted {
            Ok(user) => {
                let opened = self.enter(user, issuer, origin, &known.provider.name).await?;
                Ok((opened, journey.next))
            }
            Err((told, trouble)) => {
                self.failed(origin, issuer, None, (Reason::CredentialInvalid, &trouble));
                Err(told)
            }
        }
    }

    fn journey(&self, state: &str, browser: &[u8; 32]) -> Option<Journey> {
        let plain = self.open(&context(browser), state)?;
        let journey: Journey = serde_json::from_slice(&plain).ok()?;
        (self.clock.now().unix_timestamp() < journey.until).then_some(journey)
    }

    /// What the provider says of the person: code for tokens, id token verified, userinfo added.
    async fn claimed(
        &self,
        known: &Known,
        journey: &Journey,
        came_back: CameBack,
    ) -> Result<Claimed, Astray> {
        let trouble = |trouble: Trouble| self.astray(known, trouble);
        let documents = self.documents(known, false).await.map_err(trouble)?;
        match &came_back.issuer {
            Some(issuer) if *issuer != known.provider.issuer => {
                return Err(trouble("iss: the answer is another provider's".into()));
            }
            None if documents.names_itself() => {
                return Err(trouble("iss: missing, and the provider promises it".into()));
            }
            Some(_) | None => {}
        }
        if let Some(code) = came_back.error {
            let code = code.chars().filter(|c| c.is_ascii_graphic()).take(60).collect::<String>();
            let trouble = format!("the provider answers with the error {code}");
            let name = known.provider.name.clone();
            return Err((NotSignedIn::Refused { name, code }, trouble));
        }
        let code = came_back.code.ok_or_else(|| trouble("code: missing".into()))?;
        let client = documents.client(&known.provider, &self.public_url).map_err(trouble)?;
        let tokens = self.redeem(&client, code, journey).await.map_err(trouble)?;
        let claims = self
            .verified(known, documents.clone(), &tokens, &journey.nonce)
            .await
            .map_err(trouble)?;
        let more = match documents.tells_of_people() {
            true => self.userinfo(&client, &tokens, &claims).await.map_err(trouble)?,
            false => Map::new(),
        };
        claims::read(&known.provider, claims, more).map_err(trouble)
    }

    async fn redeem(
        &self,
        client: &OurClient,
        code: String,
        journey: &Journey,
    ) -> Result<Tokens, Trouble> {
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|error| format!("token endpoint: {}", causes(&error)))?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(journey.verifier.clone()));
        let tokens = request.request_async(&Guarded(&*self.fetch)).await;
        tokens.map_err(|error| format!("token endpoint: {}", causes(&error)))
    }

    /// The claims of a good id token; keys that are not known are read once more.
    async fn verified(
        &self,
        known: &Known,
        mut documents: Documents,
        tokens: &Tokens,
        nonce: &str,
    ) -> Result<Map<String, Value>, Trouble> {
        let token = tokens.id_token().ok_or("the answer holds no id token")?;
        let now = self.clock.now();
        let nonce = Nonce::new(nonce.to_owned());
        loop {
            let client = documents.client(&known.provider, &self.public_url)?;
            let verifier = client
                .id_token_verifier()
                .set_allowed_algs(ALGORITHMS)
                .set_time_fn(move || SystemTime::from(now).into());
            let error = match token.claims(&verifier, &nonce) {
                Ok(claims) => return object(claims),
                Err(error) => error,
            };
            let unknown_key = matches!(
                error,
                ClaimsVerificationError::SignatureVerification(
                    SignatureVerificationError::NoMatchingKey
                )
            );
            let anew = match unknown_key {
                true => self.documents(known, true).await?,
                false => return Err(format!("id token: {}", causes(&error))),
            };
            if anew.at == documents.at {
                return Err(format!("id token: {}", causes(&error)));
            }
            documents = anew;
        }
    }

    async fn userinfo(
        &self,
        client: &OurClient,
        tokens: &Tokens,
        claims: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Trouble> {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let subject = SubjectIdentifier::new(subject);
        let request = client.user_info(tokens.access_token().clone(), Some(subject));
        let request = request.map_err(|error| format!("userinfo: {}", causes(&error)))?;
        let found: Result<UserInfoClaims<Extra, CoreGenderClaim>, _> =
            request.request_async(&Guarded(&*self.fetch)).await;
        object(&found.map_err(|error| format!("userinfo: {}", causes(&error)))?)
    }

    /// The person here, found, linked or made.
    async fn admit(
        &self,
        known: &Known,
        claimed: Claimed,
        origin: &Origin,
    ) -> Result<gateway_core::ids::UserId, Astray> {
        let provider = &known.provider;
        let no_account = || NotSignedIn::NoAccount(provider.name.clone());
        if let Some(email) = &claimed.email
            && !claims::domain_allowed(provider, email)
        {
            return Err((no_account(), "the address is of no allowed domain".into()));
        }
        let identified = Identified {
            issuer: &provider.issuer,
            subject: &claimed.subject,
            email: claimed.email.as_deref(),
            name: &claimed.name,
            groups: claimed.groups.as_deref(),
            attributes: &claimed.attributes,
            create: provider.create_users,
            now: self.clock.now(),
        };
        let admitted = self.store.admit(&identified).await;
        let admitted = admitted.map_err(|error| (error.into(), "the database".to_owned()))?;
        match admitted {
            Admitted::Known(user) | Admitted::Linked(user) => Ok(user),
            Admitted::Created(user) => {
                let email = claimed.email.unwrap_or_default();
                self.created(origin, &provider.issuer, &email);
                Ok(user)
            }
            Admitted::Nobody => {
                let vouched = if claimed.email.is_some() { "known" } else { "vouched for" };
                Err((no_account(), format!("the person's address is not {vouched}")))
            }
            Admitted::OtherSubject(_) => {
                Err((no_account(), "the address belongs to another subject of the provider".into()))
            }
            Admitted::Inactive(_) => Err((no_account(), "the person is deactivated".into())),
        }
    }

    fn known(&self, provider: &str) -> Option<&Known> {
        self.providers.iter().find(|known| known.provider.name == provider)
    }

    async fn documents(&self, known: &Known, anew: bool) -> Result<Documents, Trouble> {
        known.documents(&*self.fetch, self.clock.now(), anew).await
    }

    fn astray(&self, known: &Known, trouble: Trouble) -> Astray {
        tracing::warn!(provider = known.provider.name, %trouble, "a sign-in with a provider failed");
        (NotSignedIn::Provider(known.provider.name.clone()), trouble)
    }

    fn unguessable(&self) -> String {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl CameBack {
    /// Every parameter once at most.
    fn read(query: &str) -> Option<CameBack> {
        let mut state = None;
        let mut came_back = CameBack::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "code" => &mut came_back.code,
                "error" => &mut came_back.error,
                "iss" => &mut came_back.issuer,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(CameBack { state: state?, ..came_back })
    }
}

fn context(browser: &[u8; 32]) -> Vec<u8> {
    [b"provider\0".as_slice(), browser].concat()
}

fn object(claims: &impl Serialize) -> Result<Map<String, Value>, Trouble> {
    match serde_json::to_value(claims) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) | Err(_) => Err("the claims are not readable".into()),
    }
}
