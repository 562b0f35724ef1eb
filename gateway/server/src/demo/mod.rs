//! `gateway demo`: a whole small organisation on real sockets. Starts three MCP servers ([`upstreams`]) and
//! a gateway ([`house`]), lets people use them ([`walk`]), prints what each saw and what was recorded, and
//! then serves, so that a newcomer can point a client of their own at it ([`invite`]).

mod browser;
mod house;
mod invite;
mod organisation;
mod person;
mod screen;
mod tokens;
mod upstreams;
mod walk;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use house::House;
use screen::Screen;

/// The arguments of `gateway demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// End after the walk-through; exit code 0 if all went as expected.
    #[arg(long)]
    pub once: bool,
    /// Where to listen. Default: 127.0.0.1:8080, or a free port where that is taken.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Keep everything in this folder. Default: a temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo; true when the walk-through went as expected.
pub async fn run(args: DemoArgs) -> anyhow::Result<bool> {
    let mut screen = Screen::new(args.json);
    screen.say("Starting a private Postgres, three MCP servers and the gateway ...")?;
    let house = House::open(&args).await?;
    let walked = walk::walk(&house, &mut screen).await;
    let all = match walked {
        Ok(all) => all,
        Err(error) => {
            house.close().await;
            return Err(error);
        }
    };
    screen.tell(&json!({"kind": "walked", "ok": all}))?;
    let verdict =
        if all { "Everything went as expected." } else { "NOT everything went as expected." };
    screen.say(&format!("\n{verdict}"))?;
    if !args.once {
        invite::invite(&house, &screen)?;
        house.until_stopped().await;
    }
    house.close().await;
    Ok(all)
}
