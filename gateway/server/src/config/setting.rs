//! How one value of the configuration is read from TOML or the environment, and shown again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use toml::de::DeValue;
use url::Url;

/// What is wrong with a value: a path below the key, the bytes it stands at if known, and why.
#[derive(Debug)]
pub struct Fault {
    /// Path below the key, for instance `[0].audience`; mostly empty.
    pub below: String,
    /// Where in the file, if more exact than the key's own place.
    pub at: Option<usize>,
    /// What was expected.
    pub message: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault { below: String::new(), at: None, message: message.into() }
    }
}

/// A type that a key may have.
pub trait Setting: Sized {
    /// What the key takes, in words.
    const EXPECTED: &'static str;

    /// The value that TOML gives.
    fn read(value: &DeValue<'_>) -> Result<Self, Fault>;

    /// The value that an environment variable gives.
    fn read_text(text: &str) -> Result<Self, Fault> {
        Self::read(&DeValue::String(text.into()))
    }

    /// As TOML; `None` when unset. Secrets are hidden.
    fn show(&self) -> Option<String>;
}

fn expected<T: Setting>(value: &DeValue<'_>) -> Fault {
    let found = match value {
        DeValue::String(text) if text.len() <= 60 => format!("\"{text}\""),
        DeValue::String(_) => "a long string".into(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    };
    Fault::new(format!("expected {}, found {found}", T::EXPECTED))
}

/// Reads what TOML text holds, for types that are no strings there.
fn read_as_toml<T: Setting>(text: &str) -> Result<T, Fault> {
    let wrong = || Fault::new(format!("expected {}, found \"{text}\"", T::EXPECTED));
    let value = DeValue::parse(text.trim()).map_err(|_| wrong())?;
    T::read(value.get_ref())
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A type written as a string: how it is parsed, and how shown.
macro_rules! text_setting {
    ($($ty:ty, $expected:literal, $parse:expr, $show:expr;)+) => {$(
        impl Setting for $ty {
            const EXPECTED: &'static str = $expected;
            fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
                let parse: fn(&str) -> Option<$ty> = $parse;
                value.as_str().and_then(parse).ok_or_else(|| expected::<$ty>(value))
            }
            fn show(&self) -> Option<String> {
                let show: fn(&$ty) -> String = $show;
                Some(quoted(&show(self)))
            }
        }
    )+};
}

text_setting! {
    String, "a string", |text| Some(text.to_owned()), Clone::clone;
    PathBuf, "a path", |text| (!text.is_empty()).then(|| text.into()), |path| path.display().to_string();
    SocketAddr, "an address such as 127.0.0.1:8080", |text| text.parse().ok(), ToString::to_string;
    IpNet, "a network such as 10.0.0.0/8", |text| text.parse().ok(), ToString::to_string;
    Url, "an http or https URL", http_url, |url| url.as_str().trim_end_matches('/').to_owned();
    Duration, "a duration such as 500ms, 5s, 10m or 2h", duration, show_duration;
    Size, "a size such as 64KiB or 4MiB", Size::parse, ToString::to_string;
    SmtpTls, "\"starttls\", \"tls\" or \"none\"", SmtpTls::parse, |tls| tls.as_str().to_owned();
    Format, "\"human\" or \"json\"", Format::parse, |format| format.as_str().to_owned();
}

fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(url)
}

/// A duration with its unit: `500ms`, `5s`, `10m`, `2h`, `30d`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A century is beyond every sensible deadline and far from where clocks overflow.
    let total = number.checked_mul(millis)?;
    (total <= 100 * 366 * 86_400_000).then(|| Duration::from_millis(total))
}

fn show_duration(duration: &Duration) -> String {
    let millis = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// A number of bytes, written `64KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// As a length in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn parse(text: &str) -> Option<Size> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim_start() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Size)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(bits, _)| self.0 > 0 && self.0.is_multiple_of(1 << bits)) {
            Some((bits, unit)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// How a connection to the mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS once the server was greeted; without it nothing is sent.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

impl SmtpTls {
    fn parse(text: &str) -> Option<SmtpTls> {
        let all = [SmtpTls::StartTls, SmtpTls::Tls, SmtpTls::None];
        all.into_iter().find(|tls| tls.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            SmtpTls::StartTls => "starttls",
            SmtpTls::Tls => "tls",
            SmtpTls::None => "none",
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl Format {
    fn parse(text: &str) -> Option<Format> {
        [Format::Human, Format::Json].into_iter().find(|format| format.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Format::Human => "human",
            Format::Json => "json",
        }
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
        value.as_bool().ok_or_else(|| expected::<bool>(value))
    }
    fn read_text(text: &str) -> Result<Self, Fault> {
        read_as_toml(text)
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number from 0";
    fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
        let number = value.as_integer();
        let number = number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        number.ok_or_else(|| expected::<u32>(value))
    }
    fn read_text(text: &str) -> Result<Self, Fault> {
        read_as_toml(text)
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A share between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl Setting for Share {
    const EXPECTED: &'static str = "a number between 0.0 and 1.0";
    fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
        let integer = value.as_integer().map(|n| n.as_str());
        let number = integer.or(value.as_float().map(|n| n.as_str()));
        let number = number.and_then(|text| text.parse::<f64>().ok());
        let share = number.filter(|number| (0.0..=1.0).contains(number));
        share.map(Share).ok_or_else(|| expected::<Share>(value))
    }
    fn read_text(text: &str) -> Result<Self, Fault> {
        read_as_toml(text)
    }
    fn show(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

impl Setting for SecretString {
    const EXPECTED: &'static str = "a string";
    fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
        // The value itself must not appear in the error.
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(SecretString::from).ok_or_else(|| Fault::new("expected a non-empty string"))
    }
    fn show(&self) -> Option<String> {
        let set = !self.expose_secret().is_empty();
        set.then(|| quoted("(hidden)"))
    }
}

impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
        T::read(value).map(Some)
    }
    fn read_text(text: &str) -> Result<Self, Fault> {
        T::read_text(text).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = "an array";
    fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
        let items = value.as_array().ok_or_else(|| expected::<Vec<T>>(value))?;
        let read = |(index, item): (usize, &toml::Spanned<DeValue<'_>>)| {
            T::read(item.get_ref()).map_err(|fault| Fault {
                below: format!("[{index}]{}", fault.below),
                at: fault.at.or(Some(item.span().start)),
                message: fault.message,
            })
        };
        items.iter().enumerate().map(read).collect()
    }
    /// TOML in brackets, or items separated by commas.
    fn read_text(text: &str) -> Result<Self, Fault> {
        if text.trim_start().starts_with('[') {
            return read_as_toml(text);
        }
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(T::read_text).collect()
    }
    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}
