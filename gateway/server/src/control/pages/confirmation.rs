//! A call that waits for people: what exactly it is, and the decision about exactly that. Who may see and decide it is
//! decided by the operations.

use askama::Template;
use gateway_governance::Operation;
use gateway_governance::operations::confirmations::{DecideConfirmation, GetConfirmation};
use http::StatusCode;
use serde_json::Value;

use super::ask::Ask;
use super::reply::show;
use super::see_other;
use super::shell::Shell;
use super::text::{Shown, json, line, when};
use crate::exchange::Reply;

#[derive(Template)]
#[template(path = "pages/confirmation.html")]
struct Waiting {
    shell: Shell,
    form_token: String,
    id: String,
    requested_by: String,
    own: bool,
    server: String,
    kind: String,
    target: String,
    arguments: Option<Shown>,
    message: String,
    approvers: Vec<String>,
    agreed: Vec<String>,
    status: String,
    expires_at: String,
    /// Whether whoever looks may decide now.
    open: bool,
}

/// The call.
pub(super) async fn look(ask: &Ask<'_>) -> Reply {
    let get = GetConfirmation { id: ask.parameter.to_owned() };
    match ask.perform(Operation::GetConfirmation(get)).await {
        Ok(answer) => show(StatusCode::OK, &waiting(ask, &answer.value)),
        Err(refused) => ask.refused(&refused),
    }
}

/// The decision; then the call is shown again, and what became of it.
pub(super) async fn decide(ask: &Ask<'_>) -> Reply {
    let approve = match ask.form.get("decision") {
        "approve" => true,
        "refuse" => false,
        _ => {
            let text = "Choose Approve or Refuse.";
            return ask.say(StatusCode::BAD_REQUEST, "Nothing was decided", text);
        }
    };
    let id = ask.parameter.to_owned();
    let decide = DecideConfirmation { id, approve, confirm: Some(true) };
    match ask.perform(Operation::DecideConfirmation(decide)).await {
        Ok(answer) => {
            let id = answer.value["id"].as_str().unwrap_or_default();
            see_other(&format!("/confirmations/{id}"))
        }
        Err(refused) => ask.refused(&refused),
    }
}

fn waiting(ask: &Ask<'_>, row: &Value) -> Waiting {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let list = |name: &str| -> Vec<String> {
        let items = row[name].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(person).collect()
    };
    let (kind, target) = text("target").split_once(':').unwrap_or(("call", text("target")));
    Waiting {
        shell: ask.shell(),
        form_token: ask.form_token(),
        id: text("id").to_owned(),
        requested_by: line(text("requested_by")),
        own: row["own"] == true,
        server: line(text("server")),
        kind: kind.to_owned(),
        target: line(target),
        arguments: row["arguments"].as_str().map(json),
        message: line(text("message")),
        approvers: list("approvers"),
        agreed: list("agreed"),
        status: text("status").to_owned(),
        expires_at: when(text("expires_at")),
        open: row["yours_to_decide"] == true && text("status") == "pending",
    }
}

/// An approver as people say it.
fn person(name: &str) -> String {
    match name.split_once(':') {
        Some(("group", group)) => format!("somebody of {}", line(group)),
        Some(("user", user)) => line(user),
        Some(_) | None if name == "caller" => "whoever made the call".to_owned(),
        Some(_) | None => line(name),
    }
}
