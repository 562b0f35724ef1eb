//! One tool call: arguments become an operation, its answer a result that a model can read. What goes wrong is an
//! `isError` result that says what to do next.

use gateway_core::caller::Caller;
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use gateway_governance::{Answer, Governance, Origin, Refused};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject};
use serde_json::json;

use super::super::arguments::{self, Arguments, Misfit};
use super::super::refusal::sentence;
use super::cap;
use super::table::{Effect, Entry};
use crate::telemetry;

/// Where a refused tool result carries the same for machines, as the line's own refusals do.
const REFUSAL_META: &str = "com.runlayer/refusal";

/// Why a call was refused, if its result says so.
pub(super) fn refused_for(result: &CallToolResult) -> Option<Reason> {
    let refusal = result.meta.as_ref()?.get(REFUSAL_META)?;
    Reason::parse(refusal.get("reason")?.as_str()?)
}

/// Calls the tool as the caller.
pub(super) async fn call(
    governance: &Governance,
    who: (&Caller, &Origin),
    entry: &Entry,
    given: JsonObject,
) -> CallToolResult {
    let Some(wanted) = arguments::of(entry.operation) else {
        return failed(Reason::Internal, "no arguments are known for it", who.1.call);
    };
    let mut answer = match perform(governance, who, wanted, given.clone()).await {
        Ok(answer) => answer,
        Err(result) => return result,
    };
    // A page that is too long is read again with fewer rows, so that its cursor leads to the next one.
    if entry.effect == Effect::Reads
        && let Some(rows) = cap::rows_that_fit(&answer.value)
        && wanted.schema().pointer("/properties/limit").is_some()
    {
        let mut fewer = given;
        fewer.insert("limit".into(), json!(rows));
        answer = match perform(governance, who, wanted, fewer).await {
            Ok(answer) => answer,
            Err(result) => return result,
        };
        let note = format!("Only {rows} rows, to keep the answer short: go on with next_cursor.");
        add_note(&mut answer, note);
    }
    finish(answer)
}

async fn perform(
    governance: &Governance,
    (caller, origin): (&Caller, &Origin),
    wanted: &Arguments,
    given: JsonObject,
) -> Result<Answer, CallToolResult> {
    let operation = wanted.read(given).map_err(|misfit| unfit(&misfit, origin.call))?;
    let name = operation.name();
    let performed = governance.perform(caller, origin, operation).await;
    telemetry::performed(name, origin.face, performed.as_ref().err().map(|e| e.reason));
    performed.map_err(|r| refused(&r, origin.call))
}

fn finish(mut answer: Answer) -> CallToolResult {
    if cap::cut_texts(&mut answer.value) {
        let note = "Shortened to what can be read at once: long texts are cut. The REST address of the same \
                    operation (see /api/v1/openapi.json) gives all of it.";
        add_note(&mut answer, note.into());
    }
    if let (Some(note), Some(members)) = (answer.note, answer.value.as_object_mut()) {
        members.insert("note".into(), note.into());
    }
    CallToolResult::structured(answer.value)
}

fn add_note(answer: &mut Answer, more: String) {
    answer.note = Some(match answer.note.take() {
        Some(note) => format!("{note} {more}"),
        None => more,
    });
}

fn unfit(misfit: &Misfit, call: CallId) -> CallToolResult {
    failed(Reason::InvalidParams, &misfit.to_string(), call)
}

fn refused(refused: &Refused, call: CallId) -> CallToolResult {
    // The reason and the next step say all of a missing confirm; the preview says what it is about.
    let detail = if refused.preview.is_some() { "" } else { &refused.detail };
    let mut result = failed(refused.reason, detail, call);
    if let Some(preview) = &refused.preview {
        result.content.push(ContentBlock::text(format!("It would change: {preview}")));
    }
    result
}

fn failed(reason: Reason, detail: &str, call: CallId) -> CallToolResult {
    let text = format!(
        "{}. {}\nreason: {reason}\ncorrelation_id: {call}",
        sentence(reason, detail),
        next_step(reason),
    );
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    let refusal = json!({"reason": reason.as_str(), "correlation_id": call, "policy_ids": []});
    result.meta = Some(JsonObject::from_iter([(REFUSAL_META.to_owned(), refusal)]).into());
    result
}

/// What the model can do about it.
fn next_step(reason: Reason) -> &'static str {
    let known = NEXT_STEPS.iter().find(|(reasons, _)| reasons.contains(&reason));
    known.map_or(
        "Do not repeat the call unchanged; give the correlation id to an administrator.",
        |(_, step)| step,
    )
}

const NEXT_STEPS: &[(&[Reason], &str)] = &[
    (&[Reason::InvalidParams], "Correct the argument and call again."),
    (
        &[Reason::ConfirmMissing],
        "Show this to the person; if they agree, call again with confirm=true, a JSON boolean.",
    ),
    (&[Reason::RoleMissing], "Ask an administrator, or use a tool that your roles allow."),
    (
        &[Reason::EntityNotFound, Reason::ServerNotFound, Reason::TargetNotFound],
        "List first, and use an id from the list.",
    ),
    (&[Reason::Conflict], "Read it again, then decide anew."),
    (
        &[
            Reason::AuditUnavailable,
            Reason::CatalogueStale,
            Reason::Overloaded,
            Reason::UpstreamUnavailable,
            Reason::ShuttingDown,
        ],
        "Nothing was done: try again in a few seconds.",
    ),
    (
        &[
            Reason::UpstreamUnreachable,
            Reason::UpstreamTimeout,
            Reason::UpstreamInvalid,
            Reason::UpstreamAddressRefused,
            Reason::UpstreamCredentialMissing,
        ],
        "The server itself has a problem: tell its owner.",
    ),
];
