//! What a request to a server carries to prove on whose account it comes.

use http::HeaderName;
use ring::digest::{Context, SHA256};
use secrecy::{ExposeSecret, SecretString};

/// Headers with secret values; none for servers that ask for none.
#[derive(Debug, Clone, Default)]
pub struct Credential {
    headers: Vec<(HeaderName, SecretString)>,
    owner: [u8; 32],
}

impl Credential {
    /// Nothing.
    pub fn none() -> Credential {
        Credential::default()
    }

    /// These headers; connections are shared with those who present the same.
    pub fn of(headers: Vec<(HeaderName, SecretString)>) -> Credential {
        let mut hash = Context::new(&SHA256);
        for (name, value) in &headers {
            hash.update(name.as_str().as_bytes());
            hash.update(b"\0");
            hash.update(value.expose_secret().as_bytes());
            hash.update(b"\0");
        }
        Credential { headers, owner: finish(hash) }
    }

    /// These headers, which change from time to time; connections are shared with those of the same `owner`.
    pub fn of_owner(headers: Vec<(HeaderName, SecretString)>, owner: &[u8]) -> Credential {
        let mut hash = Context::new(&SHA256);
        hash.update(b"owner\0");
        hash.update(owner);
        Credential { headers, owner: finish(hash) }
    }

    /// `Authorization: Bearer`.
    pub fn bearer(token: &SecretString) -> Credential {
        let value = format!("Bearer {}", token.expose_secret());
        Credential::of(vec![(http::header::AUTHORIZATION, SecretString::from(value))])
    }

    /// The headers.
    pub fn headers(&self) -> &[(HeaderName, SecretString)] {
        &self.headers
    }

    /// The same for those who may share connections, and for nobody else.
    pub fn owner(&self) -> [u8; 32] {
        self.owner
    }
}

fn finish(hash: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_shared_only_among_the_same() {
        let bearer = |token: &str| Credential::bearer(&SecretString::from(token.to_owned()));
        assert_eq!(bearer("a").owner(), bearer("a").owner());
        assert_ne!(bearer("a").owner(), bearer("b").owner());
        assert_ne!(bearer("a").owner(), Credential::none().owner());
        let same = Credential::of_owner(vec![], b"x");
        assert_ne!(same.owner(), Credential::of_owner(vec![], b"y").owner());
        assert!(!format!("{:?}", bearer("canary")).contains("canary"));
    }
}
