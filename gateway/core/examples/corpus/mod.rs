//! A seeded corpus: what must be found in the surroundings in which it occurs, and lines in which there is nothing.

pub(crate) mod benign;
pub(crate) mod measure;
pub(crate) mod personal;
pub(crate) mod random;
pub(crate) mod secrets;

use random::Random;

/// One kind of positives: which rule must find them, and how one is made.
pub(crate) struct Kind {
    pub(crate) rule: &'static str,
    make: Box<dyn Fn(&mut Random) -> Sample>,
}

/// A text and what must be found in it.
pub(crate) struct Sample {
    pub(crate) text: String,
    pub(crate) value: String,
}

/// One positive, as it is looked at.
pub(crate) struct Positive {
    pub(crate) rule: &'static str,
    pub(crate) text: String,
    pub(crate) value: String,
}

/// In what they stand: code, configuration, logs, prose, headers, tables.
const SURROUNDINGS: &[&str] = &[
    "@",
    "value: @",
    "X=@",
    "export X='@'",
    "{\"name\": \"main\", \"value\": \"@\"}",
    "{\\\"value\\\":\\\"@\\\",\\\"n\\\":1}",
    "2026-11-24T10:00:00.123Z INFO worker[7] used @ for upload 42",
    "Please replace @ today, it was in the ticket.",
    "It is @.",
    "| main | @ | yes |",
    "<v>@</v>",
    "GET https://api.internal/v1/items?k=@&page=2 HTTP/1.1",
    "    const x = \"@\";",
    "- first\n- @\n- last",
    "(@)",
    "Run it with `@` and wait.",
    "a,@,b",
    "line one\n@\nline three",
    "X-Value: @\r\nAccept: */*",
    "[\"@\"]",
    "说明:@,请尽快更换。",
    "Grüße aus Köln: @ – bis morgen",
];

impl Kind {
    pub(crate) fn new(rule: &'static str, make: impl Fn(&mut Random) -> Sample + 'static) -> Kind {
        Kind { rule, make: Box::new(make) }
    }

    pub(crate) fn positive(&self, r: &mut Random) -> Positive {
        let sample = (self.make)(r);
        let around = match sample.text.contains('\n') {
            true => "@",
            false => r.pick(SURROUNDINGS),
        };
        Positive {
            rule: self.rule,
            text: around.replacen('@', &sample.text, 1),
            value: sample.value,
        }
    }
}

impl Sample {
    /// All of it must be found.
    pub(crate) fn bare(value: String) -> Sample {
        Sample { text: value.clone(), value }
    }

    /// What stands between must be found.
    pub(crate) fn within(before: &str, value: &str, behind: &str) -> Sample {
        Sample { text: format!("{before}{value}{behind}"), value: value.to_owned() }
    }

    /// With a word before it, unless it has one.
    pub(crate) fn led(self, word: &str) -> Sample {
        match self.text == self.value {
            true => Sample::within(word, &self.value, ""),
            false => self,
        }
    }
}

/// Every kind.
pub(crate) fn kinds() -> Vec<Kind> {
    secrets::kinds().into_iter().chain(personal::kinds()).collect()
}

/// So many positives, as many of every kind.
pub(crate) fn positives(seed: u64, count: usize) -> Vec<Positive> {
    let kinds = kinds();
    let mut r = Random::new(seed);
    (0..count).map(|i| kinds[i % kinds.len()].positive(&mut r)).collect()
}
