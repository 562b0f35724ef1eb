//! A person's account at an upstream server: what is asked for, off to the issuer, back, and its end. What is checked
//! on the way back is governance's; a page of ours is all that the issuer learns.

use std::sync::Arc;

use askama::Template;
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, Server, UpstreamAuth};
use gateway_governance::connections::{Connected, Returned, Trouble};
use gateway_governance::operations::connections::{DisconnectServer, ListConnections};
use gateway_governance::operations::servers::GetServer;
use gateway_governance::{Operation, Refused};
use http::StatusCode;
use serde_json::Value;
use url::Url;

use super::ask::Ask;
use super::reply::{see_other, show_towards};
use super::shell::Shell;
use super::text::{line, when};
use crate::exchange::Reply;

/// Rows in which the connection is looked for.
const MOST: u32 = 200;

#[derive(Template)]
#[template(path = "pages/connect.html")]
struct Connect {
    shell: Shell,
    form_token: String,
    slug: String,
    title: String,
    host: String,
    email: String,
    connected: bool,
    issuer: String,
    scope: String,
    since: String,
    broken: Option<String>,
    lacks_scope: Option<String>,
    problem: Option<String>,
}

/// The page.
pub(super) async fn look(ask: &Ask<'_>) -> Reply {
    match server(ask).await {
        Ok(server) => shown(ask, &server, StatusCode::OK, None).await,
        Err(refused) => ask.refused(&refused),
    }
}

/// Sends the browser to the issuer's consent page.
pub(super) async fn begin(ask: &Ask<'_>) -> Reply {
    let Some(signed_in) = &ask.signed_in else { return ask.sign_in_first("") };
    let server = match server(ask).await {
        Ok(server) => server,
        Err(refused) => return ask.refused(&refused),
    };
    let connections = ask.governance.connections();
    match connections.begin(&signed_in.caller(), &server).await {
        Ok(asked) => see_other(asked.url.as_str()),
        Err(trouble) => {
            tracing::warn!(server = %server.slug, %trouble, "an account was not connected");
            let status = StatusCode::BAD_GATEWAY;
            shown(ask, &server, status, Some(told(&trouble))).await
        }
    }
}

/// Takes the browser back from the issuer.
pub(super) async fn back(ask: &Ask<'_>) -> Reply {
    let Some(signed_in) = &ask.signed_in else { return ask.sign_in_first("") };
    let sent = |name| Some(ask.form.get(name).to_owned()).filter(|text| !text.is_empty());
    let returned = Returned {
        state: sent("state"),
        code: sent("code"),
        iss: sent("iss"),
        error: sent("error"),
    };
    let connections = ask.governance.connections();
    match connections.finish(&signed_in.caller(), &ask.origin, returned).await {
        // The code is gone from the address bar with this.
        Ok(connected) => see_other(&format!("/connect/{}", connected.slug)),
        Err(unfinished) => {
            let trouble = &unfinished.trouble;
            tracing::warn!(%trouble, "an account was not connected");
            match (&unfinished.error, &unfinished.server) {
                (Some(error), Some(server)) => not_given(ask, error, server),
                (None, _) | (_, None) => {
                    ask.refused(&Refused::new(Reason::ConnectionNotMade, told(trouble)))
                }
            }
        }
    }
}

/// The issuer said no: what that means, and what to do now.
fn not_given(ask: &Ask<'_>, error: &str, server: &Connected) -> Reply {
    let title = line(&server.title);
    let (what, now) = match error {
        "access_denied" => (
            "The gateway was not given what it asked for there: you, or the sign-in itself, said no.".to_owned(),
            format!(
                "If you want to use {title} through the gateway, connect again and agree. If you did agree, an \
                 administrator there has to let the gateway in; show them this page."
            ),
        ),
        "server_error" | "temporarily_unavailable" => (
            "The sign-in there is in trouble at the moment.".to_owned(),
            "Connect again in some minutes.".to_owned(),
        ),
        "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => (
            "The sign-in there wanted something of you that it did not ask for.".to_owned(),
            "Sign in there first, then connect again.".to_owned(),
        ),
        other => (
            format!("The sign-in there refused what the gateway asked for ({}).", line(other)),
            "Whoever administers the gateway has to look at how it is registered there; show them this page."
                .to_owned(),
        ),
    };
    let text = format!("{what} Nothing was connected, and nothing is kept. {now}");
    let heading = format!("Your account at {title} was not connected");
    let status = StatusCode::from_u16(Reason::ConnectionNotMade.status());
    let way_on = (format!("/connect/{}", server.slug), "Connect again");
    ask.say_towards(status.unwrap_or(StatusCode::BAD_REQUEST), (&heading, &text), way_on)
}

