//! One request on its way to a page, and what pages answer with where they have nothing to show.

use askama::Template;
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use gateway_governance::{Answer, Face, Governance, Operation, Origin, Refused};
use http::StatusCode;

use super::super::caller::Visit;
use super::super::refusal::sentence;
use super::browser::{Browser, SignedIn};
use super::form::Form;
use super::shell::Shell;
use super::{reply, see_other};
use crate::exchange::{Exchange, Reply};

/// A request for a page.
pub(super) struct Ask<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) governance: &'a Governance,
    pub(super) browser: &'a Browser,
    pub(super) signed_in: Option<SignedIn>,
    /// What was posted, or the query.
    pub(super) form: Form,
    /// What stands in the path.
    pub(super) parameter: &'a str,
    pub(super) origin: Origin,
}

impl<'a> Ask<'a> {
    pub(super) fn new(
        exchange: &'a Exchange,
        governance: &'a Governance,
        visit: &Visit,
        (browser, signed_in): (&'a Browser, Option<SignedIn>),
        (form, parameter): (Form, &'a str),
    ) -> Ask<'a> {
        let origin = visit.origin(exchange, Face::Rest);
        Ask { exchange, governance, browser, signed_in, form, parameter, origin }
    }

    pub(super) fn shell(&self) -> Shell {
        Shell::of(self.signed_in.as_ref())
    }

    pub(super) fn form_token(&self) -> String {
        self.browser.form_token(self.governance)
    }

    /// To the sign-in, and back to `back`, or to where the request came for.
    pub(super) fn sign_in_first(&self, back: &str) -> Reply {
        let here = match &self.exchange.query {
            Some(query) => format!("{}?{query}", self.exchange.path),
            None => self.exchange.path.clone(),
        };
        let next = if back.is_empty() { &here } else { back };
        let sealed = self.governance.sign_in().seal(NEXT, next.as_bytes());
        see_other(&format!("/sign-in?next={sealed}"))
    }

    /// Where a sealed `next` leads: an address of ours. Anything else leads to the account.
    pub(super) fn next(&self, sealed: &str) -> String {
        let plain = self.governance.sign_in().open(NEXT, sealed);
        let address = plain.and_then(|plain| String::from_utf8(plain).ok());
        local(address.unwrap_or_default())
    }

    /// Performs an operation as whoever is signed in.
    pub(super) async fn perform(&self, operation: Operation) -> Result<Answer, Refused> {
        let Some(signed_in) = &self.signed_in else {
            return Err(Refused::new(Reason::CredentialMissing, "sign in first"));
        };
        self.governance.perform(&signed_in.caller(), &self.origin, operation).await
    }

    pub(super) fn refused(&self, refused: &Refused) -> Reply {
        notice(&self.shell(), refused.reason, &refused.detail, self.origin.call)
    }

    /// A page that says one thing.
    pub(super) fn say(&self, status: StatusCode, title: &str, text: &str) -> Reply {
        let way_on = match self.signed_in {
            Some(_) => ("/account".to_owned(), "Your account"),
            None => ("/sign-in".to_owned(), "Sign in"),
        };
        self.say_towards(status, (title, text), way_on)
    }

    /// The same, with the address that helps and what to call it.
    pub(super) fn say_towards(
        &self,
        status: StatusCode,
        (title, text): (&str, &str),
        way_on: (String, &'static str),
    ) -> Reply {
        let (title, text, way_on) = (title.to_owned(), text.to_owned(), Some(way_on));
        let notice = Notice { shell: self.shell(), title, text, reference: None, way_on };
        reply::show(status, &notice)
    }
}

/// What a sealed `next` is sealed for.
const NEXT: &[u8] = b"next";

/// An address of ours, or the account's.
pub(super) fn local(address: String) -> String {
    let foreign = address.starts_with("//") || address.contains(['\\', '\r', '\n', '\t']);
    if address.starts_with('/') && !foreign { address } else { "/account".to_owned() }
}

#[derive(Template)]
#[template(path = "pages/notice.html")]
struct Notice {
    shell: Shell,
    title: String,
    text: String,
    reference: Option<String>,
    way_on: Option<(String, &'static str)>,
}

/// The page of a refusal.
pub(super) fn notice(shell: &Shell, reason: Reason, detail: &str, call: CallId) -> Reply {
    let status = match StatusCode::from_u16(reason.status()) {
        // Reasons that MCP answers inside a 200.
        Ok(StatusCode::OK) | Err(_) => StatusCode::FORBIDDEN,
        Ok(status) => status,
    };
    let title = match reason.status() {
        404 => "There is nothing here",
        503 => "Not at the moment",
        _ => "That did not work",
    };
    let notice = Notice {
        shell: shell.clone(),
        title: title.to_owned(),
        text: format!("{}.", sentence(reason, detail)),
        reference: Some(call.to_string()),
        way_on: shell.person.is_some().then(|| ("/account".to_owned(), "Your account")),
    };
    reply::show(status, &notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_ours_are_gone_on_to() {
        for good in ["/account", "/device?user_code=ABCD-EFGH", "/api/v1/oauth/authorize?x=//y"] {
            assert_eq!(local(good.into()), good);
        }
        let foreign = [
            "",
            "account",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "https:/account",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nset-cookie: x=1",
            "\t//evil.example",
            " /account",
            "@evil.example",
            "%2f%2fevil.example",
        ];
        for bad in foreign {
            assert_eq!(local(bad.into()), "/account", "{bad:?}");
        }
    }
}
