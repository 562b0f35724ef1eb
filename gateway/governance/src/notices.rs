//! Notices to the outside: who asked for access, what was decided, which call waits for an approver.
//!
//! A notice is stored together with what it tells ([`gateway_store::notice`]) and sent by whichever replica
//! takes it up, until it arrives or is given up. This file says what is told to whom; `send` tells it. It
//! knows nothing of HTTP connections or SMTP.

mod send;
mod webhook;

use std::sync::Arc;

use gateway_core::caller::{Role, User};
use gateway_core::decision::Approver;
use gateway_core::ids::{NoticeId, PolicyId};
use gateway_core::server::Server;
use gateway_core::{Clock, Timestamp};
use gateway_store::Store;
use gateway_store::access_request::{AccessRequest, AccessRequestStatus};
use gateway_store::audit::Trail;
use gateway_store::confirmation::Confirmation;
use gateway_store::notice::{Channel, NewNotice};
use policies::Stance;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;

use crate::ports::{Fetch, Mail, Random, uuid7};
use crate::settings::GovernanceSettings;
use crate::snapshot::Snapshot;
use webhook::Signer;

/// Most people who get a letter about one thing.
const MOST_LETTERS: usize = 50;

/// What it takes to send.
pub(crate) struct Ways {
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) mail: Option<Arc<dyn Mail>>,
}

/// Writes notices and sends them.
pub(crate) struct Notices {
    store: Store,
    trail: Trail,
    ways: Ways,
    signer: Option<Signer>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    public_url: String,
    poll: std::time::Duration,
    /// Something was written here.
    written: Notify,
}

/// What is told.
struct Told {
    kind: &'static str,
    data: Value,
    subject: String,
    text: String,
    to: Vec<String>,
}

impl Notices {
    pub(crate) fn new(
        (store, trail): (Store, Trail),
        ways: Ways,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
        settings: &GovernanceSettings,
    ) -> Notices {
        Notices {
            store,
            trail,
            ways,
            signer: settings.webhook.clone().map(Signer::new),
            clock,
            random,
            public_url: settings.public_url.as_str().trim_end_matches('/').to_owned(),
            poll: settings.poll,
            written: Notify::new(),
        }
    }

    /// What a request's state has to tell: a new one to those who may decide, any other to whoever asked.
    pub(crate) fn of_request(
        &self,
        snapshot: &Snapshot,
        request: &AccessRequest,
    ) -> Vec<NewNotice> {
        let (kind, what) = match request.status {
            AccessRequestStatus::Pending => ("access_request.created", "was asked for"),
            AccessRequestStatus::Approved => ("access_request.approved", "was granted"),
            AccessRequestStatus::Rejected => ("access_request.rejected", "was not granted"),
            AccessRequestStatus::Cancelled => {
                ("access_request.cancelled", "is not needed any more")
            }
            AccessRequestStatus::Expired => ("access_request.expired", "is over"),
        };
        let open = request.status == AccessRequestStatus::Pending;
        // Whoever took the end out of a grant's policy left the person what they have.
        let policy = snapshot.policy(PolicyId(request.id.0));
        let stays = policy.is_some_and(|policy| !policy.spec.is_over(self.clock.now()));
        let to = match request.status {
            AccessRequestStatus::Pending => self.deciders(snapshot, request),
            AccessRequestStatus::Cancelled => vec![],
            AccessRequestStatus::Expired if stays => vec![],
            AccessRequestStatus::Approved
            | AccessRequestStatus::Rejected
            | AccessRequestStatus::Expired => {
                let asker = snapshot.user(request.person).filter(|user| user.active);
                asker.map(|user| user.email.clone()).into_iter().collect()
            }
        };
        let place = format!("{}/api/v1/access-requests/{}/decision", self.public_url, request.id);
        let advice =
            format!("Decide with decide_access_request of the Runlayer MCP, or POST {place}.\n");
        self.written_for(Told {
            kind,
            data: data(request),
            subject: format!("Access of {} to {} {what}", request.principal, request.server),
            text: format!("{}{}", lines(request), if open { &advice } else { "" }),
            to,
        })
    }

