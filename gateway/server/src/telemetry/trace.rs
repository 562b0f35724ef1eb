//! W3C trace context: read from the `traceparent` header or from `params._meta.traceparent`, continued
//! towards the upstream. <https://www.w3.org/TR/trace-context/>

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_core::json::Json;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The target of exchanges' spans, so that the filter for lines does not touch them.
pub(super) const SPANS: &str = "gateway_spans";

/// Whether spans leave this process; without it no span is made per exchange.
static EXPORTING: AtomicBool = AtomicBool::new(false);

pub(super) fn set_exporting(exporting: bool) {
    if exporting {
        EXPORTING.store(true, Ordering::Relaxed);
    }
}

/// A caller's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    parent: [u8; 8],
    sampled: bool,
}

impl TraceParent {
    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`; later versions may go on after another `-`.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let (known, rest) = text.split_at_checked(55)?;
        let version = hex::<1>(known.get(..2)?)?[0];
        let separated = [2, 35, 52].into_iter().all(|at| known.as_bytes()[at] == b'-');
        let ends = rest.is_empty() || (version > 0 && rest.starts_with('-'));
        let trace = hex::<16>(known.get(3..35)?)?;
        let parent = hex::<8>(known.get(36..52)?)?;
        let flags = hex::<1>(known.get(53..55)?)?[0];
        let legal = version != 0xff && separated && ends;
        let named = trace != [0; 16] && parent != [0; 8];
        (legal && named).then_some(TraceParent { trace, parent, sampled: flags & 1 == 1 })
    }

    /// From the request's headers; doubled or malformed ones are ignored, as the specification asks.
    pub fn of(headers: &HeaderMap) -> Option<TraceParent> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        TraceParent::parse(only.to_str().ok()?)
    }

    /// From `params._meta.traceparent` of a JSON-RPC message.
    pub fn in_message(body: &[u8]) -> Option<TraceParent> {
        let named = body
            .windows(TRACEPARENT.as_str().len())
            .any(|at| at == TRACEPARENT.as_str().as_bytes());
        let message = named.then(|| Json::parse(body).ok()).flatten()?;
        TraceParent::parse(&message.at(&["params", "_meta", TRACEPARENT.as_str()])?.as_str()?)
    }

    /// The trace's id as 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        TraceId::from_bytes(self.trace).to_string()
    }

    fn context(&self) -> opentelemetry::Context {
        let remote = SpanContext::new(
            TraceId::from_bytes(self.trace),
            SpanId::from_bytes(self.parent),
            if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() },
            true,
            TraceState::default(),
        );
        opentelemetry::Context::new().with_remote_span_context(remote)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.parent));
        write!(f, "00-{trace}-{parent}-{:02x}", u8::from(self.sampled))
    }
}

/// Lower-case hexadecimal digits, exactly.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// The trace id that the request's headers name, for its audit record.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    TraceParent::of(headers).map(|parent| parent.trace_id())
}

/// The span of one exchange, under the caller's own, which its headers name or else its body; disabled
/// unless traces are exported.
pub fn exchange_span(headers: &HeaderMap, body: &[u8]) -> Span {
    if !EXPORTING.load(Ordering::Relaxed) {
        return Span::none();
    }
    let span = tracing::info_span!(target: SPANS, "exchange", otel.kind = "server");
    if let Some(parent) = TraceParent::of(headers).or_else(|| TraceParent::in_message(body)) {
        // Fails only for a span that has begun; this one has not.
        let _ = span.set_parent(parent.context());
    }
    span
}

/// The `traceparent` for the upstream. With export on it names the current exchange's span (continuing
/// `incoming`); without, `incoming` passes as it came. `incoming` is the header's or, where that is
/// absent, `params._meta.traceparent`.
pub fn onward(incoming: Option<&TraceParent>) -> Option<HeaderValue> {
    let ours = EXPORTING.load(Ordering::Relaxed).then(|| own(incoming)).flatten();
    let text = ours.or(incoming.copied())?.to_string();
    HeaderValue::from_str(&text).ok()
}

/// The current span, unless it belongs to another trace than the one to be continued.
fn own(incoming: Option<&TraceParent>) -> Option<TraceParent> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    let ours = TraceParent {
        trace: span.trace_id().to_bytes(),
        parent: span.span_id().to_bytes(),
        sampled: span.is_sampled(),
    };
    let continues = incoming.is_none_or(|incoming| incoming.trace == ours.trace);
    (span.is_valid() && continues).then_some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_as_it_came_when_nothing_is_exported() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(onward(Some(&parent)).unwrap(), GOOD);
        assert_eq!(onward(None), None);
        let later = GOOD.replacen("00", "42", 1) + "-what-comes-later";
        assert_eq!(TraceParent::parse(&later).unwrap().to_string(), GOOD);
    }

    #[test]
    fn a_message_may_name_the_trace() {
        let message = format!(r#"{{"params":{{"_meta":{{"traceparent":"{GOOD}"}},"x":1}}}}"#);
        assert_eq!(TraceParent::in_message(message.as_bytes()).unwrap().to_string(), GOOD);
        let elsewhere = format!(r#"{{"params":{{"arguments":{{"traceparent":"{GOOD}"}}}}}}"#);
        let twice = message.replace(r#""x":1"#, r#""x":1,"x":2"#);
        for other in
            [&*elsewhere, &twice, r#"{"params":{"_meta":{"traceparent":7}}}"#, "traceparent", ""]
        {
            assert_eq!(TraceParent::in_message(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_exchange_joins_the_trace_that_only_its_message_names() {
        use opentelemetry::trace::TracerProvider;
        use opentelemetry_sdk::trace::SdkTracerProvider;
        use tracing_subscriber::layer::SubscriberExt;
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        EXPORTING.store(true, Ordering::Relaxed);
        let (trace, other) =
            ("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c");
        let message = format!(r#"{{"params":{{"_meta":{{"traceparent":"{GOOD}"}}}}}}"#);
        let in_trace = |headers: &HeaderMap| {
            exchange_span(headers, message.as_bytes()).in_scope(|| {
                onward(TraceParent::of(headers).or_else(|| TraceParent::parse(GOOD)).as_ref())
            })
        };
        let (joined, headed) = tracing::subscriber::with_default(subscriber, || {
            let mut headers = HeaderMap::new();
            let joined = in_trace(&headers);
            headers.insert(TRACEPARENT, GOOD.replace(trace, other).parse().unwrap());
            (joined, in_trace(&headers))
        });
        EXPORTING.store(false, Ordering::Relaxed);
        let (joined, headed) = (joined.unwrap(), headed.unwrap());
        let joined = joined.to_str().unwrap();
        assert!(joined.contains(trace) && joined != GOOD, "our span is the parent: {joined}");
        assert!(headed.to_str().unwrap().contains(other), "the header counts first: {headed:?}");
    }

    #[test]
    fn malformed_ones_are_ignored() {
        let long = format!("{GOOD}-more");
        let upper = GOOD.to_uppercase();
        let version = GOOD.replacen("00", "ff", 1);
        let cases = [
            "",
            "00",
            &GOOD[..54],
            &long,
            &upper,
            &version,
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319\u{e9}-b7ad6b7169203331-01",
        ];
        for text in cases {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(trace_id(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(trace_id(&headers), None, "two are none");
    }
}
