//! What governance needs from outside: upstream servers, guarded HTTP, time and randomness.
//!
//! Everything here is a trait, so that this crate knows nothing of sockets and tests decide what the
//! world answers. The server crate implements them over its pooled, guarded upstream leg.

use std::cell::RefCell;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::caller::Caller;
use gateway_core::credential::Credential;
use gateway_core::ids::CallId;
use gateway_core::mcp::Listing;
use gateway_core::reason::Reason;
use gateway_core::scan::Guard;
use gateway_core::scan::external::{Judged, Text};
use gateway_core::server::{Eras, Server};
use gateway_core::{Clock, Timestamp};
use ring::rand::SecureRandom;
use serde::Serialize;
use url::Url;
use uuid::Uuid;

/// What an upstream said when it was asked who it is.
#[derive(Debug, Clone)]
pub struct Probed {
    /// The eras it answers.
    pub eras: Eras,
    /// Its tools: each the exact JSON text of one definition.
    pub tools: Vec<String>,
}

/// A server was not read.
#[derive(Debug, Clone)]
pub struct Unread {
    /// Why.
    pub reason: Reason,
    /// What was tried and what happened; holds no secret.
    pub detail: String,
    /// It refused the credential: the status, and the headers that say what is missing.
    pub refused: Option<Box<(http::StatusCode, http::HeaderMap)>>,
}

impl From<(Reason, String)> for Unread {
    fn from((reason, detail): (Reason, String)) -> Unread {
        Unread { reason, detail, refused: None }
    }
}

/// Asks upstream servers on the gateway's own account.
#[async_trait]
pub trait Upstreams: Send + Sync + 'static {
    /// Finds out which eras `server` speaks and reads all its tools, presenting that credential.
    async fn probe(&self, server: &Server, credential: &Credential) -> Result<Probed, Unread>;

    /// Whether `server` answers at all, as cheaply as its era allows, presenting that credential.
    async fn ping(&self, server: &Server, credential: &Credential) -> Result<(), Unread>;

    /// Whether the gateway would connect to `url`: an error of [`Reason::UpstreamAddressRefused`] where it never
    /// would, any other where that cannot be told now.
    async fn reachable(&self, url: &str) -> Result<(), Unread>;

    /// Reads a whole listing of `server` as `caller` would get it before any filter: raw JSON items.
    async fn list(
        &self,
        server: &Server,
        listing: Listing,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<Vec<String>, Unread>;
}

/// The way to issuers of tokens and to authorization servers: guarded, with deadlines, no redirects.
#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    /// The body behind `url`, at most `limit` bytes, if the status is 200. The error says what went wrong.
    async fn get(&self, url: &Url, limit: usize) -> Result<Bytes, String> {
        let mut request = http::Request::new(Bytes::new());
        let uri = url.as_str().parse().map_err(|_| "not a usable address".to_owned())?;
        *request.uri_mut() = uri;
        let answer = self.send(request, limit).await?;
        match answer.status() {
            http::StatusCode::OK => Ok(answer.into_body()),
            status => Err(format!("status {}, expected 200", status.as_u16())),
        }
    }

    /// Sends one request, whose URI is absolute, and reads its answer whole, at most `limit` bytes. Any
    /// status is an answer.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: usize,
    ) -> Result<http::Response<Bytes>, String>;
}

/// The way to people's mailboxes.
#[async_trait]
pub trait Mail: Send + Sync + 'static {
    /// Hands one letter to the mail server. The error says what went wrong, and holds no secret.
    async fn send(&self, letter: &Letter) -> Result<(), String>;
}

/// A letter: plain text, one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The same for every attempt.
    pub id: Uuid,
    /// An e-mail address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Lines ended by `\n`.
    pub text: String,
}

/// The organisation's own scanner.
#[async_trait]
pub trait Scanner: Send + Sync + 'static {
    /// What it says of `asked`. The error says why there is no answer that makes sense, and holds no secret: too many
    /// are being asked, it took too long, it said something else.
    async fn ask(&self, asked: &ScannerQuestion<'_>) -> Result<Judged, String>;
}

/// What the organisation's own scanner is asked: the JSON that it gets.
#[derive(Debug, Clone, Serialize)]
pub struct ScannerQuestion<'a> {
    /// Of this form: 1.
    pub version: u8,
    /// Which call.
    pub correlation_id: CallId,
    /// Where the message flows.
    pub guard: Guard,
    /// The server's slug.
    pub server: &'a str,
    /// The MCP method of the request, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// The tool, if it is a tool's call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// Every string of the message.
    pub texts: &'a [Text],
    /// The message that they stand in: a checked JSON text.
    #[serde(skip)]
    pub message: &'a str,
}

