//! Task ids are handles, and holding one is no proof: the ids that clients see are sealed for one principal
//! and one server, so a task belongs to whoever started it, on every replica, and nothing is stored. Tasks
//! that a client runs for its server bear the client's own ids, which pass as they are.

use std::ops::Range;

use gateway_core::caller::Caller;
use gateway_core::ids::ServerId;
use gateway_core::json::{Json, write_string};
use gateway_core::keys::{Purpose, RootKey, keyed_hash};
use gateway_core::seal::Sealer;

/// Begins every id that we hand out.
const OURS: &str = "rl-task.";
/// Where a message says to which task it belongs, within `_meta`.
pub(super) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Where a server's messages name a task of the server's.
const PLACES: [&[&str]; 5] = [
    &["result", "taskId"],
    &["result", "task", "taskId"],
    &["result", "_meta", RELATED, "taskId"],
    &["params", "_meta", RELATED, "taskId"],
    STATUS,
];
/// In a notification. A request of the server, such as `tasks/get`, names a task of the client's here.
const STATUS: &[&str] = &["params", "taskId"];
/// Where a client's messages say to which task they belong.
const RELATIONS: [&[&str]; 2] =
    [&["params", "_meta", RELATED, "taskId"], &["result", "_meta", RELATED, "taskId"]];

/// Where a message names its task, and the upstream's own id to be put there.
pub(super) type Place = (Range<usize>, String);

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

    /// The task to which a client's message says it belongs. An error when it is not one of this caller's;
    /// answers and notifications may belong to a task of the client's own.
    pub(super) fn relation(
        &self,
        server: ServerId,
        caller: &Caller,
        text: &str,
        asks: bool,
    ) -> Result<Option<Place>, String> {
        // Escapes can spell the key otherwise.
        if !text.contains(RELATED) && !text.contains('\\') {
            return Ok(None);
        }
        let message = Json::checked_before(text);
        let Some(value) = RELATIONS.iter().find_map(|place| message.at(place)) else {
            return Ok(None);
        };
        let handle = value.as_str().unwrap_or_default();
        if !(asks || handle.starts_with(OURS)) {
            return Ok(None);
        }
        let opened = self.open(server, caller, &handle).zip(value.span_in(text));
        let (id, span) = opened.ok_or(format!("{RELATED}: not a task of this caller's"))?;
        Ok(Some((span, id)))
    }

    /// The message with its task ids sealed; `None` when it names none.
    pub(super) fn seal_in(&self, server: ServerId, caller: &Caller, text: &str) -> Option<String> {
        if !text.contains("taskId") {
            return None;
        }
        let message = Json::parse(text.as_bytes()).ok()?;
        let asks = message.get("method").is_some() && message.get("id").is_some();
        let mut edits: Vec<_> = PLACES
            .iter()
            .filter(|place| !(asks && **place == STATUS))
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
            attributes: Default::default(),
            active: true,
        };
        Caller::new(Arc::new(user), AuthMethod::ApiKey, "k")
    }

    fn ids() -> TaskIds {
        let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0xA5).collect();
        TaskIds::new(&RootKey::new(&bytes).unwrap())
    }

    /// F5.
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
    fn escapes_hide_no_relation() {
        let (ids, server, bob) = (ids(), ServerId(Uuid::from_u128(1)), person(1));
        let related = |key: &str, id: &str| {
            let text =
                format!(r#"{{"method":"m","params":{{"_meta":{{"{key}":{{"taskId":"{id}"}}}}}}}}"#);
            let found = ids.relation(server, &bob, &text, true);
            found.map(|place| place.map(|(_, id)| id))
        };
        let sealed = ids.seal(server, &bob, "t-1");
        let slash = RELATED.replace('/', "\\/");
        let letter = RELATED.replacen('i', "\\u0069", 1);
        for key in [RELATED, &slash, &letter] {
            assert_eq!(related(key, &sealed), Ok(Some("t-1".into())), "{key}");
            for foreign in ["t-1", "", &ids.seal(server, &person(2), "t-1")] {
                assert!(related(key, foreign).is_err(), "{key} {foreign}");
            }
        }
        assert_eq!(related("other", "t-1"), Ok(None));
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
            (
                r#"{"id":1,"method":"m","params":{"taskId":"t","_meta":{"REL":{"taskId":"t"}}}}"#,
                r#"{"id":1,"method":"m","params":{"taskId":"t","_meta":{"REL":{"taskId":"SEALED"}}}}"#,
            ),
        ];
        for (text, expected) in cases {
            let found = ids.seal_in(server, &caller, &text.replace("REL", RELATED));
            let expected = expected.replace("REL", RELATED);
            assert_eq!(found.as_deref(), Some(&*expected.replace("SEALED", &sealed)));
        }
        let asked = r#"{"id":1,"method":"tasks/get","params":{"taskId":"the client's"}}"#;
        let prose = r#"{"result":{"content":"taskId"}}"#;
        for untouched in [prose, r#"{"result":{"taskId":7}}"#, asked, "{}"] {
            assert_eq!(ids.seal_in(server, &caller, untouched), None, "{untouched}");
        }
    }

    #[test]
    fn a_message_belongs_to_a_task_of_its_sender() {
        let (ids, server, caller) = (ids(), ServerId(Uuid::from_u128(1)), person(1));
        let (mine, theirs) = (ids.seal(server, &caller, "t"), ids.seal(server, &person(2), "t"));
        let within = |part: &str, id: &str| {
            format!(r#"{{"x":1,"{part}":{{"_meta":{{"{RELATED}":{{"taskId":"{id}"}}}}}}}}"#)
        };
        let relation = |text: &str, asks| ids.relation(server, &caller, text, asks);
        for part in ["params", "result"] {
            for asks in [true, false] {
                let text = within(part, &mine);
                let (span, id) = relation(&text, asks).unwrap().unwrap();
                assert_eq!((&text[span], &*id), (&*format!("\"{mine}\""), "t"));
                assert!(relation(&within(part, &theirs), asks).is_err());
                assert!(relation(&within(part, "rl-task.x"), asks).is_err());
            }
            assert!(relation(&within(part, "t"), true).is_err(), "a bare id in a request");
            assert_eq!(relation(&within(part, "the client's"), false), Ok(None));
        }
        assert!(relation(&within("params", "t").replace("\"t\"", "7"), true).is_err());
        assert_eq!(relation("{}", true), Ok(None));
    }
}
