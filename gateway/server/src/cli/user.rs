//! `gateway user password | link`: the built-in sign-in, for machines without an identity provider.

use std::io::{BufRead, Read, Write};

use anyhow::{Context, bail};
use gateway_governance::operations::sign_in::{CreateSignInLink, SetLocalPassword};
use gateway_governance::{Operation, command_line};
use secrecy::SecretString;

use super::arguments::UserCommand;
use super::{Ended, quiet, say};
use crate::app::Base;
use crate::config::Config;

/// No password is longer.
const LONGEST_LINE: u64 = 4096;

/// Runs one of the commands.
pub(super) async fn run(config: Config, command: UserCommand) -> anyhow::Result<Ended> {
    let _lines = quiet(&config)?;
    let operation = match command {
        UserCommand::Password(one) => Operation::SetLocalPassword(SetLocalPassword {
            user: one.user,
            password: read_password()?,
            confirm: Some(true),
        }),
        UserCommand::Link(one) => {
            Operation::CreateSignInLink(CreateSignInLink { user: one.user, confirm: Some(true) })
        }
    };
    let base = Base::offline(&config).await?;
    let origin = base.governance.command_line_origin();
    let performed = base.governance.perform(&command_line(), &origin, operation).await;
    base.close().await;
    let value = performed.map_err(|refused| anyhow::anyhow!("{}", refused.detail))?.value;
    match value["url"].as_str() {
        Some(url) => say(&format!("{url}\n"))?,
        None => say(&format!("password set for {}\n", value["user"].as_str().unwrap_or_default()))?,
    }
    if value["usable"] != true {
        let warning =
            "nobody can sign in with it while sign_in.local = false in this configuration";
        writeln!(std::io::stderr(), "{warning}").context("stderr")?;
    }
    Ok(Ended::Done)
}

/// One line of stdin, which neither the process list nor the shell's history shows.
fn read_password() -> anyhow::Result<SecretString> {
    let mut line = String::new();
    let mut stdin = std::io::stdin().lock().take(LONGEST_LINE);
    stdin.read_line(&mut line).context("the password, one line on stdin")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("expected the password, one line on stdin");
    }
    Ok(SecretString::from(password.to_owned()))
}
