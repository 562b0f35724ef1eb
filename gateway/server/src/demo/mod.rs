//! `gateway demo`: a whole small organisation on real sockets. Starts three MCP servers ([`upstreams`]) and
//! a gateway ([`house`]), lets people use them ([`walk`]), prints what each saw and what was recorded, and
//! then serves, so that a newcomer can point a client of their own at it.

mod browser;
mod house;
mod organisation;
mod person;
mod screen;
mod tokens;
mod upstreams;
mod walk;

use std::net::SocketAddr;
use std::path::PathBuf;

use gateway_governance::operations::install_links;
use serde_json::{Value, json};

use house::House;
use organisation::{PEOPLE, SERVERS};
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
        invite(&house, &screen)?;
        house.until_stopped().await;
    }
    house.close().await;
    Ok(all)
}

/// Says how to use it with a client of one's own.
fn invite(house: &House, screen: &Screen) -> anyhow::Result<()> {
    let servers: Vec<Value> = SERVERS
        .iter()
        .map(|slug| {
            let url = house.proxy_url(slug);
            json!({"slug": slug, "proxy_url": url, "install_links": install_links(slug, &url)})
        })
        .collect();
    let people: Vec<Value> = PEOPLE
        .iter()
        .map(|(name, email, _)| {
            let sign_in = json!({"email": email, "password": house.password(name)});
            json!({"email": email, "api_key": house.key(name), "sign_in": sign_in})
        })
        .collect();
    screen.tell(&json!({
        "kind": "ready", "base_url": house.base_url(), "people": people, "servers": servers,
    }))?;
    screen.say(
        "\nNow try it with a client of your own: give it a proxy URL and nothing else. A browser opens; sign in as\n\
         one of these people. Scripts send an API key as `Authorization: Bearer KEY`.\n",
    )?;
    for (name, email, role) in PEOPLE {
        let (password, key) = (house.password(name), house.key(name));
        screen.say(&format!("   {email:18} ({role:10})  password {password}"))?;
        screen.say(&format!("   {:33} API key  {key}", ""))?;
    }
    screen.say(&format!("\n   Your account: {}/account", house.base_url()))?;
    for server in &servers {
        let text = |pointer: &str| server.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        screen.say(&format!("\n   {}", text("/slug")))?;
        screen.say(&format!("     proxy URL  {}", text("/proxy_url")))?;
        screen.say(&format!("     Cursor     {}", text("/install_links/cursor")))?;
        screen.say(&format!("     VS Code    {}", text("/install_links/vscode")))?;
    }
    screen.say("\nServing until Ctrl-C.")?;
    Ok(())
}
