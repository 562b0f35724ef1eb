//! What is a person's own: the browsers in which they are signed in, the programs that they let in, their API keys; each
//! with its end. Everything is an operation, so that it is authorised and recorded.

use askama::Template;
use gateway_core::caller::User;
use gateway_governance::operations::api_keys::{CreateApiKey, ListApiKeys, RevokeApiKey};
use gateway_governance::operations::browser_sessions::{ListBrowserSessions, RevokeBrowserSession};
use gateway_governance::operations::connections::ListConnections;
use gateway_governance::operations::oauth_sessions::{ListOauthSessions, RevokeOauthSession};
use gateway_governance::{Operation, Refused};
use http::StatusCode;
use serde_json::Value;

use super::ask::Ask;
use super::reply::show;
use super::see_other;
use super::shell::Shell;
use super::text::{browser, line, when};
use crate::exchange::Reply;

/// Rows of each list.
const MOST: u32 = 200;

#[derive(Template)]
#[template(path = "pages/account.html")]
struct Account {
    shell: Shell,
    form_token: String,
    name: String,
    email: String,
    groups: Vec<String>,
    programs: Vec<ProgramRow>,
    browsers: Vec<BrowserRow>,
    keys: Vec<KeyRow>,
    connections: Vec<ConnectionRow>,
    problem: Option<String>,
}

struct ProgramRow {
    id: String,
    name: String,
    reaches: String,
    since: String,
    used: String,
}

struct BrowserRow {
    id: String,
    agent: String,
    issuer: String,
    since: String,
    until: String,
    current: bool,
}

struct KeyRow {
    id: String,
    name: String,
    last_four: String,
    made: String,
    until: Option<String>,
    used: Option<String>,
}

struct ConnectionRow {
    server: String,
    title: String,
    issuer: String,
    since: String,
    broken: Option<String>,
    lacks: bool,
}

#[derive(Template)]
#[template(path = "pages/key.html")]
struct NewKey {
    shell: Shell,
    name: String,
    key: String,
}

/// All of it.
pub(super) async fn look(ask: &Ask<'_>) -> Reply {
    shown(ask, StatusCode::OK, None).await
}

/// A new key, shown this once.
pub(super) async fn create_key(ask: &Ask<'_>) -> Reply {
    let name = ask.form.get("name").trim().to_owned();
    let create =
        CreateApiKey { name: Some(name.clone()), confirm: Some(true), ..Default::default() };
    match ask.perform(Operation::CreateApiKey(create)).await {
        Ok(answer) => {
            let key = answer.value["key"].as_str().unwrap_or_default().to_owned();
            show(StatusCode::OK, &NewKey { shell: ask.shell(), name: line(&name), key })
        }
        Err(refused) => {
            let status = StatusCode::from_u16(refused.reason.status());
            shown(ask, status.unwrap_or(StatusCode::BAD_REQUEST), Some(refused.detail)).await
        }
    }
}

/// A key's end. Only their own keys are here, whatever their roles.
pub(super) async fn revoke_key(ask: &Ask<'_>) -> Reply {
    let id = ask.parameter.to_owned();
    match keys(ask).await {
        Ok(keys) if !keys.iter().any(|key| key.id == id) => return see_other("/account"),
        Ok(_) => {}
        Err(refused) => return ask.refused(&refused),
    }
    let revoke = RevokeApiKey { id, confirm: Some(true) };
    done(ask, Operation::RevokeApiKey(revoke)).await
}

/// The end of what a program was given. Only the person's own are here, whatever their roles.
pub(super) async fn revoke_program(ask: &Ask<'_>) -> Reply {
    let id = ask.parameter.to_owned();
    match programs(ask).await {
        Ok(programs) if !programs.iter().any(|program| program.id == id) => {
            return see_other("/account");
        }
        Ok(_) => {}
        Err(refused) => return ask.refused(&refused),
    }
    let revoke = RevokeOauthSession { id, confirm: Some(true) };
    done(ask, Operation::RevokeOauthSession(revoke)).await
}

/// A browser session's end.
pub(super) async fn end_browser(ask: &Ask<'_>) -> Reply {
    let end = RevokeBrowserSession { id: ask.parameter.to_owned(), confirm: Some(true) };
    done(ask, Operation::RevokeBrowserSession(end)).await
}

async fn done(ask: &Ask<'_>, operation: Operation) -> Reply {
    match ask.perform(operation).await {
        Ok(_) => see_other("/account"),
        Err(refused) => ask.refused(&refused),
    }
}

