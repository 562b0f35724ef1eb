//! Figures of what is scarce: pools, queues, breakers, what was turned away, and how long each stage of the line takes.
//! Their cells are looked up once: counting costs an atomic addition, and nothing is allocated.

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry, histogram_opts, opts,
};

/// From ten microseconds to half a minute.
const SECONDS: [f64; 14] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25,
    1.0, 30.0,
];

/// A stage of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Who calls.
    Identify,
    /// Which server; a look at its tools where they are not known.
    Resolve,
    /// What policies say, and people where they are asked.
    Decide,
    /// Places and limits.
    Limit,
    /// What the request carries.
    Scan,
    /// Until its record is durable.
    Intent,
    /// Until the server's answer begins.
    Forward,
    /// Until all of the answer was read, if it is no stream.
    Filter,
}

impl Stage {
    const ALL: [Stage; 8] = [
        Stage::Identify,
        Stage::Resolve,
        Stage::Decide,
        Stage::Limit,
        Stage::Scan,
        Stage::Intent,
        Stage::Forward,
        Stage::Filter,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Stage::Identify => "identify",
            Stage::Resolve => "resolve",
            Stage::Decide => "decide",
            Stage::Limit => "limit",
            Stage::Scan => "scan",
            Stage::Intent => "intent",
            Stage::Forward => "forward",
            Stage::Filter => "filter",
        }
    }
}

/// What turned an exchange away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// As many connections as there may be.
    Connections,
    /// Request bodies fill the memory that they may.
    Bodies,
    /// Answers that are read whole fill the memory that they may.
    Answers,
    /// As many exchanges as there may be.
    Exchanges,
    /// No turn within the time that it may wait.
    Turns,
    /// The caller's share of this replica.
    Caller,
    /// The caller's share of a server, or the server's of this replica.
    Server,
    /// The server has not answered lately.
    Breaker,
}

impl Shed {
    const ALL: [Shed; 8] = [
        Shed::Connections,
        Shed::Bodies,
        Shed::Answers,
        Shed::Exchanges,
        Shed::Turns,
        Shed::Caller,
        Shed::Server,
        Shed::Breaker,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Shed::Connections => "connections",
            Shed::Bodies => "bodies",
            Shed::Answers => "answers",
            Shed::Exchanges => "exchanges",
            Shed::Turns => "turns",
            Shed::Caller => "caller",
            Shed::Server => "server",
            Shed::Breaker => "breaker",
        }
    }
}

/// Whether calls to a server are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// They are.
    Closed,
    /// One is, to see.
    HalfOpen,
    /// None is.
    Open,
}

