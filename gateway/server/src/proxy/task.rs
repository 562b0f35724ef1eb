//! Task ids are handles, and holding one is no proof: the ids that clients see are sealed for one principal
//! and one server, so a task belongs to whoever started it, on every replica, and nothing is stored.

use gateway_core::caller::Caller;
use gateway_core::ids::ServerId;
use gateway_core::json::{Json, write_string};
use gateway_core::keys::{Purpose, RootKey, keyed_hash};
use gateway_core::seal::Sealer;

/// Begins every id that we hand out.
const OURS: &str = "rl-task.";
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Where messages name a task.
const PLACES: [&[&str]; 5] = [
    &["result", "taskId"],
    &["result", "task", "taskId"],
    &["result", "_meta", RELATED, "taskId"],
    &["params", "taskId"],
    &["params", "_meta", RELATED, "taskId"],
];

/// Seals and opens task ids.
pub(super) struct TaskIds {
    sealer: Sealer,
    nonces: [u8; 32],
}

impl TaskIds {
    /// With the key for this purpose.
    pub(super) fn new(root: &RootKey) -> TaskIds {
        let key = root.derive(Purpose::Task);
        TaskIds { sealer: Sealer::new(&key), nonces: keyed_hash(&key, b"nonce") }
    }

    /// The id that the client gets: always the same for the same task, so that clients can compare.
    pub(super) fn seal(&self, server: ServerId, caller: &Caller, id: &str) -> String {
        let context = context(server, caller);
        let hash = keyed_hash(&self.nonces, &[&context, id.as_bytes()].concat());
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&hash[..12]);
        format!("{OURS}{}", self.sealer.seal(nonce, &context, id.as_bytes()))
    }

    /// The upstream's id, if this handle was given to this caller for this server.
    pub(super) fn open(&self, server: ServerId, caller: &Caller, handle: &str) -> Option<String> {
        let sealed = handle.strip_prefix(OURS)?;
        let id = self.sealer.open(&context(server, caller), sealed).ok()?;
        String::from_utf8(id).ok()
    }

    /// The message with its task ids sealed; `None` when it names none.
    pub(super) fn seal_in(&self, server: ServerId, caller: &Caller, text: &str) -> Option<String> {
        if !text.contains("taskId") {
            return None;
        }
        let message = Json::parse(text.as_bytes()).ok()?;
        let mut edits: Vec<_> = PLACES
            .iter()
            .filter_map(|place| {
                let value = message.at(place)?;
                Some((value.span_in(text)?, value.as_str()?))
            })
            .collect();
        edits.sort_by_key(|(span, _)| span.start);
        let mut out = String::with_capacity(text.len() + 128);
        let mut at = 0;
        for (span, id) in &edits {
            out.push_str(&text[at..span.start]);
            write_string(&self.seal(server, caller, id), &mut out);
            at = span.end;
        }
        out.push_str(&text[at..]);
        (!edits.is_empty()).then_some(out)
    }
}

fn context(server: ServerId, caller: &Caller) -> Vec<u8> {
    [&server.0.as_bytes()[..], &caller.binding()].concat()
}

/// True when a tool call may be answered with a task: it asks for one (legacy), or its client knows them.
pub(super) fn may_start(params: Option<Json<'_>>) -> bool {
    let Some(params) = params else { return false };
    let capabilities = params.at(&["_meta", gateway_core::mcp::meta::CLIENT_CAPABILITIES]);
    let knows = |key: &str| {
        capabilities.and_then(|c| c.get(key)).is_some_and(|part| part.raw().contains("tasks"))
    };
    params.get("task").is_some()
        || knows("extensions")
        || knows("experimental")
        || capabilities.is_some_and(|c| c.get("tasks").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::caller::{AuthMethod, PrincipalKind, User};
    use gateway_core::ids::UserId;
    use std::sync::Arc;
    use uuid::Uuid;

    fn person(n: u128) -> Caller {
        let user = User {
            kind: PrincipalKind::Person,
            id: UserId(Uuid::from_u128(n)),
            email: format!("{n}@example.com"),
            name: String::new(),
            roles: vec![],
            groups: vec![],
            active: true,
        };
        Caller::new(Arc::new(user), AuthMethod::ApiKey, "k")
    }

    fn ids() -> TaskIds {
        let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0xA5).collect();
        TaskIds::new(&RootKey::new(&bytes).unwrap())
    }

    #[test]
    fn a_task_belongs_to_its_principal_and_server() {
        let (ids, here, there) =
            (ids(), ServerId(Uuid::from_u128(1)), ServerId(Uuid::from_u128(2)));
        let handle = ids.seal(here, &person(1), "t-1");
        assert_eq!(ids.seal(here, &person(1), "t-1"), handle);
        assert_eq!(ids.open(here, &person(1), &handle).as_deref(), Some("t-1"));
        for (server, caller) in [(here, person(2)), (there, person(1)), (there, person(2))] {
            assert_eq!(ids.open(server, &caller, &handle), None);
        }
        assert_eq!(ids.open(here, &person(1), "t-1"), None);
        assert_eq!(ids.open(here, &person(1), "rl-task."), None);
    }

    #[test]
    fn only_the_ids_of_tasks_are_changed() {
        let (ids, server, caller) = (ids(), ServerId(Uuid::from_u128(1)), person(1));
        let sealed = ids.seal(server, &caller, "t");
        let cases = [
            (
                r#"{"result":{"x":1E400,"taskId":"t","y":{"taskId":"t"}}}"#,
                r#"{"result":{"x":1E400,"taskId":"SEALED","y":{"taskId":"t"}}}"#,
            ),
            (r#"{"result":{"task":{"taskId":"t"}}}"#, r#"{"result":{"task":{"taskId":"SEALED"}}}"#),
            (
                r#"{"method":"m","params":{"taskId":"t"}}"#,
                r#"{"method":"m","params":{"taskId":"SEALED"}}"#,
            ),
        ];
        for (text, expected) in cases {
            let found = ids.seal_in(server, &caller, text);
            assert_eq!(found.as_deref(), Some(&*expected.replace("SEALED", &sealed)));
        }
        for untouched in [r#"{"result":{"content":"taskId"}}"#, r#"{"result":{"taskId":7}}"#, "{}"]
        {
            assert_eq!(ids.seal_in(server, &caller, untouched), None, "{untouched}");
        }
    }
}
