//! A limit as it is written, and what it means.

use std::num::NonZeroU32;
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::ids::LimitId;
use jiff::tz::TimeZone;
use policies::{Names, Who, hidden_character};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::Date;

/// Most calls of one rate or one budget.
const MOST: u32 = 10_000_000;
/// The longest name, in characters.
const MAX_NAME: usize = 200;
/// Most principals, and most globs.
const MOST_ENTRIES: usize = 500;

/// A limit on calls, as in `[[limits]]` of the desired state. One of `rate` and `budget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    /// Unique; shown in refusals.
    pub name: String,
    /// Whose calls, in the forms of policies: `user:EMAIL`, `group:NAME`, `everyone`, ...
    pub principals: Vec<String>,
    /// For each of them, or for all together.
    #[serde(default)]
    pub counts: Counts,
    /// A server's slug, or `*`.
    pub server: String,
    /// Globs on tool names; without them tools, resources and prompts count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// So many calls in some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSpec>,
    /// So many calls a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
}

/// Whose calls are added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, clippy::allow_attributes, reason = "the names say it")]
pub enum Counts {
    #[default]
    Each,
    Together,
}

/// So many calls in some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, clippy::allow_attributes, reason = "the names say it")]
pub struct RateSpec {
    pub calls: u32,
    pub per: Per,
    /// At once after a pause; `calls` if absent, and no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// In which time a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, clippy::allow_attributes, reason = "the names say it")]
pub enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3600,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Per::Second => "a second",
            Per::Minute => "a minute",
            Per::Hour => "an hour",
        }
    }
}

/// So many calls a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, clippy::allow_attributes, reason = "the names say it")]
pub struct BudgetSpec {
    pub calls: u32,
    /// Its midnight begins the day; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// A limit that is understood.
#[derive(Debug)]
pub struct Limit {
    /// Its id.
    pub id: LimitId,
    /// As it was written.
    pub spec: LimitSpec,
    /// What it counts.
    pub kind: Kind,
    who: Who,
    tools: Option<Names>,
}

/// What a limit counts.
#[derive(Debug)]
pub enum Kind {
    /// Calls in some time.
    Rate(Rate),
    /// Calls of a day.
    Budget(Budget),
}

/// So many calls in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The time in which one more is let through.
    pub each: Duration,
    /// At once after a pause.
    pub burst: NonZeroU32,
}

/// So many calls a day.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Calls.
    pub calls: u32,
    zone: TimeZone,
}

impl Budget {
    /// The day that it is there, and when it ends.
    pub fn day(&self, now: Timestamp) -> (Date, Timestamp) {
        let instant = jiff::Timestamp::from_second(now.unix_timestamp()).unwrap_or_default();
        let there = instant.to_zoned(self.zone.clone());
        let date = there.date();
        // Days of 23 and 25 hours, too; zones have skipped whole days.
        let end = there.tomorrow().and_then(|tomorrow| tomorrow.start_of_day());
        let end = end.map_or(now + time::Duration::DAY, |end| {
            let second = end.timestamp().as_second();
            Timestamp::from_unix_timestamp(second).unwrap_or(now + time::Duration::DAY)
        });
        let month = u8::try_from(date.month()).ok().and_then(|month| month.try_into().ok());
        let day = month.and_then(|month| {
            let day = u8::try_from(date.day()).ok()?;
            Date::from_calendar_date(date.year().into(), month, day).ok()
        });
        (day.unwrap_or(now.date()), end)
    }
}

/// What is wrong with a limit: the field, and what is expected there.
pub type Wrong = (String, String);

