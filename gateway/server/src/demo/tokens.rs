//! The steps of the walk-through that need no API key: a person who signs in, and a program with an account of its
//! own, for itself and on a person's behalf.

use anyhow::{Context, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::browser::Browser;
use super::house::House;
use super::organisation::AGENT;
use super::person::{Mode, Person, Saw};
use super::screen::Step;

const BOB: &str = "bob@example.com";

/// Bob's client knows the URL alone.
pub(super) async fn signed_in(house: &House) -> anyhow::Result<Step> {
    let browser = Browser::of(BOB, house.password("Bob"))?;
    let url = house.proxy_url("tickets");
    let signed_in = Person::sign_in(&url, browser, Mode::Legacy);
    let (bob, client_id) = Box::pin(signed_in).await?;
    let saw = bob.call("get_ticket", &json!({"id": 101})).await;
    bob.leave().await;
    Ok(Step {
        who: "Bob (engineer)".into(),
        what: "gives his client the URL of tickets, signs in in the browser, approves; get_ticket"
            .into(),
        shows:
            "A client needs the URL only: it finds the sign-in and registers itself (OAuth, PKCE)"
                .into(),
        ok: matches!(&saw, Saw::Result(text, _) if text.contains("Printer on fire")),
        saw: vec![format!("registered as {client_id}"), saw.text().into()],
    })
}

/// An agent of Bob's, for itself and for him.
pub(super) async fn on_behalf(house: &House) -> anyhow::Result<Step> {
    let agent = Agent::of_bob(house).await?;
    let own = agent.token(&[("grant_type", "client_credentials")]).await?;
    let own = called(house, &own, "list_tickets", &json!({"limit": 1})).await?;
    let early = agent.token(&FOR_BOB).await;
    let given = json!({"agent": AGENT, "servers": ["tickets"]});
    let given = rest(house, Method::POST, "delegations", &given).await?;
    house.settle().await?;
    let token = agent.token(&FOR_BOB).await?;
    let both = called(house, &token, "list_tickets", &json!({"open": true})).await?;
    let bobs = called(house, &token, "get_ticket", &json!({"id": 101})).await?;
    let id = given["id"].as_str().context("the delegation's id")?;
    rest(house, Method::DELETE, &format!("delegations/{id}"), &json!({})).await?;
    house.settle().await?;
    let late = agent.token(&FOR_BOB).await;
    let told = |asked: anyhow::Result<String>| asked.err().map(|refused| refused.to_string());
    let (early, late) = (told(early).unwrap_or_default(), told(late).unwrap_or_default());
    Ok(Step {
        who: format!("{AGENT} (a program of Bob's)"),
        what: "list_tickets for itself; then, once Bob has delegated, for Bob: list_tickets, get_ticket"
            .into(),
        shows: "An agent acts on a person's behalf where both are allowed, and both are recorded"
            .into(),
        ok: matches!(own, Saw::Result(..))
            && early == "invalid_grant"
            && late == "invalid_grant"
            && matches!(both, Saw::Result(..))
            && bobs.reason() == "target_not_found",
        saw: vec![
            format!("for itself: {}", own.text()),
            format!("for Bob, who has not delegated: {early}"),
            format!("for Bob: {}", both.text()),
            format!("for Bob, who may; the agent may not: {}", bobs.text()),
            format!("for Bob, who has withdrawn it: {late}"),
        ],
    })
}

const FOR_BOB: [(&str, &str); 3] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    ("subject_token_type", "urn:runlayer:token-type:user-email"),
    ("subject_token", BOB),
];

/// A program with credentials of its own.
struct Agent {
    token_url: String,
    client_id: String,
    client_secret: String,
}

impl Agent {
    /// Bob makes it, as a script does.
    async fn of_bob(house: &House) -> anyhow::Result<Agent> {
        // With --data it may be there from an earlier demo.
        let there = rest(house, Method::GET, "agent-accounts", &Value::Null).await?;
        let mut there = there["data"].as_array().into_iter().flatten();
        let (path, body) = match there.any(|account| account["name"] == AGENT) {
            true => (format!("agent-accounts/{AGENT}/secret"), json!({})),
            false => ("agent-accounts".to_owned(), json!({"name": AGENT})),
        };
        let made = rest(house, Method::POST, &path, &body).await?;
        house.settle().await?;
        let text = |key: &str| made[key].as_str().map(str::to_owned).context("the agent's secret");
        Ok(Agent {
            token_url: format!("{}/api/v1/oauth/token", house.base_url()),
            client_id: text("client_id")?,
            client_secret: text("client_secret")?,
        })
    }

    /// An access token; the error is the endpoint's.
    async fn token(&self, grant: &[(&str, &str)]) -> anyhow::Result<String> {
        let own = [("client_id", self.client_id.as_str()), ("client_secret", &self.client_secret)];
        let form: Vec<(&str, &str)> = grant.iter().copied().chain(own).collect();
        let answer = http()?.post(&self.token_url).form(&form).send().await?;
        let answer: Value = answer.json().await?;
        let token = answer["access_token"].as_str();
        let refused = || answer["error"].as_str().unwrap_or("no token").to_owned();
        token.map(str::to_owned).with_context(refused)
    }
}

/// One call of the agent's with that token, on tickets.
async fn called(house: &House, token: &str, tool: &str, arguments: &Value) -> anyhow::Result<Saw> {
    let agent = Person::connect(&house.proxy_url("tickets"), token, Mode::Legacy).await?;
    let saw = agent.call(tool, arguments).await;
    agent.leave().await;
    Ok(saw)
}

/// Bob at the REST face.
async fn rest(house: &House, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
    let url = format!("{}/api/v1/{path}", house.base_url());
    let request = http()?.request(method, url).bearer_auth(house.key("Bob"));
    let request = if body.is_null() { request } else { request.json(body) };
    let answer = request.send().await?;
    let (status, answer) = (answer.status(), answer.json::<Value>().await?);
    ensure!(status.is_success(), "{path}: {status} {}", answer["detail"]);
    Ok(answer)
}

fn http() -> reqwest::Result<Client> {
    Client::builder().no_proxy().build()
}
