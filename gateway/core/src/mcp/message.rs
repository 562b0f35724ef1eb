//! Reads one JSON-RPC message: what it is, of which era, about what. Spans point into the body.

use std::ops::Range;

use crate::json::{Json, Kind};
use crate::names::twins;
use crate::reason::Reason;

use super::{Era, MODERN_VERSION, Method, meta};

/// What kind of message a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// It has a method and an id.
    Request,
    /// It has a method and no id.
    Notification,
    /// It has a result or an error: the client's answer to a request of the server.
    Response,
}

/// A message as the gateway understands it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Request, notification or response.
    pub kind: MessageKind,
    /// Legacy or modern.
    pub era: Era,
    /// The method; `None` for responses.
    pub method: Option<Method>,
    /// The method's name as sent; empty for responses.
    pub method_name: String,
    /// The id as JSON text; `None` for notifications.
    pub id: Option<String>,
    /// What it is about: tool or prompt name, resource URI, task id.
    pub target: Option<String>,
    /// Where `params` stands in the body.
    pub params: Option<Range<usize>>,
    /// Where `params.arguments` stands in the body.
    pub arguments: Option<Range<usize>>,
    /// It asks to be run as a task (`params.task`, legacy): its answer is a task or an error.
    pub as_task: bool,
    /// The version that `_meta` or `initialize` names.
    pub version: Option<String>,
    /// Who the client says it is, and whether it can ask its user.
    pub client: Client,
}

/// The client as it describes itself, in `_meta` (modern) or `initialize` (legacy).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// `clientInfo.name`
    pub name: Option<String>,
    /// `clientInfo.version`
    pub version: Option<String>,
    /// It can show a form to its user (`capabilities.elicitation`).
    pub elicitation: bool,
    /// It can send its user to a page (`capabilities.elicitation.url`).
    pub elicitation_url: bool,
}

/// Why a body is refused; `id` is the request's id as JSON text where it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The reason.
    pub reason: Reason,
    /// Which field, and what was expected.
    pub detail: String,
    /// The request's id, to be echoed.
    pub id: Option<String>,
    /// What the message seems to speak, as far as could be told.
    pub era: Era,
}

/// Reads `body`. `version_header` is `MCP-Protocol-Version`: a modern one makes a message without
/// `_meta` a flawed modern one, so that it gets the modern answer.
pub fn understand(body: &[u8], version_header: Option<&str>) -> Result<Call, Flaw> {
    let header_era = if version_header == Some(MODERN_VERSION) { Era::Modern } else { Era::Legacy };
    let flaw = |reason, detail: String| Flaw { reason, detail, id: None, era: header_era };
    let json = Json::parse(body).map_err(|e| flaw(Reason::InvalidJson, e.to_string()))?;
    if json.kind() == Kind::Array {
        return Err(flaw(Reason::BatchNotSupported, "the body is an array".into()));
    }
    if json.kind() != Kind::Object {
        return Err(flaw(Reason::InvalidMessage, "expected a JSON object".into()));
    }
    let text = std::str::from_utf8(body).map_err(|e| flaw(Reason::InvalidJson, e.to_string()))?;
    Envelope::read(json, header_era)?.into_call(text, header_era)
}

/// The names of the JSON-RPC envelope, and those in `params` that say what a request is about.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const DECIDED: [&str; 6] = ["name", "uri", "taskId", "arguments", "ref", "_meta"];

/// The members of the JSON-RPC envelope.
struct Envelope<'a> {
    id: Option<Json<'a>>,
    method: Option<String>,
    params: Option<Json<'a>>,
    answers: bool,
}