impl Limit {
    /// Understands what was written.
    pub fn read(id: LimitId, spec: LimitSpec) -> Result<Limit, Wrong> {
        let wrong = |field: &str, expected: String| (field.to_owned(), expected);
        let visible = spec.name.trim() == spec.name && hidden_character(&spec.name).is_none();
        if !visible || !(1..=MAX_NAME).contains(&spec.name.chars().count()) {
            let expected = format!("1 to {MAX_NAME} visible characters, no white space around");
            return Err(wrong("name", expected));
        }
        if !(1..=MOST_ENTRIES).contains(&spec.principals.len()) {
            let expected =
                "a list of user:EMAIL, group:NAME, role:NAME, agent:NAME, attribute:NAME=VALUE or everyone".to_owned();
            return Err(wrong("principals", expected));
        }
        let at = |field: &'static str| {
            move |(at, expected): (usize, String)| (format!("{field}[{at}]"), expected)
        };
        let who = Who::parse(&spec.principals).map_err(at("principals"))?;
        if spec.server != "*" && spec.server.parse::<gateway_core::ids::Slug>().is_err() {
            let expected = "a server's slug, or \"*\" for every server";
            return Err(wrong("server", expected.into()));
        }
        let globs = spec.tools.as_deref();
        if globs.is_some_and(|globs| !(1..=MOST_ENTRIES).contains(&globs.len())) {
            return Err(wrong("tools", format!("1 to {MOST_ENTRIES} patterns")));
        }
        let tools = globs.map(Names::parse).transpose().map_err(at("tools"))?;
        let kind = match (&spec.rate, &spec.budget) {
            (Some(rate), None) => Kind::Rate(read_rate(rate)?),
            (None, Some(budget)) => Kind::Budget(read_budget(budget)?),
            (None, None) => return Err(wrong("rate", "rate or budget".into())),
            (Some(_), Some(_)) => return Err(wrong("budget", "nothing beside rate".into())),
        };
        Ok(Limit { id, kind, who, tools, spec })
    }

    /// Whether calls on that server may count.
    pub fn is_about(&self, slug: &str) -> bool {
        self.spec.server == "*" || self.spec.server == slug
    }

    /// Whether that principal's calls count.
    pub fn has(&self, user: &User) -> bool {
        self.who.has(user)
    }

    /// Whether the call counts; `tool`: of which tool, of a tool's call.
    pub fn counts(&self, tool: Option<&str>) -> bool {
        match (&self.tools, tool) {
            (None, _) => true,
            (Some(names), Some(tool)) => names.have(tool),
            (Some(_), None) => false,
        }
    }

    /// What it lets pass, for people.
    pub fn told(&self) -> String {
        let whose = match self.spec.counts {
            Counts::Each => "",
            Counts::Together => " of all together",
        };
        match (&self.spec.rate, &self.spec.budget) {
            (Some(rate), _) => format!("{} calls {}{whose}", rate.calls, rate.per.as_str()),
            (None, budget) => {
                let calls = budget.as_ref().map_or(0, |budget| budget.calls);
                format!("{calls} calls a day{whose}")
            }
        }
    }
}

fn read_rate(spec: &RateSpec) -> Result<Rate, Wrong> {
    let calls = NonZeroU32::new(spec.calls).filter(|calls| calls.get() <= MOST);
    let calls = calls.ok_or_else(|| ("rate.calls".to_owned(), format!("1 to {MOST}")))?;
    let burst = spec.burst.map_or(Some(calls), NonZeroU32::new);
    // No more than that: then whoever has paused for the whole time starts anew, and can be forgotten.
    let burst = burst.filter(|burst| *burst <= calls);
    let burst = burst.ok_or_else(|| ("rate.burst".to_owned(), format!("1 to {calls}")))?;
    Ok(Rate { each: spec.per.duration() / calls.get(), burst })
}

