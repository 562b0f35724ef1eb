//! What a newcomer reads when the walk-through is over: where to point a client of their own, as whom to sign in, and
//! what to try. `tests/oauth/demo.sh` reads it as they do, so its words are those of README.

use gateway_governance::operations::install_links;
use serde_json::{Value, json};

use super::house::House;
use super::organisation::{PEOPLE, SERVERS};
use super::screen::Screen;

/// Says how to use it with a client of one's own.
pub(super) fn invite(house: &House, screen: &Screen) -> anyhow::Result<()> {
    let servers: Vec<Value> = SERVERS
        .iter()
        .map(|(slug, _)| {
            let url = house.proxy_url(slug);
            json!({"slug": slug, "proxy_url": url, "install_links": install_links(slug, &url)})
        })
        .collect();
    screen.tell(&json!({
        "kind": "ready", "base_url": house.base_url(), "people": people(house), "servers": servers,
    }))?;
    screen.say(
        "\nNow try it with a client of your own. It needs no key:\n\n   \
         1. Give the client one of the proxy URLs below, and nothing else.\n   \
         2. A browser opens. Sign in as one of these people, and approve.\n   \
         3. Ask the client for something. Each server below says what, and as whom.\n",
    )?;
    for (name, email, role) in PEOPLE {
        let password = house.password(name);
        screen.say(&format!("   {email:18} ({role:10})  password {password}"))?;
    }
    for ((slug, try_this), server) in SERVERS.iter().zip(&servers) {
        let text = |pointer: &str| server.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let url = text("/proxy_url");
        screen.say(&format!("\n   {slug}: {try_this}"))?;
        screen.say(&format!("     proxy URL    {url}"))?;
        screen.say(&format!("     Claude Code  claude mcp add --transport http {slug} {url}"))?;
        screen.say(&format!("     as a command npx mcp-remote {url}"))?;
        screen.say(&format!("     Cursor       {}", text("/install_links/cursor")))?;
        screen.say(&format!("     VS Code      {}", text("/install_links/vscode")))?;
    }
    screen.say(&format!(
        "\n   What you have let act for you, and its end: {}/account",
        house.base_url()
    ))?;
    screen.say("   Scripts send an API key instead, as `Authorization: Bearer KEY`:\n")?;
    for (name, email, _) in PEOPLE {
        screen.say(&format!("   {email:18} {}", house.key(name)))?;
    }
    screen.say(
        "\nServing until Ctrl-C. Everything here is gone then, unless --data DIR was given.",
    )?;
    Ok(())
}

fn people(house: &House) -> Vec<Value> {
    let person = |(name, email, _): &(&str, &str, &str)| {
        let sign_in = json!({"email": email, "password": house.password(name)});
        json!({"email": email, "api_key": house.key(name), "sign_in": sign_in})
    };
    PEOPLE.iter().map(person).collect()
}
