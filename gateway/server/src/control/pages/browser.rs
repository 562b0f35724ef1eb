//! The browser's cookie, and who is signed in there. One cookie: an unguessable name that says nothing by itself.
//! It is there before anybody signs in, so that forms and what lies between two pages are bound to one browser,
//! and it changes when somebody does.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::caller::{AuthMethod, Caller, User};
use gateway_core::ids::SessionId;
use gateway_governance::{Governance, SignIn};
use http::HeaderValue;
use http::header::{COOKIE, SET_COOKIE};

use crate::exchange::{Exchange, Reply};

/// The cookie's name where the gateway is reached by https: only we can set it, for us alone.
const SECURE: &str = "__Host-runlayer";
/// On a plain connection, which is for this machine only.
const PLAIN: &str = "runlayer";

/// A browser that asks for a page.
#[derive(Debug, Clone)]
pub struct Browser {
    name: String,
    /// The browser does not know its name yet.
    fresh: bool,
    secure: bool,
}

/// Somebody who is signed in, in one browser.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who, as the snapshot knows them.
    pub user: Arc<User>,
    /// The browser session.
    pub session: SessionId,
    /// The proof that a form came from one of our pages in this browser; the hidden field `form_token`.
    pub form_token: String,
}

impl SignedIn {
    /// As the caller of an operation.
    pub fn caller(&self) -> Caller {
        Caller::new(Arc::clone(&self.user), AuthMethod::Browser, self.session.to_string())
    }
}

impl Browser {
    /// The browser behind a request, and who is signed in there. The error: nobody can say at the moment.
    pub async fn of(exchange: &Exchange, governance: &Governance) -> Option<SignedIn> {
        Browser::meet(exchange, governance).signed_in(governance).await
    }

    /// The browser behind a request; one without our cookie gets a new name.
    pub(super) fn meet(exchange: &Exchange, governance: &Governance) -> Browser {
        let secure = governance.public_url().scheme() == "https";
        match known(exchange, if secure { SECURE } else { PLAIN }) {
            Some(name) => Browser { name, fresh: false, secure },
            None => Browser { name: governance.sign_in().new_browser(), fresh: true, secure },
        }
    }

    /// Who is signed in.
    pub(super) async fn signed_in(&self, governance: &Governance) -> Option<SignedIn> {
        if self.fresh || !governance.is_fresh() {
            return None;
        }
        match governance.sign_in().signed_in(&self.name).await {
            Ok(found) => found.map(|(user, session)| SignedIn {
                user,
                session: session.id,
                form_token: self.form_token(governance),
            }),
            Err(error) => {
                tracing::error!(%error, "who is signed in cannot be read");
                None
            }
        }
    }

    /// The same browser under the name that it got by signing in.
    pub(super) fn renamed(&self, name: String) -> Browser {
        Browser { name, fresh: true, secure: self.secure }
    }

    /// What is bound to this browser is bound to this.
    pub(super) fn binding(&self, governance: &Governance) -> [u8; 32] {
        governance.sign_in().hash("binding", &self.name)
    }

    /// The proof that a form came from one of our pages in this browser.
    pub(super) fn form_token(&self, governance: &Governance) -> String {
        URL_SAFE_NO_PAD.encode(governance.sign_in().hash("form", &self.name))
    }

    /// Whether `token` is that proof. A browser that did not bring its cookie has none.
    pub(super) fn sent(&self, governance: &Governance, token: &str) -> bool {
        // Hashed once more: how long the comparison takes says nothing of the token.
        let hash = |token: &str| governance.sign_in().hash("compare", token);
        !self.fresh && hash(&self.form_token(governance)) == hash(token)
    }

    /// Tells the browser its name, where it does not know it.
    pub(super) fn remember(&self, reply: &mut Reply) {
        if self.fresh {
            // Without a lifetime: it goes with the browser. The session behind it ends sooner.
            set(reply, self.secure, &self.name, "");
        }
    }

    /// Makes the browser forget.
    pub(super) fn forget(&self, reply: &mut Reply) {
        set(reply, self.secure, "", "; Max-Age=0");
    }
}

fn set(reply: &mut Reply, secure: bool, value: &str, more: &str) {
    let (cookie, secure) = if secure { (SECURE, "; Secure") } else { (PLAIN, "") };
    let text = format!("{cookie}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}");
    if let Ok(value) = HeaderValue::try_from(text) {
        reply.headers_mut().append(SET_COOKIE, value);
    }
}

/// The one value of that cookie, if it has the form of ours. Of two nobody can tell which is whose.
fn known(exchange: &Exchange, cookie: &str) -> Option<String> {
    let headers = exchange.headers.get_all(COOKIE).iter();
    let pairs = headers.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let mut values = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == cookie)
        .map(|(_, value)| value);
    let first = values.next()?;
    (values.next().is_none() && SignIn::is_browser(first)).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn with_cookies(cookies: &[&str]) -> Exchange {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, cookie.parse().unwrap());
        }
        Exchange {
            method: http::Method::GET,
            path: "/account".into(),
            query: None,
            headers,
            peer: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            body: Bytes::new(),
            early: crate::exchange::Early::closed(),
            turn: Default::default(),
        }
    }

    #[test]
    fn only_one_cookie_of_our_form_counts() {
        let name = "a".repeat(43);
        let ours = format!("{SECURE}={name}");
        let read = |cookies: &[&str]| known(&with_cookies(cookies), SECURE);
        assert_eq!(read(&[&format!("x=1; {ours}; y=2")]), Some(name.clone()));
        assert_eq!(read(&["x=1", &ours]), Some(name.clone()));
        let doubled = format!("{ours}; {ours}");
        let short = format!("{SECURE}={}", &name[1..]);
        let odd = format!("{SECURE}={}\"", &name[1..]);
        let plain = format!("{PLAIN}={name}");
        let other_case = ours.to_uppercase();
        for bad in ["", "=", ";;", &doubled, &short, &odd, &plain, &other_case] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(read(&[&ours, &ours]), None);
    }

    #[test]
    fn the_cookie_is_for_us_alone_and_out_of_reach_of_scripts() {
        let told = |secure| {
            let browser = Browser { name: "n".into(), fresh: true, secure };
            let mut reply = super::super::page(http::StatusCode::OK, String::new());
            browser.remember(&mut reply);
            reply.headers()[SET_COOKIE].to_str().unwrap().to_owned()
        };
        assert_eq!(told(true), "__Host-runlayer=n; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(told(false), "runlayer=n; Path=/; HttpOnly; SameSite=Lax");
    }
}