fn read_budget(spec: &BudgetSpec) -> Result<Budget, Wrong> {
    if spec.calls > MOST {
        return Err(("budget.calls".to_owned(), format!("0 to {MOST}")));
    }
    let zone = match spec.timezone.as_deref() {
        None => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name),
    };
    let expected = || "the name of a time zone, for instance Europe/Berlin".to_owned();
    let zone = zone.map_err(|_| ("budget.timezone".to_owned(), expected()))?;
    Ok(Budget { calls: spec.calls, zone })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    fn read(change: &[(&str, Value)]) -> Result<Limit, Wrong> {
        let mut spec = json!({"name": "x", "principals": ["everyone"], "server": "*",
            "budget": {"calls": 3}});
        for (name, value) in change {
            spec[name] = value.clone();
        }
        Limit::read(LimitId(Uuid::nil()), serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let none = Value::Null;
        let rate =
            |calls: u32, burst: u32| json!({"calls": calls, "per": "minute", "burst": burst});
        let cases = [
            (vec![("name", json!(""))], "name"),
            (vec![("principals", json!([]))], "principals"),
            (vec![("principals", json!(["everyone", "everybody"]))], "principals[1]"),
            (vec![("principals", json!(["role:boss"]))], "principals[0]"),
            (vec![("server", json!("A B"))], "server"),
            (vec![("tools", json!([]))], "tools"),
            (vec![("tools", json!(["a", ""]))], "tools[1]"),
            (vec![("budget", none.clone())], "rate"),
            (vec![("rate", rate(1, 1))], "budget"),
            (vec![("budget", none.clone()), ("rate", rate(0, 0))], "rate.calls"),
            (vec![("budget", none.clone()), ("rate", rate(2, 3))], "rate.burst"),
            (vec![("budget", none), ("rate", rate(2, 0))], "rate.burst"),
            (vec![("budget", json!({"calls": MOST + 1}))], "budget.calls"),
            (vec![("budget", json!({"calls": 1, "timezone": "Mars/Olympus"}))], "budget.timezone"),
            (
                vec![("budget", json!({"calls": 1, "timezone": "../../etc/passwd"}))],
                "budget.timezone",
            ),
            (vec![("budget", json!({"calls": 1, "timezone": ""}))], "budget.timezone"),
        ];
        for (change, field) in cases {
            assert_eq!(
                read(&change).err().map(|wrong| wrong.0).as_deref(),
                Some(field),
                "{change:?}"
            );
        }
        assert!(read(&[]).is_ok());
    }

    #[test]
    fn days_are_cut_where_the_zone_cuts_them() {
        let cases = [
            (
                None,
                datetime!(2026-03-28 23:59:59 UTC),
                "2026-03-28",
                datetime!(2026-03-29 0:00 UTC),
            ),
            (None, datetime!(2026-03-29 0:00 UTC), "2026-03-29", datetime!(2026-03-30 0:00 UTC)),
            // The clocks go forward: a day of 23 hours, from 23:00 to 22:00.
            (
                Some("Europe/Berlin"),
                datetime!(2026-03-28 22:59:59 UTC),
                "2026-03-28",
                datetime!(2026-03-28 23:00 UTC),
            ),
            (
                Some("Europe/Berlin"),
                datetime!(2026-03-28 23:00 UTC),
                "2026-03-29",
                datetime!(2026-03-29 22:00 UTC),
            ),
            // And back: 25 hours.
            (
                Some("Europe/Berlin"),
                datetime!(2026-10-25 22:30 UTC),
                "2026-10-25",
                datetime!(2026-10-25 23:00 UTC),
            ),
            (
                Some("Europe/Berlin"),
                datetime!(2026-10-24 22:00 UTC),
                "2026-10-25",
                datetime!(2026-10-25 23:00 UTC),
            ),
            // Midnight itself is skipped: the day begins at one.
            (
                Some("Asia/Beirut"),
                datetime!(2026-03-28 21:59:59 UTC),
                "2026-03-28",
                datetime!(2026-03-28 22:00 UTC),
            ),
            (
                Some("Asia/Kathmandu"),
                datetime!(2026-01-01 18:14:59 UTC),
                "2026-01-01",
                datetime!(2026-01-01 18:15 UTC),
            ),
        ];
        for (zone, now, day, end) in cases {
            let limit = read(&[("budget", json!({"calls": 1, "timezone": zone}))]).unwrap();
            let Kind::Budget(budget) = limit.kind else { panic!("a budget") };
            let (got, ends) = budget.day(now);
            assert_eq!((got.to_string().as_str(), ends), (day, end), "{zone:?} {now}");
        }
    }
}
