//! Consent: a program asks to act for a person, and the person decides. What it is called, where the answer goes and what
//! it will reach are shown; `state` and code reach the program only after the decision. Whether the request is
//! one to ask about at all is the authorization server's to say.

use askama::Template;
use gateway_governance::oauth::{Asked, OauthError, Unasked};
use http::StatusCode;
use url::Url;

use super::ask::Ask;
use super::reply::show_towards;
use super::see_other;
use super::shell::Shell;
use super::text::line;
use crate::exchange::Reply;

#[derive(Template)]
#[template(path = "pages/consent.html")]
struct Consent {
    shell: Shell,
    form_token: String,
    sealed: String,
    client: String,
    client_host: Option<String>,
    redirect_host: String,
    /// The answer stays on this machine.
    loopback: bool,
    reaches: String,
    name: String,
    email: String,
}

/// The request.
pub(super) async fn look(ask: &Ask<'_>) -> Reply {
    let query = ask.exchange.query.as_deref().unwrap_or_default();
    let binding = ask.browser.binding(ask.governance);
    match ask.governance.oauth().ask(query, &binding).await {
        // Only who may be asked at all is sent to sign in.
        Ok(asked) => match &ask.signed_in {
            Some(_) => shown(ask, &asked),
            None => ask.sign_in_first(""),
        },
        Err(Unasked::Page(error)) => wrong(ask, &error),
        Err(Unasked::Redirect(address)) => see_other(&address),
    }
}

/// The decision.
pub(super) async fn decide(ask: &Ask<'_>) -> Reply {
    let Some(signed_in) = &ask.signed_in else {
        let text = "You were signed out meanwhile. Go back to the program and start again.";
        return ask.say(StatusCode::FORBIDDEN, "Nothing was decided", text);
    };
    let oauth = ask.governance.oauth();
    let binding = ask.browser.binding(ask.governance);
    let asked = match oauth.ask_again(ask.form.get("request"), &binding) {
        Ok(asked) => asked,
        Err(error) => return wrong(ask, &error),
    };
    match ask.form.get("decision") {
        "approve" => match oauth.grant(&asked, &signed_in.user, &ask.origin).await {
            Ok(address) => see_other(&address),
            Err(error) => wrong(ask, &error),
        },
        "refuse" => see_other(&oauth.refuse(&asked, &signed_in.user, &ask.origin).await),
        _ => shown(ask, &asked),
    }
}

fn shown(ask: &Ask<'_>, asked: &Asked) -> Reply {
    let Some(signed_in) = &ask.signed_in else { return ask.sign_in_first("") };
    let redirect = Url::parse(&asked.redirect_uri).ok();
    let consent = Consent {
        shell: ask.shell(),
        form_token: ask.form_token(),
        sealed: asked.sealed.clone(),
        client: line(&asked.client_name),
        client_host: asked.client_host.as_deref().map(line),
        redirect_host: line(&asked.redirect_host),
        loopback: redirect.as_ref().is_some_and(is_loopback),
        reaches: reaches(ask, asked.server_slug.as_deref()),
        name: line(&signed_in.user.name),
        email: signed_in.user.email.clone(),
    };
    show_towards(StatusCode::OK, &consent, redirect.as_ref().map(source).as_deref())
}

/// As `form-action` names it: an origin, or a scheme where there is none.
fn source(redirect: &Url) -> String {
    match redirect.scheme() {
        "http" | "https" => redirect.origin().ascii_serialization(),
        scheme => format!("{scheme}:"),
    }
}

fn is_loopback(redirect: &Url) -> bool {
    match redirect.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What a token for that server opens. Of a server that the person may not enter nothing is told but what the
/// program wrote, as of one that is not there.
pub(super) fn reaches(ask: &Ask<'_>, server: Option<&str>) -> String {
    let Some(written) = server else {
        return "every server behind this gateway that you may use".to_owned();
    };
    let snapshot = ask.governance.snapshot();
    let user = ask.signed_in.as_ref().map(|signed_in| &signed_in.user);
    let known = snapshot.server(written).zip(user);
    let known = known.filter(|(server, user)| snapshot.policies.may_enter(user, server));
    match known.map(|(server, _)| (server.title.as_str(), server.slug.as_str())) {
        Some((title, slug)) if !title.is_empty() && title != slug => {
            format!("the server {} ({slug}), as far as you may use it", line(title))
        }
        Some((_, slug)) => format!("the server {slug}, as far as you may use it"),
        None => format!("the server {}, as far as you may use it", line(written)),
    }
}

fn wrong(ask: &Ask<'_>, error: &OauthError) -> Reply {
    let text = format!("{} ({})", error.description, error.code.as_str());
    ask.say(StatusCode::BAD_REQUEST, "This request cannot be answered", &line(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirect_is_named_as_form_action_takes_it() {
        let cases = [
            ("http://127.0.0.1:33418/callback?x=1", "http://127.0.0.1:33418", true),
            ("http://localhost:1/", "http://localhost:1", true),
            ("http://[::1]:9/cb", "http://[::1]:9", true),
            ("https://client.example/cb", "https://client.example", false),
            ("https://localhost.evil.example/cb", "https://localhost.evil.example", false),
            ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor:", false),
        ];
        for (redirect, expected, loopback) in cases {
            let redirect = Url::parse(redirect).unwrap();
            assert_eq!((source(&redirect).as_str(), is_loopback(&redirect)), (expected, loopback));
        }
    }
}
