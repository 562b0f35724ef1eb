//! One line of a case file: `who | what | expected`.
//!
//! | what | expected |
//! |---|---|
//! | `call SERVER/TOOL`, `read SERVER/URI`, `prompt SERVER/NAME` | `allow`, `deny`, `not found`, `confirm` |
//! | `list tool SERVER/TOOL` (`resource`, `prompt` likewise) | `listed`, `hidden` |
//! | `enter SERVER` | `yes`, `no` |
//! | `operate OPERATION`, then `own` where it is theirs and `self` where they asked for it | `yes`, `no` |
//!
//! After a target may follow `with "CLIENT"`, `from ADDRESS`, `at TIME` (RFC 3339), `confirmed`, and
//! last the arguments as a JSON object. After a verdict may follow `of caller, group:NAME` (who must
//! agree) and `by "POLICY", "POLICY"` (exactly the policies that it names). In names, `\u{200b}` stands
//! for a character that could not be seen.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use gateway_core::Timestamp;
use gateway_core::decision::{Approver, Circumstances, Target};
use time::format_description::well_known::Rfc3339;

use crate::platform::Stance;
use crate::statement::TargetKind;

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) who: String,
    pub(crate) what: What,
    pub(crate) expected: Expected,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum What {
    Call { target: Aim, arguments: Option<String>, confirmed: bool },
    List(Aim),
    Enter(String),
    Operate { operation: String, stance: Stance },
}

/// A target and how it is reached.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) server: String,
    kind: TargetKind,
    name: String,
    pub(crate) circumstances: Circumstances,
}

/// What must come of it, or what came of it.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) word: &'static str,
    pub(crate) by: Option<Vec<String>>,
    pub(crate) of: Option<Vec<Approver>>,
}

impl Aim {
    pub(crate) fn target(&self) -> Target<'_> {
        self.kind.target(&self.name)
    }
}

impl Case {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Result<Case, String> {
        let columns = || "expected who | what | expected".to_owned();
        let (who, rest) = line.split_once('|').ok_or_else(columns)?;
        let (what, expected) = rest.rsplit_once('|').ok_or_else(columns)?;
        let what = what_of(what.trim())?;
        let expected = Expected::parse(expected.trim())?;
        let fits = match what {
            What::Call { .. } => ["allow", "deny", "not found", "confirm"].contains(&expected.word),
            What::List(_) => ["listed", "hidden"].contains(&expected.word),
            What::Enter(_) | What::Operate { .. } => ["yes", "no"].contains(&expected.word),
        };
        if !fits {
            return Err(format!("\"{}\" is no answer to that", expected.word));
        }
        Ok(Case { who: who.trim().into(), what, expected })
    }
}

fn what_of(text: &str) -> Result<What, String> {
    let (head, arguments) = match text.find(" {") {
        Some(at) => (&text[..at], Some(text[at + 1..].to_owned())),
        None => (text, None),
    };
    let words = words(head)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["enter", slug] => Ok(What::Enter((*slug).into())),
        ["operate", operation, rest @ ..] => {
            let (owns, about_self) = match rest {
                [] => (false, false),
                ["own"] => (true, false),
                ["self"] => (false, true),
                ["own", "self"] => (true, true),
                _ => return Err("expected nothing, own, self or own self".into()),
            };
            let stance = Stance { owns, about_self };
            Ok(What::Operate { operation: (*operation).into(), stance })
        }
        ["list", kind, target, rest @ ..] => {
            let kind = match *kind {
                "tool" => TargetKind::Tool,
                "resource" => TargetKind::Resource,
                "prompt" => TargetKind::Prompt,
                other => return Err(format!("list tool, resource or prompt, not {other}")),
            };
            aim(kind, target, rest).map(|(target, _)| What::List(target))
        }
        [verb, target, rest @ ..] => {
            let kind = match *verb {
                "call" => TargetKind::Tool,
                "read" => TargetKind::Resource,
                "prompt" => TargetKind::Prompt,
                other => {
                    return Err(format!(
                        "\"{other}\" is not one of call read prompt list enter operate"
                    ));
                }
            };
            let (target, confirmed) = aim(kind, target, rest)?;
            Ok(What::Call { target, arguments, confirmed })
        }
        _ => Err("expected what is done, for instance call tickets/get_ticket".into()),
    }
}

