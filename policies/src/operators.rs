//! The operators on arguments as they are written: which values each takes, within which limits.

use regex::RegexBuilder;
use serde_json::Value;

use crate::condition::{Comparison, Condition, Scalar, Test};
use crate::number::Decimal;
use crate::path::Path;
use crate::spec::ConditionSpec;

const MAX_PATH: usize = 512;
const MAX_TEXT: usize = 4096;
const MAX_CHOICES: usize = 1000;
const MAX_REGEX: usize = 1000;
/// Bytes that a compiled regular expression may take, so that no policy can exhaust memory.
const MAX_COMPILED_REGEX: usize = 1 << 20;

const OPERATORS: &str =
    "one of eq ne lt le gt ge in not_in prefix suffix contains matches exists missing";

/// A field of the condition and what was expected there.
type Unexpected = (&'static str, String);

/// Reads `arg`, `op` and `value`.
pub(crate) fn argument(written: &ConditionSpec) -> Result<Condition, Unexpected> {
    let text = written.arg.clone().unwrap_or_default();
    let path = Path::parse(&text).filter(|_| text.len() <= MAX_PATH).ok_or_else(|| {
        ("arg", format!("a dotted path of at most {MAX_PATH} bytes, such as order.items.*.sku"))
    })?;
    let op = written.op.as_deref().ok_or_else(|| ("op", OPERATORS.to_owned()))?;
    let test = test(op, written.value.as_ref())?;
    Ok(Condition::Argument { path, text, test })
}

fn test(op: &str, value: Option<&Value>) -> Result<Test, Unexpected> {
    let shown = || format!("{op} {}", value.unwrap_or(&Value::Null));
    let compare = |comparison| number(value).map(|n| Test::Compare(comparison, n, shown()));
    match op {
        "eq" => Ok(Test::Equal(vec![scalar(value)?], shown())),
        "ne" => Ok(Test::NotEqual(vec![scalar(value)?], shown())),
        "in" => Ok(Test::Equal(choices(value)?, shown())),
        "not_in" => Ok(Test::NotEqual(choices(value)?, shown())),
        "lt" => compare(Comparison::Lt),
        "le" => compare(Comparison::Le),
        "gt" => compare(Comparison::Gt),
        "ge" => compare(Comparison::Ge),
        "prefix" => text(value).map(Test::Prefix),
        "suffix" => text(value).map(Test::Suffix),
        "contains" => match scalar(value)? {
            Scalar::Text(part) if part.is_empty() => {
                Err(("value", "a text that is not empty".into()))
            }
            part @ (Scalar::Text(_) | Scalar::Number(_) | Scalar::Truth(_)) => {
                Ok(Test::Contains(part, shown()))
            }
        },
        "matches" => regex(value),
        "exists" => nothing(value, Test::Exists),
        "missing" => nothing(value, Test::Missing),
        _ => Err(("op", OPERATORS.into())),
    }
}

fn nothing(value: Option<&Value>, test: Test) -> Result<Test, Unexpected> {
    match value {
        None => Ok(test),
        Some(_) => Err(("value", "nothing: this operator takes no value".into())),
    }
}

fn scalar(value: Option<&Value>) -> Result<Scalar, Unexpected> {
    match value {
        Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Scalar::Text(text.clone())),
        Some(Value::Number(number)) => Ok(Scalar::Number(Decimal::parse(&number.to_string()))),
        Some(Value::Bool(truth)) => Ok(Scalar::Truth(*truth)),
        Some(Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_)) | None => {
            Err(("value", format!("a text of at most {MAX_TEXT} bytes, a number or a boolean")))
        }
    }
}

fn choices(value: Option<&Value>) -> Result<Vec<Scalar>, Unexpected> {
    let expected = || ("value", format!("a list of 1 to {MAX_CHOICES} texts, numbers or booleans"));
    let list = value.and_then(Value::as_array).ok_or_else(expected)?;
    if list.is_empty() || list.len() > MAX_CHOICES {
        return Err(expected());
    }
    list.iter().map(|one| scalar(Some(one)).map_err(|_| expected())).collect()
}

fn number(value: Option<&Value>) -> Result<Decimal, Unexpected> {
    match value {
        Some(Value::Number(number)) => Ok(Decimal::parse(&number.to_string())),
        _ => Err(("value", "a number".into())),
    }
}

fn text(value: Option<&Value>) -> Result<String, Unexpected> {
    match value.and_then(Value::as_str) {
        Some(text) if !text.is_empty() && text.len() <= MAX_TEXT => Ok(text.into()),
        _ => Err(("value", format!("a text of 1 to {MAX_TEXT} bytes"))),
    }
}

/// Searches anywhere in the text unless anchored with `^` and `$`; linear in the text's length.
fn regex(value: Option<&Value>) -> Result<Test, Unexpected> {
    let expected = |why: String| ("value", format!("a regular expression ({why})"));
    let pattern = value.and_then(Value::as_str).unwrap_or_default();
    if pattern.is_empty() || pattern.len() > MAX_REGEX {
        return Err(expected(format!("a text of 1 to {MAX_REGEX} bytes")));
    }
    RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED_REGEX)
        .dfa_size_limit(MAX_COMPILED_REGEX)
        .build()
        .map(Test::Matches)
        .map_err(|error| expected(error.to_string().lines().last().unwrap_or_default().to_owned()))
}
