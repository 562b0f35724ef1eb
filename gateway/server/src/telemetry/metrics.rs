//! The figures at `/metrics`. Every label value comes from a closed enum or is the name of a limit: what
//! clients send never becomes a label. One registry per process; several gateways in one process add up.

use std::sync::LazyLock;

use gateway_core::mcp::{Era, Method};
use gateway_core::reason::Reason;
use gateway_core::record::{Event, Finding};
use gateway_core::scan::{Class, Guard, Mode};
use gateway_governance::Face;
use prometheus::{
    Encoder, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    histogram_opts, opts,
};

use super::pressure::Load;

/// From one tenth of a millisecond to five minutes.
const SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 60.0, 300.0];

struct Figures {
    registry: Registry,
    calls: IntCounterVec,
    operations: IntCounterVec,
    latency: HistogramVec,
    upstream: HistogramVec,
    upstream_errors: IntCounterVec,
    limited: IntCounterVec,
    findings: IntCounterVec,
    in_flight: IntGauge,
    audit_queue: IntGauge,
    audit_spooled: IntGauge,
    audit_writable: IntGauge,
    spool_writable: IntGauge,
    audit_running: IntGauge,
    audit_lost: IntGauge,
    ready: IntGauge,
    servers: IntGaugeVec,
}

#[expect(clippy::expect_used, reason = "names and labels are constants; a test renders them")]
static FIGURES: LazyLock<Figures> =
    LazyLock::new(|| Figures::new().expect("the figures' names are legal and differ"));

impl Figures {
    fn new() -> prometheus::Result<Figures> {
        let gauge = |name, help| IntGauge::with_opts(opts!(name, help));
        let seconds = |name, help: &str, labels: &[&str]| {
            HistogramVec::new(histogram_opts!(name, help, SECONDS.to_vec()), labels)
        };
        let figures = Figures {
            registry: Registry::new(),
            calls: IntCounterVec::new(
                opts!("gateway_calls_total", "Exchanges and operations, by how they ended"),
                &["method", "outcome", "reason"],
            )?,
            operations: IntCounterVec::new(
                opts!(
                    "gateway_operations_total",
                    "Operations of the control plane, by face and end"
                ),
                &["operation", "face", "outcome", "reason"],
            )?,
            latency: seconds(
                "gateway_call_seconds",
                "From the first byte in to the last byte out",
                &["method", "outcome"],
            )?,
            upstream: seconds(
                "gateway_upstream_seconds",
                "Time spent with the upstream",
                &["method"],
            )?,
            upstream_errors: IntCounterVec::new(
                opts!("gateway_upstream_errors_total", "Calls that failed behind the gateway"),
                &["reason"],
            )?,
            limited: IntCounterVec::new(
                opts!("gateway_limited_total", "Calls that a limit did not let pass"),
                &["limit"],
            )?,
            findings: IntCounterVec::new(
                opts!("gateway_findings_total", "What scanners found, and what was done about it"),
                &["guard", "class", "mode"],
            )?,
            in_flight: gauge("gateway_in_flight", "Exchanges that are running")?,
            audit_queue: gauge("gateway_audit_queue", "Audit records that wait to be written")?,
            audit_spooled: gauge(
                "gateway_audit_spooled_bytes",
                "Audit records that wait on disk, in bytes",
            )?,
            audit_writable: gauge("gateway_audit_writable", "1 while the trail can be written")?,
            spool_writable: gauge(
                "gateway_audit_spool_writable",
                "0 while the disk does not take the audit records that are to wait there",
            )?,
            audit_running: gauge("gateway_audit_running", "Calls between intent and outcome")?,
            audit_lost: gauge("gateway_audit_lost", "Outcomes lost: queue and disk were full")?,
            ready: gauge("gateway_ready", "1 while this replica takes calls")?,
            servers: IntGaugeVec::new(
                opts!("gateway_servers", "Active servers by how they were when last asked"),
                &["health"],
            )?,
        };
        figures.register()?;
        Ok(figures)
    }

    fn register(&self) -> prometheus::Result<()> {
        let registry = &self.registry;
        registry.register(Box::new(self.calls.clone()))?;
        registry.register(Box::new(self.operations.clone()))?;
        registry.register(Box::new(self.latency.clone()))?;
        registry.register(Box::new(self.upstream.clone()))?;
        registry.register(Box::new(self.upstream_errors.clone()))?;
        registry.register(Box::new(self.limited.clone()))?;
        registry.register(Box::new(self.findings.clone()))?;
        registry.register(Box::new(self.servers.clone()))?;
        let gauges = [
            &self.in_flight,
            &self.audit_queue,
            &self.audit_spooled,
            &self.audit_writable,
            &self.spool_writable,
            &self.audit_running,
            &self.audit_lost,
            &self.ready,
        ];
        gauges.into_iter().try_for_each(|gauge| registry.register(Box::new(gauge.clone())))
    }
}