fn aim(kind: TargetKind, target: &str, rest: &[&str]) -> Result<(Aim, bool), String> {
    let (server, name) =
        target.split_once('/').ok_or_else(|| format!("expected SERVER/NAME, not {target}"))?;
    let mut circumstances = Circumstances {
        client: String::new(),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: Timestamp::UNIX_EPOCH,
    };
    let mut confirmed = false;
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut next = || rest.next().ok_or_else(|| format!("expected something after {word}"));
        match *word {
            "confirmed" => confirmed = true,
            "with" => circumstances.client = (*next()?).into(),
            "from" => {
                circumstances.ip = next()?.parse().map_err(|_| "expected an address after from")?;
            }
            "at" => {
                circumstances.now = Timestamp::parse(next()?, &Rfc3339)
                    .map_err(|_| "expected a time such as 2026-08-03T09:00:00Z after at")?;
            }
            other => return Err(format!("\"{other}\" is not one of with from at confirmed")),
        }
    }
    Ok((Aim { server: server.into(), kind, name: name.into(), circumstances }, confirmed))
}

/// Cut at spaces; quotes hold together; `\u{...}` is that character.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or("expected a closing quote")?
        } else {
            rest.split_once(' ').unwrap_or((rest, ""))
        };
        words.push(unescaped(word)?);
        rest = after.trim_start();
    }
    Ok(words)
}

fn unescaped(word: &str) -> Result<String, String> {
    let mut parts = word.split("\\u{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_once('}').ok_or("expected \\u{HEX}")?;
        let code = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
        out.push(code.ok_or("expected \\u{HEX}")?);
        out.push_str(rest);
    }
    Ok(out)
}

impl Expected {
    fn parse(text: &str) -> Result<Expected, String> {
        let (text, by) = match text.split_once(" by ") {
            Some((head, names)) => (head.trim(), Some(names)),
            None => (text, None),
        };
        let (word, of) = match text.split_once(" of ") {
            Some((head, approvers)) => (head.trim(), Some(approvers)),
            None => (text, None),
        };
        let known = ["allow", "deny", "not found", "confirm", "listed", "hidden", "yes", "no"];
        let word = known.into_iter().find(|known| *known == word);
        let of = of.map(|list| list.split(',').map(|a| Approver::try_from(a.trim().to_owned())));
        let name = |name: &str| name.trim().trim_matches('"').to_owned();
        Ok(Expected {
            word: word.ok_or_else(|| format!("expected one of {}", known.join(", ")))?,
            by: by.map(|list| list.split(',').map(name).collect()),
            of: of.map(Iterator::collect::<Result<_, _>>).transpose()?,
        })
    }

    pub(crate) fn yes(yes: bool) -> Expected {
        Expected { word: if yes { "yes" } else { "no" }, by: None, of: None }
    }

    pub(crate) fn listed(listed: bool) -> Expected {
        Expected { word: if listed { "listed" } else { "hidden" }, by: None, of: None }
    }

    /// True when it lets nothing pass.
    pub(crate) fn refuses(&self) -> bool {
        ["deny", "not found", "hidden", "no"].contains(&self.word)
    }

    /// True when `got` is what is expected; what is not said is not compared.
    pub(crate) fn agrees(&self, got: &Expected) -> bool {
        let sorted = |names: &Vec<String>| {
            let mut names = names.clone();
            names.sort();
            names
        };
        let by = self.by.as_ref().is_none_or(|by| got.by.as_ref().map(sorted) == Some(sorted(by)));
        let of = self.of.as_ref().is_none_or(|of| got.of.as_ref() == Some(of));
        self.word == got.word && by && of
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)?;
        if let Some(of) = self.of.as_ref().filter(|of| !of.is_empty()) {
            let names: Vec<String> = of.iter().cloned().map(String::from).collect();
            write!(f, " of {}", names.join(", "))?;
        }
        if let Some(by) = self.by.as_ref().filter(|by| !by.is_empty()) {
            write!(f, " by \"{}\"", by.join("\", \""))?;
        }
        Ok(())
    }
}