impl<'a> Envelope<'a> {
    fn read(json: Json<'a>, era: Era) -> Result<Envelope<'a>, Flaw> {
        let mut envelope = Envelope { id: None, method: None, params: None, answers: false };
        let mut version = None;
        let mut problem: Option<String> = None;
        for member in json.members() {
            match &*member.key {
                "jsonrpc" => version = member.value.as_str(),
                "id" => envelope.id = Some(member.value),
                "method" => match member.value.as_str() {
                    Some(name) => envelope.method = Some(name.into_owned()),
                    None => problem = Some("\"method\": expected a string".into()),
                },
                "params" => envelope.params = Some(member.value),
                "result" | "error" => envelope.answers = true,
                other => {
                    // Two readings of one message must not exist.
                    if let Some(name) = ENVELOPE.iter().find(|name| twins(other, name)) {
                        problem = Some(format!("\"{other}\": expected \"{name}\""));
                    }
                }
            }
        }
        let id_is_legal = match envelope.id.map(|id| id.kind()) {
            None | Some(Kind::String | Kind::Number) => true,
            // An error response to an unreadable request has a null id.
            Some(Kind::Null) => envelope.answers,
            Some(Kind::Bool | Kind::Array | Kind::Object) => false,
        };
        if !id_is_legal {
            problem = Some("\"id\": expected a string or a number".into());
            envelope.id = None;
        }
        if version.as_deref() != Some("2.0") {
            problem = Some("\"jsonrpc\": expected \"2.0\"".into());
        }
        if envelope.method.is_some() == envelope.answers {
            problem = Some("expected either \"method\" or one of \"result\" and \"error\"".into());
        }
        match problem {
            None => Ok(envelope),
            Some(detail) => Err(envelope.flaw(Reason::InvalidMessage, detail, era)),
        }
    }

    fn flaw(&self, reason: Reason, detail: String, era: Era) -> Flaw {
        Flaw { reason, detail, id: self.id.map(|id| id.raw().to_owned()), era }
    }

    fn into_call(self, text: &str, header_era: Era) -> Result<Call, Flaw> {
        let method_name = self.method.clone().unwrap_or_default();
        let meta = self.params.and_then(|p| p.get("_meta"));
        let meta_version = meta.and_then(|m| m.get(meta::PROTOCOL_VERSION));
        let kind = match (&self.method, self.id) {
            (None, _) => MessageKind::Response,
            (Some(_), Some(_)) => MessageKind::Request,
            (Some(_), None) => MessageKind::Notification,
        };
        let era = match (kind, meta_version) {
            _ if method_name == "initialize" && meta_version.is_none() => Era::Legacy,
            (_, Some(_)) => Era::Modern,
            (MessageKind::Response, None) => Era::Legacy,
            (MessageKind::Request | MessageKind::Notification, None) => header_era,
        };
        let flaw = |reason, detail: String| self.flaw(reason, detail, era);
        if self.params.is_some_and(|p| p.kind() != Kind::Object) {
            return Err(flaw(Reason::InvalidParams, "\"params\": expected an object".into()));
        }
        let mut call = Call {
            kind,
            era,
            method: None,
            method_name,
            id: self.id.map(|id| id.raw().to_owned()),
            target: None,
            params: self.params.and_then(|p| p.span_in(text)),
            arguments: None,
            as_task: false,
            version: None,
            client: Client::default(),
        };
        let known = match kind {
            MessageKind::Response => return Ok(call),
            MessageKind::Request => Method::of_request(&call.method_name, era),
            MessageKind::Notification => Method::of_notification(&call.method_name),
        };
        if era == Era::Modern && kind == MessageKind::Request {
            call.version = Some(modern_version(meta).map_err(|d| flaw(Reason::InvalidParams, d))?);
        }
        let Some(method) = known else {
            return Err(flaw(Reason::UnknownMethod, format!("method \"{}\"", call.method_name)));
        };
        call.method = Some(method);
        self.read_target(method, text, &mut call).map_err(|d| flaw(Reason::InvalidParams, d))?;
        let (info, capabilities) = if method == Method::Initialize {
            let of_params = |key| self.params.and_then(|p| p.get(key));
            (of_params("clientInfo"), of_params("capabilities"))
        } else {
            let of_meta = |key| meta.and_then(|m| m.get(key));
            (of_meta(meta::CLIENT_INFO), of_meta(meta::CLIENT_CAPABILITIES))
        };
        call.client = Client::read(info, capabilities);
        if method == Method::Initialize {
            let version = self.params.and_then(|p| p.get("protocolVersion"));
            call.version = version.and_then(|v| v.as_str()).map(|v| v.into_owned());
        }
        Ok(call)
    }

    fn read_target(&self, method: Method, text: &str, call: &mut Call) -> Result<(), String> {
        let mut members = self.params.into_iter().flat_map(|params| params.members());
        if let Some(odd) = members.find(|m| DECIDED.iter().any(|name| twins(&m.key, name))) {
            return Err(format!("\"params.{}\": wrong case", odd.key));
        }
        let Some(member) = method.target_member() else { return Ok(()) };
        let params = self.params.ok_or_else(|| format!("\"params.{member}\" is missing"))?;
        let target = params.get(member).and_then(|t| t.as_str());
        let target = target.ok_or_else(|| format!("\"params.{member}\": expected a string"))?;
        call.target = Some(target.into_owned());
        call.as_task = call.era == Era::Legacy && params.get("task").is_some();
        if let Some(arguments) = params.get("arguments") {
            if arguments.kind() != Kind::Object {
                return Err("\"params.arguments\": expected an object".into());
            }
            call.arguments = arguments.span_in(text);
        }
        Ok(())
    }
}

/// The version of a modern request, whose required `_meta` members must be there.
fn modern_version(meta: Option<Json<'_>>) -> Result<String, String> {
    let meta = meta.ok_or("\"params._meta\" is missing")?;
    let member = |key: &str| meta.get(key).ok_or(format!("\"params._meta.{key}\" is missing"));
    let version = member(meta::PROTOCOL_VERSION)?.as_str();
    let version =
        version.ok_or(format!("\"params._meta.{}\": expected a string", meta::PROTOCOL_VERSION))?;
    if member(meta::CLIENT_CAPABILITIES)?.kind() != Kind::Object {
        let key = meta::CLIENT_CAPABILITIES;
        return Err(format!("\"params._meta.{key}\": expected an object"));
    }
    Ok(version.into_owned())
}

impl Client {
    fn read(info: Option<Json<'_>>, capabilities: Option<Json<'_>>) -> Client {
        let text = |key: &str| {
            let value = info.and_then(|i| i.get(key)).and_then(|v| v.as_str())?;
            Some(value.chars().filter(|c| !c.is_control()).take(128).collect())
        };
        let elicitation = capabilities.and_then(|c| c.get("elicitation"));
        // `{}` means form mode; a client that names modes must name `form`.
        let form = elicitation.is_some_and(|e| {
            e.kind() == Kind::Object && (e.members().next().is_none() || e.get("form").is_some())
        });
        let url = elicitation.and_then(|e| e.get("url"));
        Client {
            name: text("name"),
            version: text("version"),
            elicitation: form,
            elicitation_url: url.is_some_and(|url| url.kind() == Kind::Object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Listing;

    fn modern(method: &str, params: &str) -> String {
        let comma = if params.is_empty() { "" } else { "," };
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{"_meta":{{"{}":"2026-07-28","{}":{{}}}}{comma}{params}}}}}"#,
            meta::PROTOCOL_VERSION,
            meta::CLIENT_CAPABILITIES
        )
    }

