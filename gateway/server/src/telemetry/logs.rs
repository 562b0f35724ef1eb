//! Starts log lines and the export of traces, once per process.

use std::collections::HashMap;
use std::io::stderr;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use secrecy::ExposeSecret;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config;

/// Keeps the writers alive; what is queued is written when it is stopped or dropped.
pub struct Telemetry {
    _lines: WorkerGuard,
    spans: Option<SdkTracerProvider>,
}

/// The export of traces could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint: {0}")]
pub struct TelemetryError(String);

/// Starts writing lines to stderr, and spans to the collector if one is configured. In a process that
/// already does so, the first one's settings stay.
pub fn start(
    log: &config::Log,
    telemetry: &config::Telemetry,
) -> Result<Telemetry, TelemetryError> {
    let (writer, lines) = tracing_appender::non_blocking(stderr());
    let spans = exporter(telemetry)?;
    let tracing = spans.as_ref().map(|spans| {
        tracing_opentelemetry::layer().with_tracer(spans.tracer("gateway")).with_location(false)
    });
    // Both filters are for all layers: filters of single layers lose the line that follows a mere
    // question whether another would be written (tokio-rs/tracing#2519), and sqlx asks that.
    let first = tracing_subscriber::registry()
        .with(lines_filter(&log.filter))
        .with(filter_fn(is_ours_or_urgent))
        .with(line_layer(log.format, writer))
        .with(tracing)
        .try_init()
        .is_ok();
    super::trace::set_exporting(first && spans.is_some());
    Ok(Telemetry { _lines: lines, spans })
}

impl Telemetry {
    /// Sends what is queued; at most a few seconds.
    pub fn stop(self) {
        if let Some(Err(error)) = self.spans.map(|spans| spans.shutdown()) {
            tracing::warn!(%error, "the last traces could not be exported");
        }
    }
}

/// Other crates' lines show what clients send (rmcp's the messages, pingora's the headers): of theirs
/// only warnings are written, whatever the filter says.
fn is_ours_or_urgent(line: &Metadata<'_>) -> bool {
    let ours = ["gateway", "policies"].iter().any(|name| line.target().starts_with(name));
    ours || *line.level() <= Level::WARN
}

/// What the operator asks for, and the spans of exchanges whatever that is.
fn lines_filter(asked: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(asked).unwrap_or_else(|_| EnvFilter::new("info"));
    match format!("{}=info", super::trace::SPANS).parse() {
        Ok(spans) => filter.add_directive(spans),
        Err(_) => filter,
    }
}

fn line_layer<S>(format: config::Format, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        config::Format::Human => layer.with_ansi(false).with_target(false).boxed(),
        config::Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    }
}

fn exporter(telemetry: &config::Telemetry) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
    let mut headers = HashMap::new();
    if let Some(secret) = &telemetry.otlp_authorization {
        headers.insert("authorization".to_owned(), secret.expose_secret().to_owned());
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_url(endpoint))
        .with_timeout(Duration::from_secs(5))
        .with_headers(headers)
        .build()
        .map_err(|error| TelemetryError(error.to_string()))?;
    let resource = Resource::builder()
        .with_service_name(telemetry.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::TraceIdRatioBased(telemetry.sample.0);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

/// A bare collector address gets the path that OTLP names; a longer one is taken as it is.
fn traces_url(endpoint: &url::Url) -> String {
    match endpoint.path() {
        "/" => endpoint.join("v1/traces").unwrap_or_else(|_| endpoint.clone()).to_string(),
        _ => endpoint.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::traces_url;

    #[test]
    fn a_bare_collector_gets_the_standard_path() {
        let url = |text: &str| traces_url(&url::Url::parse(text).unwrap());
        assert_eq!(url("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(
            url("https://otel.example.com/team/v1/traces"),
            "https://otel.example.com/team/v1/traces"
        );
    }
}