/// Counts what scanners found; of each kind, how often.
pub fn observe_findings(found: impl IntoIterator<Item = ((Guard, Class, Mode), u64)>) {
    for ((guard, class, mode), count) in found {
        let labels = [guard.as_str(), class.as_str(), mode.as_str()];
        FIGURES.findings.with_label_values(&labels).inc_by(count);
    }
}

/// Counts what an event records.
pub fn observe(event: &Event) {
    let figures = &*FIGURES;
    let method = method_label(event.subject.method.as_deref());
    let outcome = event.outcome.as_str();
    let reason = event.reason.map_or("none", Reason::as_str);
    figures.calls.with_label_values(&[method, outcome, reason]).inc_by(u64::from(event.count));
    for Finding { guard, class, mode, .. } in &event.subject.findings {
        observe_findings([((*guard, *class, *mode), u64::from(event.count))]);
    }
    if let Some(micros) = event.latency_us {
        figures.latency.with_label_values(&[method, outcome]).observe(seconds(micros));
    }
    if let Some(micros) = event.upstream_us {
        figures.upstream.with_label_values(&[method]).observe(seconds(micros));
    }
    if let Some(reason) = event.reason.filter(|reason| is_upstream(*reason)) {
        figures.upstream_errors.with_label_values(&[reason.as_str()]).inc();
    }
}

/// Counts an operation; `name` is one of `OPERATIONS`, `refused` says why it was not performed.
pub fn performed(name: &'static str, face: Face, refused: Option<Reason>) {
    let outcome = if refused.is_some() { "denied" } else { "ok" };
    let reason = refused.map_or("none", Reason::as_str);
    FIGURES.operations.with_label_values(&[name, face.as_str(), outcome, reason]).inc();
}

/// Counts a call that a limit did not let pass; `limit` is its name in the catalogue.
pub fn limited(limit: &str) {
    FIGURES.limited.with_label_values(&[limit]).inc();
}

#[expect(clippy::cast_precision_loss, reason = "a duration in microseconds is far below 2^53")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The method's name where the gateway knows it: clients can send any.
fn method_label(method: Option<&str>) -> &'static str {
    let Some(name) = method else { return "none" };
    let eras = [Era::Legacy, Era::Modern];
    let known = eras.into_iter().find_map(|era| Method::of_request(name, era));
    match known.or_else(|| Method::of_notification(name)) {
        Some(method) => label_of(method),
        None => "other",
    }
}

fn label_of(method: Method) -> &'static str {
    match method {
        Method::Initialize => "initialize",
        Method::Ping => "ping",
        Method::Discover => "server/discover",
        Method::List(listing) => listing.method(),
        Method::CallTool => "tools/call",
        Method::ReadResource => "resources/read",
        Method::Subscribe => "resources/subscribe",
        Method::Unsubscribe => "resources/unsubscribe",
        Method::GetPrompt => "prompts/get",
        Method::Complete => "completion/complete",
        Method::SetLevel => "logging/setLevel",
        Method::Listen => "subscriptions/listen",
        Method::Task => "tasks",
        Method::Initialized => "notifications/initialized",
        Method::Cancelled => "notifications/cancelled",
        Method::Progress => "notifications/progress",
        Method::RootsListChanged => "notifications/roots/list_changed",
        Method::TaskStatus => "notifications/tasks/status",
    }
}

fn is_upstream(reason: Reason) -> bool {
    reason.as_str().starts_with("upstream_")
}

/// Counts an exchange as running until it is dropped.
#[derive(Debug)]
pub struct InFlight(());

/// An exchange begins.
pub fn in_flight() -> InFlight {
    FIGURES.in_flight.inc();
    InFlight(())
}

impl Drop for InFlight {
    fn drop(&mut self) {
        FIGURES.in_flight.dec();
    }
}

