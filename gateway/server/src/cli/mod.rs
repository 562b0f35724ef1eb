//! The command line: what operators type. Exit codes: 0 done; 1 the thing asked about is not so (a case
//! failed, a chain is broken); 2 wrong use, wrong configuration, or it could not be done. What was asked for
//! goes to stdout, everything else to stderr.

mod arguments;
mod audit;
mod key;
mod policy;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod user;
mod vault;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::config::Config;
use crate::telemetry::{self, Telemetry};
use arguments::{
    Arguments, AuditCommand, Command, KeyCommand, PolicyCommand, UserCommand, VaultCommand,
};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Done.
    Done,
    /// The thing asked about is not so.
    NotSo,
}

/// What a command works with besides its arguments.
struct Surroundings {
    environment: Vec<(String, String)>,
}

/// Runs the program.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and is no error; if even that cannot be written, nobody reads it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let surroundings =
        Surroundings { environment: environment.into_iter().filter_map(text).collect() };
    // A second one in the same process finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments.command, &surroundings)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::NotSo) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", explain(&error));
            ExitCode::from(2)
        }
    }
}

/// The whole chain of causes, each once: some errors say their cause themselves.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

async fn run(command: Command, surroundings: &Surroundings) -> anyhow::Result<Ended> {
    match command {
        Command::Serve(at) => Box::pin(serve::serve(surroundings.config(&at.config)?)).await,
        Command::Migrate(at) => serve::migrate(surroundings.config(&at.config)?).await,
        Command::CheckConfig { config } => {
            say(&surroundings.config(&config)?.describe())?;
            Ok(Ended::Done)
        }
        Command::Apply(apply) => {
            let config = surroundings.config(&apply.at.config)?;
            Box::pin(state::apply(config, &apply)).await
        }
        Command::Key(command) => {
            let config = surroundings.config(match &command {
                KeyCommand::Create(create) => &create.at.config,
                KeyCommand::List(list) => &list.at.config,
                KeyCommand::Revoke(revoke) => &revoke.at.config,
            })?;
            Box::pin(key::run(config, command)).await
        }
        Command::User(command) => {
            let (UserCommand::Password(one) | UserCommand::Link(one)) = &command;
            let config = surroundings.config(&one.at.config)?;
            Box::pin(user::run(config, command)).await
        }
        Command::Policy(PolicyCommand::Test { dir }) => policy::test(&dir),
        Command::Audit(AuditCommand::Verify(at)) => {
            audit::verify(surroundings.config(&at.config)?).await
        }
        Command::Vault(VaultCommand::Rotate(at)) => {
            Box::pin(vault::rotate(surroundings.config(&at.config)?)).await
        }
        Command::Demo(demo) => {
            let as_expected = Box::pin(crate::demo::run(demo)).await?;
            Ok(if as_expected { Ended::Done } else { Ended::NotSo })
        }
    }
}

impl Surroundings {
    fn config(&self, path: &Path) -> anyhow::Result<Config> {
        Ok(Config::load(path, self.environment.iter().cloned())?)
    }
}

/// Writes `text` to stdout.
fn say(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // `gateway ... | head` is no error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Log lines for a command that ends soon: warnings only, and no traces.
fn quiet(config: &Config) -> anyhow::Result<Telemetry> {
    let log = crate::config::Log { filter: "warn".into(), ..config.log.clone() };
    Ok(telemetry::start(&log, &crate::config::Telemetry::default())?)
}

/// Reads a file that a command line names.
fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
