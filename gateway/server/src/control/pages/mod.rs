//! The pages that people see in a browser: server-rendered, without script. A page decodes what the browser sent,
//! calls governance, and encodes; it decides nothing and holds no SQL.
//!
//! [`routes`] has every address, [`browser`] the cookie and who is signed in, [`form`] what a form may send,
//! [`reply`] the headers that every page goes out with. [`ask`] is one request on its way to a page.

mod account;
mod ask;
pub mod browser;
mod confirmation;
mod connect;
mod consent;
mod device;
mod form;
pub mod reply;
pub mod routes;
mod shell;
mod sign_in;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use gateway_core::reason::Reason;
use gateway_governance::Governance;

use super::caller::{Turned, Visit};
use crate::exchange::{Exchange, Reply};
use ask::{Ask, notice};
pub use browser::{Browser, SignedIn};
use form::Form;
pub use reply::{page, see_other, show};
use routes::{Access, Found, Page, Route};
pub use shell::Shell;

/// The pages.
pub struct Pages {
    governance: Arc<Governance>,
}

impl Pages {
    /// Over `governance`.
    pub fn new(governance: Arc<Governance>) -> Pages {
        Pages { governance }
    }

    /// Whether a page of ours is at that path.
    pub fn owns(&self, exchange: &Exchange) -> bool {
        !matches!(routes::find(&exchange.method, &exchange.path), Found::Nothing)
    }

    /// Answers a request for a page.
    pub async fn handle(&self, exchange: Exchange) -> Reply {
        match routes::find(&exchange.method, &exchange.path) {
            Found::Route(route, _) if route.page == Page::Style => reply::style(),
            Found::Route(route, _) if route.page == Page::Icon => reply::icon(),
            Found::Route(route, parameter) => self.open(&exchange, route, parameter).await,
            Found::OtherMethods(methods) => {
                let detail = format!("this address has {}", methods.join(", "));
                let mut reply = self.turn_away(
                    Visit::new(&self.governance, &exchange, "(no page)"),
                    &Turned { reason: Reason::HttpMethodNotAllowed, detail },
                );
                reply::allow(&mut reply, &methods);
                reply
            }
            Found::Nothing => {
                let visit = Visit::new(&self.governance, &exchange, "(no page)");
                self.turn_away(visit, &Turned { reason: Reason::NotFound, detail: String::new() })
            }
        }
    }

    async fn open(&self, exchange: &Exchange, route: &'static Route, parameter: &str) -> Reply {
        let governance = &*self.governance;
        let visit = Visit::new(governance, exchange, route.path);
        let browser = Browser::meet(exchange, governance);
        let form = match read(exchange, route, &browser, governance) {
            Ok(form) => form,
            Err(turned) => return self.turn_away(visit, &turned),
        };
        let signed_in = browser.signed_in(governance).await;
        let ask = Ask::new(exchange, governance, &visit, (&browser, signed_in), (form, parameter));
        let mut reply = match route.access {
            Access::Person { back } if ask.signed_in.is_none() => ask.sign_in_first(back),
            Access::Person { .. } | Access::Anybody => self.answer(&ask, route.page).await,
        };
        browser.remember(&mut reply);
        reply
    }

    async fn answer(&self, ask: &Ask<'_>, page: Page) -> Reply {
        match page {
            Page::Style => reply::style(),
            Page::Icon => reply::icon(),
            Page::SignIn => sign_in::choose(ask).await,
            Page::SignInByPassword => sign_in::by_password(ask).await,
            Page::Callback => sign_in::callback(ask).await,
            Page::Link => sign_in::link(ask).await,
            Page::SignInByLink => sign_in::by_link(ask).await,
            Page::SignOut => sign_in::out(ask).await,
            Page::Consent => consent::look(ask).await,
            Page::DecideConsent => consent::decide(ask).await,
            Page::Device => device::enter(ask),
            Page::DeviceAsked => device::asked(ask).await,
            Page::DecideDevice => device::decide(ask).await,
            Page::Confirmation => confirmation::look(ask).await,
            Page::DecideConfirmation => confirmation::decide(ask).await,
            Page::Account => account::look(ask).await,
            Page::CreateKey => account::create_key(ask).await,
            Page::RevokeProgram => account::revoke_program(ask).await,
            Page::RevokeKey => account::revoke_key(ask).await,
            Page::EndBrowser => account::end_browser(ask).await,
            Page::Connect => connect::look(ask).await,
            Page::BeginConnecting => connect::begin(ask).await,
            Page::Connected => connect::back(ask).await,
            Page::Disconnect => connect::disconnect(ask).await,
        }
    }

    fn turn_away(&self, visit: Visit, turned: &Turned) -> Reply {
        let reply = notice(&Shell::default(), turned.reason, &turned.detail, visit.call);
        visit.turn_away(&self.governance, turned);
        reply
    }
}

/// The fields that came along. What was posted must be from one of our pages in this very browser.
fn read(
    exchange: &Exchange,
    route: &Route,
    browser: &Browser,
    governance: &Governance,
) -> Result<Form, Turned> {
    let unreadable = |detail| Turned { reason: Reason::InvalidParams, detail };
    if route.method == "GET" {
        return Form::query(exchange).map_err(unreadable);
    }
    let forged = |detail: &str| Turned { reason: Reason::OriginNotAllowed, detail: detail.into() };
    // Besides Origin, which is checked for every request.
    let from = exchange.header("sec-fetch-site").unwrap_or("same-origin");
    if !matches!(from, "same-origin" | "none") {
        return Err(forged("the form was sent by another site's page"));
    }
    let form = Form::posted(exchange).map_err(unreadable)?;
    if !browser.sent(governance, form.get("form_token")) {
        let detail = "the form is too old, or not from this browser; go back, reload and try again \
                      (cookies must be allowed)";
        return Err(forged(detail));
    }
    Ok(form)
}
