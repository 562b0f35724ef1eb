//! `gateway key create | list | revoke`: the same operations as everywhere, performed as the operator.

use anyhow::{Context, bail};
use gateway_governance::operations::api_keys::{CreateApiKey, ListApiKeys, RevokeApiKey};
use gateway_governance::{Answer, Operation, command_line};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::arguments::{CreateKey, KeyCommand};
use super::{Ended, quiet, say};
use crate::app::Base;
use crate::config::{Config, setting};

/// Rows that are asked for at once.
const PAGE: u32 = 200;

/// Runs one of the commands.
pub(super) async fn run(config: Config, command: KeyCommand) -> anyhow::Result<Ended> {
    let _lines = quiet(&config)?;
    let base = Base::offline(&config).await?;
    let done = match command {
        KeyCommand::Create(create) => create_key(&base, create).await,
        KeyCommand::List(list) => list_keys(&base, list.user).await,
        KeyCommand::Revoke(revoke) => revoke_key(&base, revoke.id).await,
    };
    base.close().await;
    say(&done?)?;
    Ok(Ended::Done)
}

async fn create_key(base: &Base, create: CreateKey) -> anyhow::Result<String> {
    let expires_at = match create.expires.as_deref() {
        None => None,
        Some(text) => match setting::duration(text).filter(|time| !time.is_zero()) {
            Some(time) => Some((base.governance.clock().now() + time).format(&Rfc3339)?),
            None => bail!("--expires: expected a time such as 12h or 30d, found \"{text}\""),
        },
    };
    let operation = Operation::CreateApiKey(CreateApiKey {
        user: Some(create.user),
        name: Some(create.name).filter(|name| !name.is_empty()),
        expires_at,
        confirm: Some(true),
    });
    let answer = perform(base, operation).await?;
    let key = answer.value["key"].as_str().context("the answer holds no key")?;
    Ok(format!("{key}\n"))
}

async fn list_keys(base: &Base, user: Option<String>) -> anyhow::Result<String> {
    let mut text = format!(
        "{:36}  {:30}  {:6}  {:20}  {:20}  NAME\n",
        "ID", "USER", "ENDS", "EXPIRES", "STATE"
    );
    let mut cursor = None;
    loop {
        let list = ListApiKeys { user: user.clone(), limit: Some(PAGE), cursor };
        let answer = perform(base, Operation::ListApiKeys(list)).await?;
        for row in answer.value["data"].as_array().into_iter().flatten() {
            text.push_str(&line(row));
        }
        match answer.value["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(text),
        }
    }
}

fn line(row: &Value) -> String {
    let field = |name: &str| row[name].as_str();
    // To the second: the rest is noise here.
    let instant =
        |name| field(name).map(|at| at.get(..19).map_or(at.into(), |at| format!("{at}Z")));
    let state = match instant("revoked_at") {
        Some(_) => "revoked".to_owned(),
        None => "active".to_owned(),
    };
    format!(
        "{:36}  {:30}  {:6}  {:20}  {:20}  {}\n",
        field("id").unwrap_or_default(),
        field("user").unwrap_or_default(),
        field("last_four").unwrap_or_default(),
        instant("expires_at").unwrap_or_else(|| "never".into()),
        state,
        field("name").unwrap_or_default(),
    )
}

async fn revoke_key(base: &Base, id: String) -> anyhow::Result<String> {
    let operation = Operation::RevokeApiKey(RevokeApiKey { id, confirm: Some(true) });
    let answer = perform(base, operation).await?;
    let id = answer.value["id"].as_str().unwrap_or_default();
    let user = answer.value["user"].as_str().unwrap_or_default();
    Ok(format!("revoked {id} of {user}\n"))
}

async fn perform(base: &Base, operation: Operation) -> anyhow::Result<Answer> {
    let origin = base.governance.command_line_origin();
    let performed = base.governance.perform(&command_line(), &origin, operation).await;
    performed.map_err(|refused| anyhow::anyhow!("{}", refused.detail))
}
