//! The sign-in: which ways there are, each of them, and out again.

use askama::Template;
use gateway_core::caller::User;
use gateway_governance::operations::browser_sessions::RevokeBrowserSession;
use gateway_governance::sign_in::{NotSignedIn, Opened};
use gateway_governance::{Operation, SignIn};
use http::StatusCode;
use secrecy::SecretString;
use url::form_urlencoded;

use super::ask::Ask;
use super::reply::show;
use super::see_other;
use super::shell::Shell;
use super::text::line;
use crate::exchange::Reply;

#[derive(Template)]
#[template(path = "pages/sign_in.html")]
struct Choice {
    shell: Shell,
    local: bool,
    providers: Vec<Way>,
    next: String,
    form_token: String,
    email: String,
    problem: Option<String>,
}

/// A link to a provider.
struct Way {
    name: String,
    address: String,
}

#[derive(Template)]
#[template(path = "pages/link.html")]
struct OneTime {
    shell: Shell,
    name: String,
    email: String,
    token: String,
    form_token: String,
}

/// The ways in; or off to the provider that was chosen, or is the only way there is.
pub(super) async fn choose(ask: &Ask<'_>) -> Reply {
    let next = ask.form.get("next");
    if ask.signed_in.is_some() {
        return see_other(&ask.next(next));
    }
    let sign_in = ask.governance.sign_in();
    let chosen = match (ask.form.get("provider"), only(sign_in)) {
        ("", Some(provider)) if !next.is_empty() => provider,
        ("", _) => return ways(ask, None, ""),
        (chosen, _) => chosen,
    };
    let binding = ask.browser.binding(ask.governance);
    match sign_in.begin(chosen, &ask.next(next), &binding).await {
        Ok(address) => see_other(address.as_str()),
        Err(refused) => ways(ask, Some(&refused), ""),
    }
}

fn only(sign_in: &SignIn) -> Option<&str> {
    let mut providers = sign_in.providers();
    let first = providers.next().filter(|_| !sign_in.is_local());
    first.filter(|_| providers.next().is_none())
}

/// A password.
pub(super) async fn by_password(ask: &Ask<'_>) -> Reply {
    let email = ask.form.get("email");
    let password = SecretString::from(ask.form.get("password").to_owned());
    match ask.governance.sign_in().by_password(email, password, &ask.origin).await {
        Ok(opened) => enter(ask, &opened, &ask.next(ask.form.get("next"))),
        Err(refused) => ways(ask, Some(&refused), email),
    }
}

/// Back from a provider.
pub(super) async fn callback(ask: &Ask<'_>) -> Reply {
    let query = ask.exchange.query.as_deref().unwrap_or_default();
    let binding = ask.browser.binding(ask.governance);
    match ask.governance.sign_in().finish(query, &binding, &ask.origin).await {
        Ok((opened, next)) => enter(ask, &opened, &super::ask::local(next)),
        Err(refused) => ways(ask, Some(&refused), ""),
    }
}

/// A one-time link: who it is for, and a button, because programs that preview links must not use it up.
pub(super) async fn link(ask: &Ask<'_>) -> Reply {
    let token = ask.form.get("token");
    match ask.governance.sign_in().link(token, &ask.origin).await {
        Ok(user) => show(StatusCode::OK, &one_time(ask, &user, token)),
        Err(refused) => ways(ask, Some(&refused), ""),
    }
}

fn one_time(ask: &Ask<'_>, user: &User, token: &str) -> OneTime {
    OneTime {
        shell: Shell::default(),
        name: line(&user.name),
        email: user.email.clone(),
        token: token.to_owned(),
        form_token: ask.form_token(),
    }
}

/// A one-time link's button.
pub(super) async fn by_link(ask: &Ask<'_>) -> Reply {
    match ask.governance.sign_in().by_link(ask.form.get("token"), &ask.origin).await {
        Ok(opened) => enter(ask, &opened, "/account"),
        Err(refused) => ways(ask, Some(&refused), ""),
    }
}

/// Out: the session ends, and the browser forgets.
pub(super) async fn out(ask: &Ask<'_>) -> Reply {
    if let Some(signed_in) = &ask.signed_in {
        let id = signed_in.session.to_string();
        let end = RevokeBrowserSession { id, confirm: Some(true) };
        if let Err(refused) = ask.perform(Operation::RevokeBrowserSession(end)).await {
            return ask.refused(&refused);
        }
    }
    let mut reply = see_other("/sign-in");
    ask.browser.forget(&mut reply);
    reply
}

/// The browser gets the name that it has from now on.
fn enter(ask: &Ask<'_>, opened: &Opened, next: &str) -> Reply {
    let mut reply = see_other(next);
    ask.browser.renamed(opened.name.clone()).remember(&mut reply);
    reply
}

fn ways(ask: &Ask<'_>, problem: Option<&NotSignedIn>, email: &str) -> Reply {
    let sign_in = ask.governance.sign_in();
    let next = ask.form.get("next").to_owned();
    let address = |name: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("provider", name)
            .append_pair("next", &next)
            .finish();
        Way { name: name.to_owned(), address: format!("/sign-in?{query}") }
    };
    let choice = Choice {
        shell: Shell::default(),
        local: sign_in.is_local(),
        providers: sign_in.providers().map(address).collect(),
        form_token: ask.form_token(),
        email: line(email),
        problem: problem.map(ToString::to_string),
        next,
    };
    show(problem.map_or(StatusCode::OK, status), &choice)
}

fn status(refused: &NotSignedIn) -> StatusCode {
    match refused {
        NotSignedIn::NoSuchWay => StatusCode::NOT_FOUND,
        NotSignedIn::Wrong | NotSignedIn::LinkOver | NotSignedIn::Stale => StatusCode::FORBIDDEN,
        NotSignedIn::Refused { .. } | NotSignedIn::NoAccount(_) => StatusCode::FORBIDDEN,
        NotSignedIn::TooMany => StatusCode::TOO_MANY_REQUESTS,
        NotSignedIn::Provider(_) => StatusCode::BAD_GATEWAY,
        NotSignedIn::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
