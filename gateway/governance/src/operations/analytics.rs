//! Operations that report: figures about tool calls over a range, from rollups. What each dataset holds is in
//! `datasets.rs`; here is who may ask for what, and how the rows are handed out.

pub mod datasets;
mod latency;
mod range;

use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::datasets::{Dataset, ServerDataset, Source};
use self::range::Range;
use super::run::Run;
use super::table::{Columns, Format, Row, csv, objects};
use super::{answer, instant};
use crate::perform::{Answer, Refused};

/// Most rows of an answer.
const MOST: u32 = 10_000;

/// Of `export_analytics_dataset`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportAnalyticsDataset {
    /// What to report on.
    pub dataset: Dataset,
    /// RFC 3339 or a date; 30 days before end if absent.
    #[serde(default)]
    pub start: Option<String>,
    /// Before this; now if absent.
    #[serde(default)]
    pub end: Option<String>,
    /// IANA name, cuts days and hours; UTC if absent.
    #[serde(default)]
    pub timezone: Option<String>,
    /// 1 to 10000 rows; rankings 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// csv if absent.
    #[serde(default)]
    pub format: Option<Format>,
    /// next_cursor of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `export_server_analytics`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportServerAnalytics {
    /// Id or slug.
    pub server_id: String,
    /// What to report on.
    pub dataset: ServerDataset,
    /// RFC 3339 or a date; 30 days before end if absent.
    #[serde(default)]
    pub start: Option<String>,
    /// Before this; now if absent.
    #[serde(default)]
    pub end: Option<String>,
    /// IANA name, cuts days and hours; UTC if absent.
    #[serde(default)]
    pub timezone: Option<String>,
    /// 1 to 10000 rows; 10000 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// csv if absent.
    #[serde(default)]
    pub format: Option<Format>,
    /// next_cursor of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Rows of a dataset.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// Which.
    pub dataset: &'static str,
    /// The zone of days and hours.
    pub timezone: String,
    /// What the figures begin with: start, rounded down to a quarter of an hour.
    pub start: String,
    /// Before this: end, rounded up to a quarter of an hour.
    pub end: String,
    /// What each column means.
    pub columns: Map<String, Value>,
    /// As CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<String>,
    /// As JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Map<String, Value>>>,
    /// Gives the next rows as `cursor`.
    pub next_cursor: Option<String>,
}

/// What both operations ask for, but for the dataset.
struct Wanted {
    start: Option<String>,
    end: Option<String>,
    timezone: Option<String>,
    limit: Option<u32>,
    format: Option<Format>,
    cursor: Option<String>,
}

impl ExportAnalyticsDataset {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let source = Source::Everywhere(self.dataset);
        let Self { start, end, timezone, limit, format, cursor, .. } = self;
        report(run, source, Wanted { start, end, timezone, limit, format, cursor }).await
    }
}

impl ExportServerAnalytics {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let source = Source::Server(self.server(run)?, self.dataset);
        let Self { start, end, timezone, limit, format, cursor, .. } = self;
        report(run, source, Wanted { start, end, timezone, limit, format, cursor }).await
    }

    /// Who may report on no server learns that alone, whatever they name.
    fn server(&self, run: &Run<'_>) -> Result<ServerId, Refused> {
        match run.snapshot.server(&self.server_id) {
            Some(server) if run.may(run.administers(server)) => Ok(server.id),
            Some(_) | None => {
                run.authorize(false)?;
                Err(Refused::new(Reason::ServerNotFound, "no such server; list_servers names them"))
            }
        }
    }
}

async fn report(run: &Run<'_>, source: Source, wanted: Wanted) -> Result<Answer, Refused> {
    let limit = match wanted.limit.unwrap_or(source.usual_limit(MOST)) {
        limit @ 1..=MOST => limit as usize,
        _ => return Err(Refused::params(format!("limit: expected 1 to {MOST}"))),
    };
    let zone = range::zone(wanted.timezone.as_deref().unwrap_or("UTC"))?;
    let (range, skipped) = match wanted.cursor.as_deref() {
        Some(cursor) => Place::open(run, &source, cursor, zone)?,
        None => {
            let (start, end) = (wanted.start.as_deref(), wanted.end.as_deref());
            (Range::read(zone, start, end, run.governance.clock().now())?, 0)
        }
    };
    let rows = source.rows(run, &range).await?;
    let more = rows.len() > skipped.saturating_add(limit);
    let rows: Vec<Row> = rows.into_iter().skip(skipped).take(limit).collect();
    let next_cursor = more.then(|| Place::seal(run, &source, &range, skipped + limit));
    let format = wanted.format.unwrap_or_default();
    let columns = source.columns();
    let (text, data) = match format {
        Format::Csv => (Some(csv(columns, &rows)?), None),
        Format::Json => (None, Some(objects(columns, rows))),
    };
    let report = Report {
        dataset: source.name(),
        timezone: range.zone_name(),
        start: range.shown(range.span.first()),
        end: range.shown(range.span.past()),
        columns: meanings(columns),
        csv: text,
        data,
        next_cursor,
    };
    let day = |at: Timestamp| range.day(at);
    let file = format!(
        "{}_{}_{}.{}",
        source.name(),
        day(range.span.first()),
        day(range.span.past()),
        format.ending()
    );
    Ok(answer(&report)?.saved_as(file))
}

fn meanings(columns: Columns) -> Map<String, Value> {
    columns.iter().map(|(name, meaning)| ((*name).to_owned(), Value::from(*meaning))).collect()
}

/// Where an answer ended: later ones are about the same range, however late they are asked for.
struct Place;

impl Place {
    fn seal(run: &Run<'_>, source: &Source, range: &Range, skipped: usize) -> String {
        let (first, past) = (super::rfc3339(range.span.first()), super::rfc3339(range.span.past()));
        let zone = range.zone_name();
        run.seal_cursor(&format!("{} {zone} {first} {past} {skipped}", source.identity()))
    }

    fn open(
        run: &Run<'_>,
        source: &Source,
        cursor: &str,
        zone: jiff::tz::TimeZone,
    ) -> Result<(Range, usize), Refused> {
        let wrong = || {
            Refused::params(
                "cursor: expected next_cursor of the same dataset and timezone, unchanged",
            )
        };
        let place = run.open_cursor(cursor)?;
        let words: Vec<&str> = place.split(' ').collect();
        let [identity, name, first, past, skipped] = words.as_slice() else { return Err(wrong()) };
        let (first, past) = (instant("cursor")(first)?, instant("cursor")(past)?);
        let range = Range::of(zone, first, past).filter(|range| range.zone_name() == *name);
        let range = range.filter(|_| *identity == source.identity()).ok_or_else(wrong)?;
        Ok((range, skipped.parse().map_err(|_| wrong())?))
    }
}
