//! What flows to and from a server, as the organisation sees it. The flow rule decides by it, and policies can name it.

use serde::{Deserialize, Serialize};

/// A label on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// It gives content from strangers: web pages, mail, tickets.
    Untrusted,
    /// It gives data of the organisation's or the person's own.
    Private,
    /// It can carry data out.
    Outward,
}

impl Label {
    /// Every label.
    pub const ALL: [Label; 3] = [Label::Untrusted, Label::Private, Label::Outward];

    /// The name in desired state, policies, rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Label::Untrusted => "untrusted",
            Label::Private => "private",
            Label::Outward => "outward",
        }
    }

    /// The label of that name.
    pub fn parse(name: &str) -> Option<Label> {
        Label::ALL.into_iter().find(|label| label.as_str() == name)
    }

    /// True where having read from the server counts in the flow rule.
    pub fn marks(self) -> bool {
        match self {
            Label::Untrusted | Label::Private => true,
            Label::Outward => false,
        }
    }
}

/// The labels of those names, sorted, each once; else the place and the name of the first that is none.
pub fn labels<T: AsRef<str>>(names: &[T]) -> Result<Vec<Label>, NotALabel> {
    let mut labels = Vec::with_capacity(names.len());
    for (at, name) in names.iter().map(AsRef::as_ref).enumerate() {
        let label = Label::parse(name);
        labels.push(label.ok_or_else(|| NotALabel { at, found: name.to_owned() })?);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(labels)
}

/// A name that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected untrusted, private or outward; found \"{found}\"")]
pub struct NotALabel {
    /// Which of them, from 0.
    pub at: usize,
    /// What stands there.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_by_name() {
        assert_eq!(
            labels(&["private", "untrusted", "private"]),
            Ok(vec![Label::Untrusted, Label::Private])
        );
        assert_eq!(labels::<&str>(&[]), Ok(vec![]));
        let wrong = labels(&["outward", "Private"]).unwrap_err();
        assert_eq!((wrong.at, wrong.found.as_str()), (1, "Private"));
    }
}