/// What is scarce, at the moment of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Name, how many are in use, how many there are.
    pub pools: Vec<(&'static str, usize, usize)>,
    /// Name, how many wait.
    pub queues: Vec<(&'static str, usize)>,
    /// Of servers that were called lately, by slug.
    pub breakers: Vec<(String, BreakerState)>,
}

struct Figures {
    registry: Registry,
    stages: [Histogram; Stage::ALL.len()],
    shed: [IntCounter; Shed::ALL.len()],
    turn: Histogram,
    opened: IntCounter,
    used: IntGaugeVec,
    limit: IntGaugeVec,
    waiting: IntGaugeVec,
    breakers: IntGaugeVec,
}

#[expect(clippy::expect_used, reason = "names and labels are constants; a test renders them")]
static FIGURES: LazyLock<Figures> =
    LazyLock::new(|| Figures::new().expect("the figures' names are legal and differ"));

impl Figures {
    fn new() -> prometheus::Result<Figures> {
        let registry = Registry::new();
        let stages = HistogramVec::new(
            histogram_opts!(
                "gateway_stage_seconds",
                "Time in each stage of the line",
                SECONDS.to_vec()
            ),
            &["stage"],
        )?;
        let shed = IntCounterVec::new(
            opts!("gateway_shed_total", "Exchanges that were turned away, by what was full"),
            &["full"],
        )?;
        let turn = Histogram::with_opts(histogram_opts!(
            "gateway_turn_wait_seconds",
            "How long exchanges wait for their turn, those included that do not get it",
            SECONDS.to_vec()
        ))?;
        let opened = IntCounter::new(
            "gateway_breaker_opened_total",
            "Times that a server's breaker opened",
        )?;
        let gauge = |name, help, label| IntGaugeVec::new(opts!(name, help), &[label]);
        let used = gauge("gateway_pool_used", "How many of a pool are in use", "pool")?;
        let limit = gauge("gateway_pool_limit", "How many of a pool there are", "pool")?;
        let waiting = gauge("gateway_queue_length", "How many wait in a queue", "queue")?;
        let breakers = gauge(
            "gateway_breaker_state",
            "Of servers called lately: 0 calls pass, 1 one is let through to see, 2 none passes",
            "server",
        )?;
        registry.register(Box::new(stages.clone()))?;
        registry.register(Box::new(shed.clone()))?;
        registry.register(Box::new(turn.clone()))?;
        registry.register(Box::new(opened.clone()))?;
        for gauges in [&used, &limit, &waiting, &breakers] {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(Figures {
            registry,
            stages: Stage::ALL.map(|stage| stages.with_label_values(&[stage.as_str()])),
            shed: Shed::ALL.map(|shed_by| shed.with_label_values(&[shed_by.as_str()])),
            turn,
            opened,
            used,
            limit,
            waiting,
            breakers,
        })
    }
}

/// Counts an exchange that was turned away.
pub fn shed(by: Shed) {
    if let Some(counter) = FIGURES.shed.get(by as usize) {
        counter.inc();
    }
}

/// Counts a breaker that opened.
pub fn breaker_opened() {
    FIGURES.opened.inc();
}

/// How long an exchange waited for its turn.
pub fn turn_waited(time: Duration) {
    FIGURES.turn.observe(time.as_secs_f64());
}

/// What is scarce and what was turned away, for a scrape.
pub(super) fn gather(load: &Load) -> Vec<MetricFamily> {
    let figures = &*FIGURES;
    let clamp = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    for (pool, used, limit) in &load.pools {
        figures.used.with_label_values(&[pool]).set(clamp(*used));
        figures.limit.with_label_values(&[pool]).set(clamp(*limit));
    }
    for (queue, length) in &load.queues {
        figures.waiting.with_label_values(&[queue]).set(clamp(*length));
    }
    // Servers that nobody calls any more are not known any more.
    figures.breakers.reset();
    for (server, state) in &load.breakers {
        figures.breakers.with_label_values(&[server.as_str()]).set(*state as i64);
    }
    figures.registry.gather()
}

/// Lets a stage's time be measured.
pub trait Timed: Future + Sized {
    /// The same, its time counted when it is done; what is given up is not counted.
    fn timed(self, stage: Stage) -> Timing<Self>;
}

impl<F: Future> Timed for F {
    fn timed(self, stage: Stage) -> Timing<F> {
        Timing { future: self, stage, began: None }
    }
}

pin_project! {
    /// See [`Timed`].
    pub struct Timing<F> {
        #[pin]
        future: F,
        stage: Stage,
        began: Option<Instant>,
    }
}

impl<F: Future> Future for Timing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let began = *this.began.get_or_insert_with(Instant::now);
        let polled = this.future.poll(cx);
        if polled.is_ready()
            && let Some(histogram) = FIGURES.stages.get(*this.stage as usize)
        {
            histogram.observe(began.elapsed().as_secs_f64());
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[tokio::test]
    async fn every_pool_queue_breaker_and_stage_is_told() {
        for stage in Stage::ALL {
            assert_eq!(std::future::ready(7).timed(stage).await, 7);
        }
        Shed::ALL.into_iter().for_each(shed);
        breaker_opened();
        turn_waited(Duration::from_millis(3));
        let load = Load {
            pools: vec![("exchanges", 3, 8)],
            queues: vec![("turns", 2)],
            breakers: vec![("tickets".into(), BreakerState::Open)],
        };
        let text = |load: &Load| TextEncoder::new().encode_to_string(&gather(load)).unwrap();
        let told = text(&load);
        for line in [
            "gateway_stage_seconds_count{stage=\"intent\"}",
            "gateway_shed_total{full=\"breaker\"}",
            "gateway_turn_wait_seconds_sum",
            "gateway_breaker_opened_total",
            "gateway_pool_used{pool=\"exchanges\"} 3",
            "gateway_pool_limit{pool=\"exchanges\"} 8",
            "gateway_queue_length{queue=\"turns\"} 2",
            "gateway_breaker_state{server=\"tickets\"} 2",
        ] {
            assert!(told.contains(line), "{line}: {told}");
        }
        assert!(!text(&Load::default()).contains("tickets"), "a server that nobody calls is gone");
    }
}