/// What is read at the moment of a scrape.
#[derive(Debug, Clone)]
pub struct Gauges {
    /// Audit records that wait to be written.
    pub audit_queue: u64,
    /// Bytes of audit records that wait on disk.
    pub audit_spooled: u64,
    /// Calls between intent and outcome.
    pub audit_running: u64,
    /// Outcomes lost for good.
    pub audit_lost: u64,
    /// The trail can be written.
    pub audit_writable: bool,
    /// So can its spool on disk, as far as was tried.
    pub spool_writable: bool,
    /// This replica takes calls.
    pub ready: bool,
    /// Active servers; `None` while that cannot be told.
    pub servers: Option<Servers>,
    /// What is scarce.
    pub load: Load,
}

/// How many active servers are how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Servers {
    /// They answered.
    pub ok: u64,
    /// They did not.
    pub failing: u64,
    /// Nobody asked yet.
    pub unknown: u64,
}

/// Everything in Prometheus' text format.
pub fn render(gauges: Gauges) -> String {
    let figures = &*FIGURES;
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    figures.audit_queue.set(clamp(gauges.audit_queue));
    figures.audit_spooled.set(clamp(gauges.audit_spooled));
    figures.audit_running.set(clamp(gauges.audit_running));
    figures.audit_lost.set(clamp(gauges.audit_lost));
    figures.audit_writable.set(i64::from(gauges.audit_writable));
    figures.spool_writable.set(i64::from(gauges.spool_writable));
    figures.ready.set(i64::from(gauges.ready));
    if let Some(Servers { ok, failing, unknown }) = gauges.servers {
        for (health, number) in [("ok", ok), ("failing", failing), ("unknown", unknown)] {
            figures.servers.with_label_values(&[health]).set(clamp(number));
        }
    }
    let mut families = figures.registry.gather();
    families.extend(super::pressure::gather(&gauges.load));
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        tracing::error!(%error, "the figures could not be rendered");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway_core::ids::{CallId, EventId};
    use gateway_core::record::{ActionType, Outcome, Subject};

    use super::*;

    #[test]
    fn what_clients_send_never_becomes_a_label() {
        let hostile = "canary\"} 1\nx{y=\"";
        for method in [Some("tools/call"), Some(hostile), None] {
            let id = uuid::Uuid::nil();
            observe(&Event {
                id: EventId(id),
                at: gateway_core::Timestamp::UNIX_EPOCH,
                call: CallId(id),
                concludes_intent: false,
                subject: Arc::new(Subject {
                    method: method.map(str::to_owned),
                    resource_name: Some(hostile.into()),
                    ..Subject::default()
                }),
                action: ActionType::ToolCallFailure,
                outcome: Outcome::Error,
                reason: Some(Reason::UpstreamTimeout),
                detail: None,
                latency_us: Some(1_500),
                upstream_us: Some(1_000),
                request_bytes: None,
                response_bytes: None,
                arguments: None,
                result: None,
                count: 3,
            });
        }
        performed("list_servers", Face::Rest, None);
        performed("list_servers", Face::Rest, Some(Reason::RoleMissing));
        limited("three an hour");
        let running = in_flight();
        let gauges = Gauges {
            audit_queue: 7,
            audit_spooled: 0,
            audit_running: 1,
            audit_lost: 0,
            audit_writable: true,
            spool_writable: true,
            ready: true,
            servers: Some(Servers { ok: 3, failing: 2, unknown: 1 }),
            load: Load { queues: vec![("turns", 4)], ..Load::default() },
        };
        let text = render(gauges);
        drop(running);
        let figures =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        for figure in figures {
            let described = include_str!("../../metrics.md").contains(&format!("`{figure}`"));
            assert!(described, "{figure} is not in metrics.md");
        }
        assert!(!text.contains("canary"), "{text}");
        let call = "gateway_calls_total{method=\"tools/call\",outcome=\"error\",reason=\"upstream_timeout\"} 3";
        assert!(text.contains(call), "{text}");
        assert!(text.contains("gateway_audit_queue 7"), "{text}");
        assert!(text.contains("gateway_queue_length{queue=\"turns\"} 4"), "{text}");
        assert!(text.contains("gateway_servers{health=\"failing\"} 2"), "{text}");
        for end in ["outcome=\"ok\",reason=\"none\"", "outcome=\"denied\",reason=\"role_missing\""]
        {
            let labels = end.split_once(',').map(|(outcome, reason)| {
                format!("{{face=\"rest\",operation=\"list_servers\",{outcome},{reason}}}")
            });
            let line = format!("gateway_operations_total{}", labels.unwrap());
            assert!(text.contains(&line), "{line}: {text}");
        }
        assert!(
            text.contains("gateway_upstream_errors_total{reason=\"upstream_timeout\"}"),
            "{text}"
        );
    }
}
