//! The commands and their arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::demo::DemoArgs;

/// A gateway for the Model Context Protocol: every call identified, decided, confirmed where a rule says
/// so, and recorded before it leaves.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct At {
    /// The configuration; `GATEWAY__SECTION__KEY` variables override it.
    #[arg(long, value_name = "FILE", default_value = "config/gateway.toml")]
    pub(super) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run. Migrates first unless `database.migrate = false`; SIGTERM lets running calls finish.
    #[command(after_help = "Example:\n  gateway serve --config config/dev.toml")]
    Serve(At),
    /// Bring the database up to date and do nothing else.
    #[command(after_help = "Example:\n  gateway migrate --config config/production.toml")]
    Migrate(At),
    /// Read and check a configuration and print what is in force, secrets hidden.
    #[command(after_help = "Example:\n  gateway check-config config/gateway.toml")]
    CheckConfig {
        /// The configuration.
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Make groups, users, servers and policies what a file says: all of it or nothing.
    #[command(
        after_help = "Example:\n  gateway apply --config config/dev.toml config/org.example.toml --dry-run"
    )]
    Apply(Apply),
    /// API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// People's own sign-in, for machines without an identity provider.
    #[command(subcommand)]
    User(UserCommand),
    /// Policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// People's tokens for upstream servers.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Start a whole small organisation, walk through it, and serve until Ctrl-C.
    #[command(after_help = "Example:\n  gateway demo --once")]
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    pub(super) at: At,
    /// The desired state.
    #[arg(value_name = "STATE.toml")]
    pub(super) state: PathBuf,
    /// Print the plan and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Remove what an earlier apply made and the file no longer has.
    #[arg(long)]
    pub(super) prune: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it, this once.
    #[command(
        after_help = "Example:\n  gateway key create --config config/dev.toml --user bob@example.com --name laptop --expires 30d"
    )]
    Create(CreateKey),
    /// List keys; never the keys themselves.
    #[command(
        after_help = "Example:\n  gateway key list --config config/dev.toml --user bob@example.com"
    )]
    List(ListKeys),
    /// End a key. Every replica refuses it within two seconds.
    #[command(
        after_help = "Example:\n  gateway key revoke --config config/dev.toml 0198c5b2-7d5e-7c1a-8f00-3f1f5a1d2c3b"
    )]
    Revoke(RevokeKey),
}

#[derive(Debug, Args)]
pub(super) struct CreateKey {
    #[command(flatten)]
    pub(super) at: At,
    /// Whose key it is.
    #[arg(long, value_name = "EMAIL")]
    pub(super) user: String,
    /// What to call it in lists.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) name: String,
    /// How long it works, for instance 12h or 30d; without it, until it is revoked.
    #[arg(long, value_name = "TIME")]
    pub(super) expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListKeys {
    #[command(flatten)]
    pub(super) at: At,
    /// Only this person's.
    #[arg(long, value_name = "EMAIL")]
    pub(super) user: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeKey {
    #[command(flatten)]
    pub(super) at: At,
    /// The key's id, as `gateway key list` shows it.
    #[arg(value_name = "ID")]
    pub(super) id: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Give a person a password: one line on stdin. Ends sign-ins with the old one. Needs sign_in.local.
    #[command(
        after_help = "Example:\n  gateway user password --config config/dev.toml --user bob@example.com"
    )]
    Password(OneUser),
    /// Print a link that signs a person in, once, within 15 minutes. Needs sign_in.local.
    #[command(
        after_help = "Example:\n  gateway user link --config config/dev.toml --user bob@example.com"
    )]
    Link(OneUser),
}

#[derive(Debug, Args)]
pub(super) struct OneUser {
    #[command(flatten)]
    pub(super) at: At,
    /// Who: the e-mail address.
    #[arg(long, value_name = "EMAIL")]
    pub(super) user: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run every *.case file of a folder; exit 1 when a verdict is not the expected one.
    #[command(after_help = "Example:\n  gateway policy test policies/cases")]
    Test {
        /// The folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Walk the hash chains; exit 1 and the first broken place when a record was changed.
    #[command(after_help = "Example:\n  gateway audit verify --config config/production.toml")]
    Verify(At),
}

#[derive(Debug, Subcommand)]
pub(super) enum VaultCommand {
    /// Make a new data key, wrapped by the key that keys.vault_file names, and seal every token with it. Replicas
    /// go on meanwhile.
    #[command(after_help = "Example:\n  gateway vault rotate --config config/production.toml")]
    Rotate(At),
}