async fn shown(ask: &Ask<'_>, status: StatusCode, problem: Option<String>) -> Reply {
    let Some(signed_in) = &ask.signed_in else { return ask.sign_in_first("/account") };
    match account(ask, &signed_in.user, problem).await {
        Ok(account) => show(status, &account),
        Err(refused) => ask.refused(&refused),
    }
}

async fn account(ask: &Ask<'_>, user: &User, problem: Option<String>) -> Result<Account, Refused> {
    Ok(Account {
        shell: ask.shell(),
        form_token: ask.form_token(),
        name: line(&user.name),
        email: user.email.clone(),
        groups: user.groups.iter().map(|group| line(group)).collect(),
        programs: programs(ask).await?,
        browsers: browsers(ask).await?,
        keys: keys(ask).await?,
        connections: connections(ask).await?,
        problem,
    })
}

async fn programs(ask: &Ask<'_>) -> Result<Vec<ProgramRow>, Refused> {
    let user = ask.signed_in.as_ref().map(|signed_in| signed_in.user.email.clone());
    let list = ListOauthSessions { user, limit: Some(MOST), cursor: None };
    let answer = ask.perform(Operation::ListOauthSessions(list)).await?;
    Ok(rows(&answer.value, |row| ProgramRow {
        id: text(row, "id").to_owned(),
        name: line(text(row, "client_name")),
        reaches: reaches(ask, text(row, "resource")),
        since: when(text(row, "created_at")),
        used: when(text(row, "last_used_at")),
    }))
}

/// The server's title behind a proxy URL.
fn reaches(ask: &Ask<'_>, resource: &str) -> String {
    let base = ask.governance.public_url().as_str().trim_end_matches('/');
    let server = resource
        .strip_prefix(base)
        .and_then(|path| path.strip_prefix("/api/v1/proxy/")?.strip_suffix("/mcp"));
    super::consent::reaches(ask, server)
}

async fn browsers(ask: &Ask<'_>) -> Result<Vec<BrowserRow>, Refused> {
    let list = ListBrowserSessions { limit: Some(MOST), cursor: None };
    let answer = ask.perform(Operation::ListBrowserSessions(list)).await?;
    Ok(rows(&answer.value, |row| BrowserRow {
        id: text(row, "id").to_owned(),
        agent: browser(text(row, "user_agent")),
        issuer: line(text(row, "issuer")),
        since: when(text(row, "created_at")),
        until: when(text(row, "expires_at")),
        current: row["current"] == true,
    }))
}

async fn keys(ask: &Ask<'_>) -> Result<Vec<KeyRow>, Refused> {
    let user = ask.signed_in.as_ref().map(|signed_in| signed_in.user.email.clone());
    let list = ListApiKeys { user, limit: Some(MOST), cursor: None };
    let mut value = ask.perform(Operation::ListApiKeys(list)).await?.value;
    if let Some(keys) = value["data"].as_array_mut() {
        keys.retain(|key| key["revoked_at"].is_null());
    }
    Ok(rows(&value, |row| KeyRow {
        id: text(row, "id").to_owned(),
        name: line(text(row, "name")),
        last_four: text(row, "last_four").to_owned(),
        made: when(text(row, "created_at")),
        until: row["expires_at"].as_str().map(when),
        used: row["last_used_at"].as_str().map(when),
    }))
}

async fn connections(ask: &Ask<'_>) -> Result<Vec<ConnectionRow>, Refused> {
    let list = ListConnections { limit: Some(MOST), ..ListConnections::default() };
    let answer = ask.perform(Operation::ListConnections(list)).await?;
    let snapshot = ask.governance.snapshot();
    let title = |slug: &str| snapshot.server(slug).map(|server| line(&server.title));
    Ok(rows(&answer.value, |row| ConnectionRow {
        server: text(row, "server").to_owned(),
        title: title(text(row, "server")).unwrap_or_else(|| text(row, "server").to_owned()),
        issuer: line(text(row, "issuer")),
        since: when(text(row, "connected_at")),
        broken: row["broken"].as_str().map(line),
        lacks: row["lacks_scope"].is_string(),
    }))
}

fn rows<T>(page: &Value, row: impl Fn(&Value) -> T) -> Vec<T> {
    page["data"].as_array().into_iter().flatten().map(row).collect()
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}
