//! The walk-through: what each person does with a real client, and what they must see.

use anyhow::Context;
use serde_json::{Value, json};

use super::house::House;
use super::organisation::AGENT;
use super::person::{Mode, Saw};
use super::screen::{Row, Screen, Step};
use super::tokens;

/// Takes every step; true when all went as expected.
pub(super) async fn walk(house: &House, screen: &mut Screen) -> anyhow::Result<bool> {
    let steps = [
        tokens::signed_in(house).await,
        allowed(house).await,
        denied(house).await,
        masked(house).await,
        invisible(house).await,
        portion(house).await,
        confirmed(house).await,
        declined(house).await,
        tokens::on_behalf(house).await,
        listings(house).await,
        query(house).await,
    ];
    let mut all = true;
    for step in steps {
        let step = step?;
        all &= step.ok;
        screen.step(&step)?;
    }
    let rows = audit_rows(house).await?;
    let recorded =
        |who: &str, how: &str| rows.iter().any(|Row(row)| row[1] == who && row[2] == how);
    all &= recorded("bob@example.com", "oauth_token") && recorded(AGENT, "oauth_token");
    all &= recorded(&format!("{AGENT} for bob@example.com"), "oauth_token");
    screen.say("\nWhat the audit trail has recorded (Alice asked the Runlayer MCP):\n")?;
    screen.rows(&rows)?;
    Ok(all)
}

async fn allowed(house: &House) -> anyhow::Result<Step> {
    let bob = house.person("Bob", "tickets", Mode::Legacy).await?;
    let saw = bob.call("list_tickets", &json!({"open": true})).await;
    bob.leave().await;
    Ok(Step {
        who: "Bob (engineer)".into(),
        what: "list_tickets on tickets, a stateful server of the legacy era".into(),
        shows: "A call that the policies allow goes through".into(),
        ok: matches!(&saw, Saw::Result(text, _) if text.contains("Printer on fire")),
        saw: vec![saw.text().into()],
    })
}

async fn denied(house: &House) -> anyhow::Result<Step> {
    let bob = house.person("Bob", "files", Mode::Modern).await?;
    let good = bob.call("read_file", &json!({"path": "engineering/release.md"})).await;
    let bad = bob.call("read_file", &json!({"path": "hr/salaries.csv"})).await;
    bob.leave().await;
    Ok(Step {
        who: "Bob (engineer)".into(),
        what: "read_file engineering/release.md, then hr/salaries.csv, on files (2026-07-28)"
            .into(),
        shows: "The same tool, denied for some arguments, and the refusal says by which policy"
            .into(),
        ok: matches!(good, Saw::Result(..)) && bad.reason() == "policy_denied",
        saw: vec![good.text().into(), bad.text().into()],
    })
}

async fn masked(house: &House) -> anyhow::Result<Step> {
    let bob = house.person("Bob", "files", Mode::Modern).await?;
    let good = bob.call("read_file", &json!({"path": "engineering/oncall.md"})).await;
    let bad = bob.call("search_files", &json!({"query": "password = \"qX7wfR2vLm9cTz\""})).await;
    bob.leave().await;
    let read = good.text();
    let masked = read.contains("[masked:") && read.contains("Outside office hours");
    let leaked = read.contains("qX7wfR2vLm9cTz") || read.contains("night.shift@");
    Ok(Step {
        who: "Bob (engineer)".into(),
        what: "read_file engineering/oncall.md; then search_files with a password in it".into(),
        shows: "Scanners mask what a result may not show, and stop secrets on their way out".into(),
        ok: matches!(good, Saw::Result(..))
            && masked
            && !leaked
            && bad.reason() == "scanner_blocked",
        saw: vec![good.text().into(), bad.text().into()],
    })
}

async fn invisible(house: &House) -> anyhow::Result<Step> {
    let carol = house.person("Carol", "tickets", Mode::Legacy).await?;
    let saw = carol.call("close_ticket", &json!({"id": 101})).await;
    carol.leave().await;
    Ok(Step {
        who: "Carol (contractor)".into(),
        what: "close_ticket on tickets".into(),
        shows: "A tool that no policy allows looks as if it did not exist".into(),
        ok: saw.reason() == "target_not_found",
        saw: vec![saw.text().into()],
    })
}

async fn portion(house: &House) -> anyhow::Result<Step> {
    let carol = house.person("Carol", "tickets", Mode::Legacy).await?;
    let small = carol.call("list_tickets", &json!({"limit": 2})).await;
    let text = carol.call("list_tickets", &json!({"limit": "1000"})).await;
    carol.leave().await;
    Ok(Step {
        who: "Carol (contractor)".into(),
        what: "list_tickets with limit 2, then with limit \"1000\" (a text)".into(),
        shows: "A condition on an argument cannot be slipped by changing its type".into(),
        ok: matches!(small, Saw::Result(..)) && text.reason() == "policy_denied",
        saw: vec![small.text().into(), text.text().into()],
    })
}

