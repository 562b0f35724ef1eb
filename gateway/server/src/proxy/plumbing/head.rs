//! The head of a request: read within its deadline, refused where two readers could understand it in two
//! ways, and described without what concerns this connection only.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::{BError, ErrorType};
use tokio::time::{sleep, timeout};

use gateway_core::reason::Reason;

use super::{Limits, Shared};

/// A request's head. Hop-by-hop headers are gone; `host` is there for HTTP/2 too.
#[derive(Default)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
}

/// Why a head is refused.
pub(super) type Refused = (Reason, String);

/// Headers that concern one connection only.
pub(super) const HOP_BY_HOP: [HeaderName; 9] = [
    http::header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// Reads the head. `Ok(false)`: there is none, and nobody to be told.
pub(super) async fn read(
    shared: &Shared,
    session: &mut ServerSession,
    reused: bool,
    shutdown: &ShutdownWatch,
) -> Result<bool, Refused> {
    let limits = &shared.limits;
    let idle = if reused { limits.idle_within } else { Default::default() };
    let mut draining = shutdown.clone();
    // One deadline for the whole head: pingora's own timeouts are between reads, a byte a minute
    // satisfies them.
    let read = tokio::select! {
        biased;
        read = timeout(idle + limits.head_within, session.read_request()) => read,
        () = async {
            let _ = draining.wait_for(|draining| *draining).await;
            sleep(limits.lame_duck).await;
        } => return Ok(false),
    };
    match read {
        Ok(Ok(found)) => Ok(found),
        Err(_) => Ok(false),
        Ok(Err(error)) => unreadable(&error).map_or(Ok(false), Err),
    }
}

fn unreadable(error: &BError) -> Option<Refused> {
    if *error.etype() != ErrorType::InvalidHTTPHeader {
        return None;
    }
    let text = error.to_string();
    // pingora has one error type for all of these; its own ceilings are 1 MiB and 256 headers.
    let reason = if text.contains("Request header larger than") || text.contains("too many headers")
    {
        Reason::HeadersTooLarge
    } else {
        Reason::MalformedRequest
    };
    // The text quotes the head, which may hold a credential.
    Some((reason, "the request head cannot be read".to_owned()))
}

/// Refuses heads that are too large or ambiguous, and lengths that are too large.
pub(super) fn check(session: &ServerSession, limits: &Limits) -> Result<(), Refused> {
    let (bytes, count) = (limits.head_bytes, limits.head_count);
    let request = session.req_header();
    let size = match session.as_http1() {
        Some(h1) => {
            let raw = h1.get_headers_raw_bytes();
            if raw.len() <= bytes {
                check_framing(&raw).map_err(malformed)?;
            }
            raw.len()
        }
        None => request.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum(),
    };
    if size > bytes || request.headers.len() > count {
        let found = request.headers.len();
        let detail = format!("{size} bytes in {found} headers, the limits are {bytes} and {count}");
        return Err((Reason::HeadersTooLarge, detail));
    }
    if std::str::from_utf8(request.raw_path()).is_err() {
        return Err(malformed("the request target is not UTF-8"));
    }
    if request.method == Method::CONNECT {
        return Err((Reason::HttpMethodNotAllowed, "CONNECT".to_owned()));
    }
    Ok(())
}

fn malformed(detail: impl Into<String>) -> Refused {
    (Reason::MalformedRequest, detail.into())
}

/// The framing of an HTTP/1 message must have one reading. pingora accepts what RFC 9112 lets a recipient
/// repair (both length headers, doubled lengths, bare line feeds); a proxy in front of us may have
/// repaired it otherwise, so all of that is refused. It removes `Content-Length` next to
/// `Transfer-Encoding`, hence the look at the raw bytes.
fn check_framing(raw: &[u8]) -> Result<(), &'static str> {
    let mut lengths = 0;
    let mut encodings = 0;
    for (number, line) in raw.split(|b| *b == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\r") else {
            if line.is_empty() {
                continue;
            }
            return Err("a line of the head ends without a carriage return");
        };
        if line.contains(&b'\r') {
            return Err("a carriage return inside a line of the head");
        }
        if number == 0 {
            continue;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err("a folded header");
        }
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str().as_bytes()) {
            lengths += 1;
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err("content-length: expected digits");
            }
        } else if name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str().as_bytes()) {
            encodings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("transfer-encoding: expected \"chunked\"");
            }
        }
    }
    match lengths + encodings {
        0 | 1 => Ok(()),
        _ => Err("more than one of content-length and transfer-encoding"),
    }
}

/// The declared length of the body.
pub(super) fn declared_length(session: &ServerSession) -> Option<u64> {
    session.get_header(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// True when the client waits for `100 Continue` before it sends the body.
pub(super) fn expects_continue(session: &ServerSession) -> bool {
    let request = session.req_header();
    request.version == Version::HTTP_11
        && session
            .get_header(http::header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The head as the handler sees it.
pub(super) fn describe(session: &ServerSession) -> Head {
    let request = session.req_header();
    let mut headers: HeaderMap = request.headers.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(http::header::EXPECT);
    // HTTP/2 has the host in `:authority`; pingora has refused requests where the two differ.
    if !headers.contains_key(HOST)
        && let Some(authority) = request.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, host);
    }
    Head {
        method: request.method.clone(),
        path: request.uri.path().to_owned(),
        query: request.uri.query().map(str::to_owned),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_has_one_reading_or_is_refused() {
        let head = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        for good in ["", "Content-Length: 3\r\n", "transfer-encoding: Chunked\r\n", "X: y, z\r\n"] {
            assert_eq!(check_framing(head(good).as_bytes()), Ok(()), "{good:?}");
        }
        for bad in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\ncontent-length: 4\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 0x3\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "X: a\n",
            "X: a\rb\r\n",
            "X: a\r\n folded\r\n",
        ] {
            assert!(check_framing(head(bad).as_bytes()).is_err(), "{bad:?}");
        }
    }
}