/// Gives the account back.
pub(super) async fn disconnect(ask: &Ask<'_>) -> Reply {
    let server_id = ask.parameter.to_owned();
    let end = DisconnectServer { server_id, user: None, confirm: Some(true) };
    match ask.perform(Operation::DisconnectServer(end)).await {
        Ok(_) => see_other("/account"),
        Err(refused) => ask.refused(&refused),
    }
}

/// The server, if the person may enter it and it needs an account of theirs; else it looks absent.
async fn server(ask: &Ask<'_>) -> Result<Arc<Server>, Refused> {
    let get = GetServer { server_id: Some(ask.parameter.to_owned()), name: None };
    ask.perform(Operation::GetServer(get)).await?;
    let absent = || Refused::new(Reason::ServerNotFound, "none that needs an account of yours");
    let snapshot = ask.governance.snapshot();
    let server = snapshot.server(ask.parameter).cloned().ok_or_else(absent)?;
    match &server.auth {
        UpstreamAuth::OauthUser(_) => Ok(server),
        UpstreamAuth::None
        | UpstreamAuth::Header { .. }
        | UpstreamAuth::OauthShared(_)
        | UpstreamAuth::IdentityForward
        | UpstreamAuth::TokenExchange(_) => Err(absent()),
    }
}

async fn shown(
    ask: &Ask<'_>,
    server: &Server,
    status: StatusCode,
    problem: Option<String>,
) -> Reply {
    let found = match connection(ask, server).await {
        Ok(found) => found,
        Err(refused) => return ask.refused(&refused),
    };
    let text = |name: &str| found[name].as_str().unwrap_or_default();
    let asked = match &server.auth {
        UpstreamAuth::OauthUser(client) => client.scopes.join(" "),
        UpstreamAuth::None
        | UpstreamAuth::Header { .. }
        | UpstreamAuth::OauthShared(_)
        | UpstreamAuth::IdentityForward
        | UpstreamAuth::TokenExchange(_) => String::new(),
    };
    let connected = !found.is_null();
    let page = Connect {
        shell: ask.shell(),
        form_token: ask.form_token(),
        slug: server.slug.to_string(),
        title: line(&server.title),
        host: host(server),
        email: ask.signed_in.as_ref().map_or_else(String::new, |s| s.user.email.clone()),
        connected,
        issuer: line(text("issuer")),
        scope: line(if connected { text("scope") } else { &asked }),
        since: if connected { when(text("connected_at")) } else { String::new() },
        broken: found["broken"].as_str().map(line),
        lacks_scope: found["lacks_scope"].as_str().map(line),
        problem,
    };
    // Browsers hold redirects after a form to form-action: where this form leads is the issuer's own choice.
    let scheme = if page.host.starts_with("https:") { "https:" } else { "http:" };
    show_towards(status, &page, Some(scheme))
}

/// The row of the person's connection; null where there is none.
async fn connection(ask: &Ask<'_>, server: &Server) -> Result<Value, Refused> {
    let list = ListConnections { limit: Some(MOST), ..ListConnections::default() };
    let answer = ask.perform(Operation::ListConnections(list)).await?;
    let rows = answer.value["data"].as_array();
    let found = rows.into_iter().flatten().find(|row| row["server"] == server.slug.as_str());
    Ok(found.cloned().unwrap_or(Value::Null))
}

fn host(server: &Server) -> String {
    let Endpoint::Http(url) = &server.endpoint else { return String::new() };
    let url = Url::parse(url).ok();
    url.map_or_else(String::new, |url| url.origin().ascii_serialization())
}

/// What people are told: what the issuer or the server has wrong helps whoever runs it.
fn told(trouble: &Trouble) -> String {
    let theirs = [Reason::UpstreamInvalid, Reason::ConnectionNotMade].contains(&trouble.reason);
    if theirs { line(&trouble.detail) } else { format!("{}.", trouble.reason.message()) }
}
