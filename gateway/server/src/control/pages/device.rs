//! Letting in a device that has no browser: its code is entered, what it asks for is shown, and a person decides.

use askama::Template;
use gateway_governance::oauth::DeviceAsked;
use http::StatusCode;

use super::ask::Ask;
use super::reply::show;
use super::shell::Shell;
use super::text::line;
use crate::exchange::Reply;

#[derive(Template)]
#[template(path = "pages/device.html")]
struct Enter {
    shell: Shell,
    form_token: String,
    user_code: String,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "pages/device_asked.html")]
struct Asked {
    shell: Shell,
    form_token: String,
    email: String,
    user_code: String,
    client: String,
    client_host: Option<String>,
    reaches: String,
}

const UNKNOWN: &str = "No device waits with that code. Codes work for a few minutes; check it, or start again on the device.";
const TOO_MANY: &str = "Too many codes were wrong. Wait ten minutes and try again.";

/// Where the code is entered.
pub(super) fn enter(ask: &Ask<'_>) -> Reply {
    again(ask, ask.form.get("user_code"), StatusCode::OK, None)
}

/// What the device asks for.
pub(super) async fn asked(ask: &Ask<'_>) -> Reply {
    let code = ask.form.get("user_code");
    let Some(signed_in) = &ask.signed_in else { return ask.sign_in_first("/device") };
    let found = match find(ask, code).await {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    let asked = Asked {
        shell: ask.shell(),
        form_token: ask.form_token(),
        email: signed_in.user.email.clone(),
        user_code: line(&found.user_code),
        client: line(&found.client_name),
        client_host: found.client_host.as_deref().map(line),
        reaches: super::consent::reaches(ask, found.server_slug.as_deref()),
    };
    show(StatusCode::OK, &asked)
}

/// The decision.
pub(super) async fn decide(ask: &Ask<'_>) -> Reply {
    let code = ask.form.get("user_code");
    let Some(signed_in) = &ask.signed_in else { return ask.sign_in_first("/device") };
    let approve = match ask.form.get("decision") {
        "approve" => true,
        "refuse" => false,
        _ => return again(ask, code, StatusCode::BAD_REQUEST, Some("Choose Approve or Refuse.")),
    };
    if let Err(reply) = find(ask, code).await {
        return reply;
    }
    let oauth = ask.governance.oauth();
    match oauth.decide_device(code, &signed_in.user, approve, &ask.origin).await {
        Ok(()) if approve => ask.say(
            StatusCode::OK,
            "The device is let in",
            "You can go back to it and close this page.",
        ),
        Ok(()) => ask.say(StatusCode::OK, "The device is refused", "Nothing was given to it."),
        Err(_) => again(ask, code, StatusCode::NOT_FOUND, Some(UNKNOWN)),
    }
}

/// A code is short: nobody may try them out.
async fn find(ask: &Ask<'_>, code: &str) -> Result<DeviceAsked, Reply> {
    let who = ask.signed_in.as_ref().map(|who| who.user.id.to_string()).unwrap_or_default();
    let sign_in = ask.governance.sign_in();
    if !sign_in.guess("device code", &who) {
        return Err(again(ask, "", StatusCode::TOO_MANY_REQUESTS, Some(TOO_MANY)));
    }
    match ask.governance.oauth().device_asked(code).await {
        Some(found) => {
            sign_in.guessed("device code", &who);
            Ok(found)
        }
        None => Err(again(ask, code, StatusCode::NOT_FOUND, Some(UNKNOWN))),
    }
}

fn again(ask: &Ask<'_>, code: &str, status: StatusCode, problem: Option<&'static str>) -> Reply {
    let user_code = code.chars().take(20).filter(|c| c.is_ascii_graphic()).collect();
    let enter = Enter { shell: ask.shell(), form_token: ask.form_token(), user_code, problem };
    show(status, &enter)
}