async fn confirmed(house: &House) -> anyhow::Result<Step> {
    let bob = house.person("Bob", "payments", Mode::Modern).await?;
    bob.desk.agree(true);
    let saw = bob.call("refund", &json!({"payment": "P-2001", "amount": 20})).await;
    let asked = bob.desk.asked();
    bob.leave().await;
    Ok(Step {
        who: "Bob (engineer)".into(),
        what: "refund P-2001, 20 EUR, on payments; his client asks him, he agrees".into(),
        shows: "A destructive call waits for a person (2026-07-28: a second round)".into(),
        ok: asked.len() == 1 && matches!(&saw, Saw::Result(text, _) if text.contains("Refunded")),
        saw: asked.into_iter().chain([saw.text().into()]).collect(),
    })
}

async fn declined(house: &House) -> anyhow::Result<Step> {
    let bob = house.person("Bob", "payments", Mode::Legacy).await?;
    bob.desk.agree(false);
    let saw = bob.call("refund", &json!({"payment": "P-2002", "amount": 4000})).await;
    let asked = bob.desk.asked();
    let left = bob.call("get_payment", &json!({"payment": "P-2002"})).await;
    bob.leave().await;
    Ok(Step {
        who: "Bob (engineer)".into(),
        what: "refund P-2002, 4000 EUR; his client asks him, he declines".into(),
        shows: "Declined: nothing happens (legacy: asked on the call's own stream)".into(),
        ok: asked.len() == 1
            && saw.reason() == "confirmation_declined"
            && left.text().contains("0.00 EUR refunded"),
        saw: asked.into_iter().chain([saw.text().into(), left.text().into()]).collect(),
    })
}

async fn listings(house: &House) -> anyhow::Result<Step> {
    let mut saw = Vec::new();
    let mut counts = Vec::new();
    for name in ["Alice", "Bob", "Carol"] {
        let person = house.person(name, "tickets", Mode::Legacy).await?;
        let tools = person.tools().await?;
        person.leave().await;
        counts.push(tools.len());
        saw.push(format!("{name:5} sees {}", tools.join(", ")));
    }
    Ok(Step {
        who: "Everybody".into(),
        what: "tools/list on tickets".into(),
        shows: "Listings show exactly what each person may call".into(),
        ok: counts == [4, 3, 1],
        saw,
    })
}

async fn query(house: &House) -> anyhow::Result<Step> {
    let alice = house.person("Alice", "runlayer", Mode::Modern).await?;
    let question = json!({
        "principal": "carol@example.com",
        "server": "tickets",
        "tool": "close_ticket",
    });
    let saw = alice.call("explain_access", &question).await;
    alice.leave().await;
    Ok(Step {
        who: "Alice (admin)".into(),
        what: "explain_access: may Carol close_ticket on tickets?".into(),
        shows: "The governance system answers questions about itself (Runlayer MCP)".into(),
        ok: matches!(&saw, Saw::Result(_, found) if found["verdict"] == "deny"),
        saw: explained(&saw),
    })
}

/// The verdict, its reason and the policies that were looked at, a line each.
fn explained(saw: &Saw) -> Vec<String> {
    let Saw::Result(_, found) = saw else { return vec![saw.text().into()] };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let policies = found["policies"].as_array().into_iter().flatten();
    let policies = policies
        .map(|policy| format!("policy \"{}\" {}", text(&policy["name"]), text(&policy["why"])));
    let verdict = format!("{}: {}", text(&found["verdict"]), text(&found["reason"]));
    std::iter::once(verdict).chain(policies).collect()
}

/// Asks the Runlayer MCP for the calls of this walk-through, oldest first.
async fn audit_rows(house: &House) -> anyhow::Result<Vec<Row>> {
    let alice = house.person("Alice", "runlayer", Mode::Modern).await?;
    let actions = json!([
        "tool_call_success",
        "tool_call_failure",
        "access_denied",
        "request_refused",
        "security_violation",
        "confirmation_requested",
        "confirmation_approved",
        "confirmation_declined",
    ]);
    let filter = json!({"limit": 50, "action_type": actions, "start": house.started_at()});
    let saw = alice.call("list_audit_logs", &filter).await;
    alice.leave().await;
    let Saw::Result(_, found) = &saw else {
        anyhow::bail!("list_audit_logs: {}", saw.text());
    };
    let rows = found["data"].as_array().context("list_audit_logs: no data in the answer")?;
    Ok(rows.iter().rev().map(row).collect())
}

fn row(entry: &Value) -> Row {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let time = text("timestamp");
    Row([
        time.get(11..19).unwrap_or(&time).to_owned(),
        who(entry),
        text("auth_method"),
        text("server"),
        text("resource_id"),
        text("action_type"),
        text("outcome"),
        text("reason"),
    ])
}

/// The person, the agent, or the agent and for whom it acts.
fn who(entry: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (entry["act"]["name"].as_str(), entry["on_behalf_of"].as_str()) {
        (None, _) => text(&entry["actor_email"]),
        (Some(agent), None) => agent.to_owned(),
        (Some(agent), Some(person)) => format!("{agent} for {person}"),
    }
}
