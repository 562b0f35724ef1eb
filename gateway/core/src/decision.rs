//! The question that is put to the policies, and the answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::uuid;

use crate::Timestamp;
use crate::caller::User;
use crate::ids::PolicyId;
use crate::json::Json;
use crate::server::Server;

/// Stands among policies for the flow rule, which is none: it looks at what was read before, and asks.
pub const FLOW_RULE: PolicyId = PolicyId(uuid!("d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c002"));

/// What a caller wants to touch on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// A tool by name.
    Tool(&'a str),
    /// A resource by URI (for a template: its URI template).
    Resource(&'a str),
    /// A prompt by name.
    Prompt(&'a str),
}

impl<'a> Target<'a> {
    /// The name or URI.
    pub fn name(self) -> &'a str {
        match self {
            Target::Tool(name) | Target::Resource(name) | Target::Prompt(name) => name,
        }
    }

    /// `tool`, `resource` or `prompt`, as in audit rows.
    pub fn kind(self) -> &'static str {
        match self {
            Target::Tool(_) => "tool",
            Target::Resource(_) => "resource",
            Target::Prompt(_) => "prompt",
        }
    }
}

/// May `user` do this?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks.
    pub user: &'a User,
    /// Where.
    pub server: &'a Server,
    /// What.
    pub target: Target<'a>,
    /// The call's arguments, where the question is about a call and not about a listing.
    pub arguments: Option<Json<'a>>,
    /// How it reached us.
    pub circumstances: &'a Circumstances,
    /// True once the people whom the matching confirm rules ask for have agreed.
    pub confirmed: bool,
}

/// What a policy may read about the way a call reached us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// The MCP client's name as it gives it (not proven); empty when unknown.
    pub client: String,
    /// The caller's address.
    pub ip: IpAddr,
    /// When.
    pub now: Timestamp,
}

/// The policies' answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Allow {
        /// The allowing policies.
        policies: Vec<PolicyId>,
    },
    /// It may not.
    Deny(Denial),
    /// It may pass once people have agreed.
    Confirm(Demand),
}

impl Verdict {
    /// The verdict where both must allow: an agent's and the person's whom it acts for. A denial keeps
    /// the denying one's grounds, and what one of them cannot see is unseen.
    #[must_use]
    pub fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Deny(mut denial), Verdict::Deny(other)) => {
                denial.invisible |= other.invisible;
                join(&mut denial.policies, other.policies);
                denial.message = denial.message.or(other.message);
                Verdict::Deny(denial)
            }
            (Verdict::Deny(denial), _) | (_, Verdict::Deny(denial)) => Verdict::Deny(denial),
            (Verdict::Confirm(mut demand), Verdict::Confirm(other)) => {
                join(&mut demand.policies, other.policies);
                if demand.message != other.message {
                    demand.message = format!("{}\n{}", demand.message, other.message);
                }
                join(&mut demand.approvers, other.approvers);
                demand.approvers.sort();
                Verdict::Confirm(demand)
            }
            (Verdict::Confirm(demand), Verdict::Allow { .. })
            | (Verdict::Allow { .. }, Verdict::Confirm(demand)) => Verdict::Confirm(demand),
            (Verdict::Allow { mut policies }, Verdict::Allow { policies: others }) => {
                join(&mut policies, others);
                Verdict::Allow { policies }
            }
        }
    }
}

/// Adds what is not there yet.
fn join<T: PartialEq>(to: &mut Vec<T>, others: Vec<T>) {
    for other in others {
        if !to.contains(&other) {
            to.push(other);
        }
    }
}

/// Why it may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// True when no policy allows this target to this person in any circumstances: then the target must
    /// look as if it did not exist.
    pub invisible: bool,
    /// The policies that denied, or whose conditions did not hold.
    pub policies: Vec<PolicyId>,
    /// The first such policy's message.
    pub message: Option<String>,
}

/// Who must agree to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The confirm rules that matched.
    pub policies: Vec<PolicyId>,
    /// What to show to the person.
    pub message: String,
    /// Everyone who must agree; never empty, no duplicates.
    pub approvers: Vec<Approver>,
}

/// Who agrees to a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Approver {
    /// The person behind the call.
    Caller,
    /// Any active member of the group, but never the caller.
    Group(String),
    /// That person (by e-mail), but never the caller.
    User(String),
}

impl TryFrom<String> for Approver {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "caller" => Ok(Approver::Caller),
            Some(("group", name)) if !name.is_empty() => Ok(Approver::Group(name.into())),
            Some(("user", email)) if !email.is_empty() => Ok(Approver::User(email.to_lowercase())),
            _ => Err(format!("\"{text}\" is not an approver: caller, group:NAME or user:EMAIL")),
        }
    }
}

impl From<Approver> for String {
    fn from(approver: Approver) -> String {
        match approver {
            Approver::Caller => "caller".into(),
            Approver::Group(name) => format!("group:{name}"),
            Approver::User(email) => format!("user:{email}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(n: u128) -> PolicyId {
        PolicyId(Uuid::from_u128(n))
    }

    fn allow(n: u128) -> Verdict {
        Verdict::Allow { policies: vec![id(n)] }
    }

    fn deny(n: u128, invisible: bool) -> Verdict {
        Verdict::Deny(Denial { invisible, policies: vec![id(n)], message: Some(n.to_string()) })
    }

    fn confirm(n: u128, by: &[Approver]) -> Verdict {
        let message = n.to_string();
        Verdict::Confirm(Demand { policies: vec![id(n)], message, approvers: by.to_vec() })
    }

    #[test]
    fn both_must_allow() {
        let group = || Approver::Group("g".into());
        let denials = [
            (deny(1, false), allow(2), deny(1, false)),
            (deny(1, true), allow(2), deny(1, true)),
            (deny(1, false), confirm(2, &[group()]), deny(1, false)),
            (deny(1, true), confirm(2, &[group()]), deny(1, true)),
        ];
        for (one, other, expected) in denials {
            assert_eq!(one.clone().and(other.clone()), expected);
            assert_eq!(other.and(one), expected);
        }
        for (one, other, invisible) in
            [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
        {
            let Verdict::Deny(both) = deny(1, one).and(deny(2, other)) else { panic!("allowed") };
            assert_eq!((both.invisible, both.policies), (invisible, vec![id(1), id(2)]));
        }
        let asked = confirm(1, &[group()]);
        assert_eq!(asked.clone().and(allow(2)), asked);
        assert_eq!(allow(2).and(asked.clone()), asked);
        let Verdict::Confirm(both) = asked.and(confirm(2, &[Approver::Caller, group()])) else {
            panic!("nobody is asked")
        };
        assert_eq!(both.message, "1\n2");
        assert_eq!(both.policies, [id(1), id(2)]);
        assert_eq!(both.approvers, [Approver::Caller, group()]);
        assert_eq!(allow(1).and(allow(2)), Verdict::Allow { policies: vec![id(1), id(2)] });
        assert_eq!(allow(1).and(allow(1)), allow(1));
    }
}