    /// A call that waits for somebody other than whoever makes it. Nothing of its arguments is told.
    pub(crate) fn of_confirmation(
        &self,
        snapshot: &Snapshot,
        confirmation: &Confirmation,
    ) -> Vec<NewNotice> {
        let asked = |approver: &&Approver| **approver != Approver::Caller;
        let approvers: Vec<&Approver> = confirmation.approvers.iter().filter(asked).collect();
        if approvers.is_empty() {
            return vec![];
        }
        let is_asked = |user: &&Arc<User>| {
            user.active
                && user.id != confirmation.user
                && approvers.iter().any(|approver| match approver {
                    Approver::Caller => false,
                    Approver::Group(group) => user.groups.contains(group),
                    Approver::User(email) => user.email == *email,
                })
        };
        let to = snapshot.users.iter().filter(is_asked).map(|user| user.email.clone());
        let url = format!("{}/confirmations/{}", self.public_url, confirmation.id);
        let names = approvers.iter().map(|approver| String::from((*approver).clone()));
        let who = &confirmation.user_email;
        let Confirmation { server_slug, tool, message, .. } = confirmation;
        self.written_for(Told {
            kind: "confirmation.requested",
            data: json!({
                "id": confirmation.id.to_string(),
                "requested_by": who,
                "server": server_slug,
                "target": tool,
                "message": message,
                "approvers": names.collect::<Vec<_>>(),
                "expires_at": rfc3339(confirmation.expires_at),
                "url": url,
            }),
            subject: format!("A call of {who} on {server_slug} waits for you"),
            text: format!("{who} calls {tool} on {server_slug}.\n{message}\nDecide at {url}\n"),
            to: to.take(MOST_LETTERS).collect(),
        })
    }

    /// Keeps notices that go with nothing else. They are worth a line in the log, not a failure.
    pub(crate) async fn keep(&self, notices: &[NewNotice]) {
        if notices.is_empty() {
            return;
        }
        match self.store.add_notices(notices).await {
            Ok(()) => self.wake(),
            Err(error) => tracing::warn!(%error, "notices are lost"),
        }
    }

    /// Something was written with a change: it is sent now.
    pub(crate) fn wake(&self) {
        self.written.notify_waiters();
    }

    fn written_for(&self, told: Told) -> Vec<NewNotice> {
        let now = self.clock.now();
        let notice = |channel, recipient: String, body: Value| NewNotice {
            id: NoticeId(uuid7(now, &*self.random)),
            channel,
            recipient,
            kind: told.kind,
            body: body.to_string(),
            created_at: now,
        };
        let event = json!({"type": told.kind, "timestamp": rfc3339(now), "data": told.data});
        let webhook = self.signer.as_ref().map(|_| notice(Channel::Webhook, String::new(), event));
        let to = told.to.into_iter().filter(|_| self.ways.mail.is_some());
        let letter = json!({"subject": flat(&told.subject), "text": told.text});
        let letters = to.map(|address| notice(Channel::Mail, address, letter.clone()));
        webhook.into_iter().chain(letters).collect()
    }

    /// Everybody who may decide on it.
    fn deciders(&self, snapshot: &Snapshot, request: &AccessRequest) -> Vec<String> {
        let server = request.server_id.and_then(|id| snapshot.server_by_id(id));
        let owns = |user: &User| server.is_some_and(|s: &Arc<Server>| s.admins.contains(&user.id));
        let may = |user: &&Arc<User>| {
            let about_self = [request.principal_id, request.person].contains(&user.id);
            let stance = Stance { owns: owns(user), about_self };
            // Asking the policies about everybody would take long in a large organisation.
            let likely = stance.owns || user.roles.iter().any(|role| *role != Role::User);
            user.active
                && likely
                && snapshot.policies.authorize_as(user, "decide_access_request", stance)
        };
        snapshot.users.iter().filter(may).take(MOST_LETTERS).map(|u| u.email.clone()).collect()
    }
}

fn data(request: &AccessRequest) -> Value {
    json!({
        "id": request.id.to_string(),
        "for": request.principal,
        "server": request.server,
        "tools": request.tools,
        "reason": request.reason,
        "seconds": request.seconds,
        "status": request.status.as_str(),
        "decided_by": request.decider,
        "note": request.note,
        "expires_at": request.expires_at.map(rfc3339),
    })
}

fn lines(request: &AccessRequest) -> String {
    let tools = if request.tools.is_empty() { "all".into() } else { request.tools.join(", ") };
    let mut lines = vec![
        format!("For: {}", request.principal),
        format!("Server: {}", request.server),
        format!("Tools: {tools}"),
        format!("Reason: {}", flat(&request.reason)),
        format!("Status: {}", request.status.as_str()),
    ];
    lines.extend(request.decider.as_ref().map(|who| format!("Decided by: {who}")));
    lines.extend(request.note.as_ref().map(|note| format!("Note: {}", flat(note))));
    lines.extend(request.expires_at.map(|at| format!("Until: {}", rfc3339(at))));
    lines.push(format!("Request: {}\n", request.id));
    lines.join("\n")
}

/// One line, whatever somebody wrote.
fn flat(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn rfc3339(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