/// For commands that talk to no upstream (`gateway key`, `gateway apply`): every question fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

#[async_trait]
impl Upstreams for Offline {
    async fn probe(&self, _server: &Server, _credential: &Credential) -> Result<Probed, Unread> {
        Err((Reason::UpstreamUnreachable, "this command reaches no upstream".to_owned()).into())
    }

    async fn ping(&self, _server: &Server, _credential: &Credential) -> Result<(), Unread> {
        Err((Reason::UpstreamUnreachable, "this command reaches no upstream".to_owned()).into())
    }

    async fn reachable(&self, _url: &str) -> Result<(), Unread> {
        Err((Reason::UpstreamUnreachable, "this command reaches no upstream".to_owned()).into())
    }

    async fn list(
        &self,
        _server: &Server,
        _listing: Listing,
        _caller: &Caller,
        _credential: &Credential,
    ) -> Result<Vec<String>, Unread> {
        Err((Reason::UpstreamUnreachable, "this command reaches no upstream".to_owned()).into())
    }
}

#[async_trait]
impl Fetch for Offline {
    async fn send(
        &self,
        _request: http::Request<Bytes>,
        _limit: usize,
    ) -> Result<http::Response<Bytes>, String> {
        Err("this command reaches no other host".into())
    }
}

/// Where randomness comes from, so that tests decide it.
pub trait Random: Send + Sync + 'static {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The operating system's randomness. Few bytes come out of a stock that each thread fetches for many askings, for each
/// fetching is a call of the system; what was given is erased from it.
#[derive(Debug)]
pub struct SystemRandom(ring::rand::SystemRandom);

/// Random bytes that were fetched.
struct Stock {
    bytes: [u8; 512],
    left: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; 512], left: 0 }) };
}

impl Stock {
    /// Gives the last of them; `fetch` fills it up where there are too few.
    fn take(&mut self, out: &mut [u8], fetch: impl FnOnce(&mut [u8])) {
        if self.left < out.len() {
            fetch(&mut self.bytes);
            self.left = self.bytes.len();
        }
        let first = self.left.saturating_sub(out.len());
        if let Some(taken) = self.bytes.get_mut(first..self.left) {
            out.copy_from_slice(taken);
            taken.fill(0);
        }
        self.left = first;
    }
}

impl SystemRandom {
    /// From so many bytes on an asking is worth a call of its own.
    const MANY: usize = 64;

    /// A source; opening it costs nothing.
    pub fn new() -> SystemRandom {
        SystemRandom(ring::rand::SystemRandom::new())
    }

    fn fetch(&self, out: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "without randomness nothing here is safe to continue"
        )]
        self.0.fill(out).expect("the operating system gives random bytes");
    }
}

impl Default for SystemRandom {
    fn default() -> SystemRandom {
        SystemRandom::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) {
        match out.len() {
            ..SystemRandom::MANY => {
                STOCK.with_borrow_mut(|stock| stock.take(out, |bytes| self.fetch(bytes)));
            }
            _ => self.fetch(out),
        }
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now_utc()
    }
}

/// A UUIDv7 of `now`: sorts by time, 74 random bits.
pub fn uuid7(now: Timestamp, random: &dyn Random) -> Uuid {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let millis = (now.unix_timestamp_nanos() / 1_000_000).max(0);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(0), &bytes)
        .into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Nothing is given twice, what was given is gone, and a stock that is too small is fetched anew.
    #[test]
    fn random_bytes_come_once() {
        let mut stock = Stock { bytes: [0; 512], left: 0 };
        let (mut fetched, mut given) = (0_u8, vec![]);
        for _ in 0..52 {
            let mut out = [0; 10];
            stock.take(&mut out, |bytes| {
                fetched += 1;
                bytes.iter_mut().zip((1..=255).cycle()).for_each(|(byte, n)| *byte = n);
            });
            given.push(out);
            assert!(stock.bytes[stock.left..].iter().all(|byte| *byte == 0));
        }
        assert_eq!(fetched, 2);
        assert!(given.iter().flatten().all(|byte| *byte != 0));
        assert_eq!(given[51], given[0], "the second stock begins like the first here");
        let random = SystemRandom::new();
        let many: HashSet<[u8; 16]> = (0..1_000)
            .map(|_| {
                let mut out = [0; 16];
                random.fill(&mut out);
                out
            })
            .collect();
        assert_eq!(many.len(), 1_000);
    }
}