    #[test]
    fn calls_are_understood_in_both_eras() {
        let body = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","arguments":{"n":1}}}"#;
        let call = understand(body.as_bytes(), Some("2025-06-18")).unwrap();
        assert_eq!((call.era, call.kind), (Era::Legacy, MessageKind::Request));
        assert_eq!((call.id.as_deref(), call.target.as_deref()), (Some("\"a\""), Some("x")));
        assert_eq!(&body[call.arguments.unwrap()], r#"{"n":1}"#);

        let call = understand(modern("tools/list", "").as_bytes(), None).unwrap();
        assert_eq!(call.era, Era::Modern);
        assert_eq!(call.method, Some(Method::List(Listing::Tools)));
        assert_eq!(call.version.as_deref(), Some("2026-07-28"));

        let init = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"Cursor","version":"1"}}}"#;
        let call = understand(init.as_bytes(), Some(MODERN_VERSION)).unwrap();
        assert_eq!((call.era, call.client.elicitation), (Era::Legacy, true));
        assert_eq!(call.client.name.as_deref(), Some("Cursor"));

        let task = body.replace("\"name\"", "\"task\":{},\"name\"");
        assert!(!call.as_task && understand(task.as_bytes(), None).unwrap().as_task);

        let answer = r#"{"jsonrpc":"2.0","id":3,"result":{}}"#;
        assert_eq!(understand(answer.as_bytes(), None).unwrap().kind, MessageKind::Response);
    }

    #[test]
    fn flawed_messages_name_the_field() {
        let ping = |rest: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping"{rest}}}"#);
        let cases: &[(String, Option<&str>, Reason, &str)] = &[
            ("[]".into(), None, Reason::BatchNotSupported, "array"),
            ("1".into(), None, Reason::InvalidMessage, "object"),
            (r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#.into(), None, Reason::InvalidMessage, "method"),
            (ping(r#","Params":{}"#), None, Reason::InvalidMessage, "\"params\""),
            (ping(r#","paramſ":{}"#), None, Reason::InvalidMessage, "\"params\""),
            (ping(r#","params":{"_Meta":{}}"#), None, Reason::InvalidParams, "wrong case"),
            (ping(r#","result":1"#), None, Reason::InvalidMessage, "either"),
            (ping(r#","params":[]"#), None, Reason::InvalidParams, "params"),
            (r#"{"id":1,"method":"ping"}"#.into(), None, Reason::InvalidMessage, "jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.into(), None, Reason::InvalidMessage, "id"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.into(), None, Reason::InvalidMessage, "id"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","id":2}"#.into(), None, Reason::InvalidJson, "duplicate"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"Tools/call","params":{}}"#.into(), None, Reason::UnknownMethod, "Tools/call"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#.into(), None, Reason::InvalidParams, "params.name"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#.into(), None, Reason::InvalidParams, "wrong case"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argumentſ":{}}}"#.into(), None, Reason::InvalidParams, "wrong case"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{},"Ref":{}}}"#.into(), None, Reason::InvalidParams, "wrong case"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":[]}}"#.into(), None, Reason::InvalidParams, "arguments"),
            (ping(""), Some(MODERN_VERSION), Reason::InvalidParams, "_meta"),
            (modern("ping", ""), None, Reason::UnknownMethod, "ping"),
            (modern("initialize", ""), None, Reason::UnknownMethod, "initialize"),
        ];
        for (body, header, reason, part) in cases {
            let flaw = understand(body.as_bytes(), *header).unwrap_err();
            assert_eq!(flaw.reason, *reason, "{body}");
            assert!(flaw.detail.contains(part), "{body}: {}", flaw.detail);
        }
    }
}
