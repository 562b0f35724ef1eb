//! A human's agreement to one call: asked for, answered, and used at most once, whichever replica asks.
//!
//! ```text
//! pending --everyone agreed--> agreed --take_agreed--> used
//!    |                            |  <--return_agreed---
//!    +--somebody declined--> declined          past expires_at, both: expired
//! ```
//! Who may answer for which approver is governance's business; here the approver `caller` can only be
//! answered by the person behind the call, and the others never by that person.

mod read;

use gateway_core::Timestamp;
use gateway_core::decision::Approver;
use gateway_core::ids::{CallId, ConfirmationId, PolicyId, ServerId, UserId};

pub use read::{Answer, Confirmation, ConfirmationStatus, Listed};

use crate::error::StoreError;
use crate::pool::Store;

/// What is to be agreed to.
#[derive(Debug, Clone)]
pub struct NewConfirmation {
    /// UUIDv7: lists are ordered by it.
    pub id: ConfirmationId,
    /// Must cover everything that the agreement rests on: principal, server, tool, definition, arguments
    /// and approvers.
    pub binding: [u8; 32],
    /// The person behind the call.
    pub user: UserId,
    /// Where the call goes.
    pub server: ServerId,
    /// The tool.
    pub tool: String,
    /// Shown to whoever is to agree.
    pub message: String,
    /// The call's arguments (JSON text), for whoever is to agree.
    pub arguments: Option<String>,
    /// The rules that demand it.
    pub policies: Vec<PolicyId>,
    /// Everyone who must agree.
    pub approvers: Vec<Approver>,
    /// The call that asked.
    pub call: CallId,
    /// When.
    pub created_at: Timestamp,
    /// From then on an agreement is worth nothing.
    pub expires_at: Timestamp,
}

/// Somebody's answer.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// What is answered.
    pub id: ConfirmationId,
    /// Who answers.
    pub decider: UserId,
    /// Their e-mail address, kept with the answer.
    pub email: &'a str,
    /// The approvers for whom they may speak, as governance found.
    pub speaks_for: &'a [Approver],
    /// Agreed or declined.
    pub approve: bool,
    /// When.
    pub now: Timestamp,
}

/// What an answer led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Everyone has agreed: the call may run once.
    Agreed,
    /// Somebody declined: it will not.
    Declined,
    /// Noted; these must still agree.
    Missing(Vec<Approver>),
    /// The decider is none of the approvers. Nothing changed.
    NotTheirs,
    /// It was settled or used before, or has expired. Nothing changed.
    Over(ConfirmationStatus),
    /// No such confirmation.
    Absent,
}

/// How often a request is tried against others that settle the same binding at the same moment.
const ATTEMPTS: usize = 5;

impl Store {
    /// Asks for an agreement, or gives the one of the same binding that is still alive (its id differs from
    /// `new.id` then; it may have been agreed to in the meantime).
    pub async fn request_confirmation(
        &self,
        new: &NewConfirmation,
    ) -> Result<Confirmation, StoreError> {
        self.promptly("ask for a confirmation", async {
            for _ in 0..ATTEMPTS {
                if let Some(id) = self.insert_or_find(new).await?
                    && let Some(found) = self.get_confirmation(id).await?
                {
                    return Ok(found);
                }
            }
            Err(StoreError::TimedOut("ask for a confirmation"))
        })
        .await
    }

    async fn insert_or_find(
        &self,
        new: &NewConfirmation,
    ) -> Result<Option<ConfirmationId>, StoreError> {
        let mut transaction = self.pool().begin().await?;
        sqlx::query!(
            "update confirmation set status = 'expired'
              where binding = $1 and status in ('pending', 'agreed') and expires_at <= $2",
            &new.binding[..],
            new.created_at
        )
        .execute(&mut *transaction)
        .await?;
        let approvers: Vec<String> = new.approvers.iter().cloned().map(String::from).collect();
        let policies: Vec<uuid::Uuid> = new.policies.iter().map(|policy| policy.0).collect();
        sqlx::query!(
            "insert into confirmation
                 (id, binding, user_id, server_id, tool, message, arguments, policy_ids, approvers,
                  call_id, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             on conflict (binding) where status in ('pending', 'agreed') do nothing",
            new.id.0,
            &new.binding[..],
            new.user.0,
            new.server.0,
            new.tool,
            new.message,
            new.arguments,
            &policies,
            &approvers,
            new.call.0,
            new.created_at,
            new.expires_at
        )
        .execute(&mut *transaction)
        .await?;
        // Ours, or the living one that made ours superfluous; none when that ended between the statements.
        let living = sqlx::query_scalar!(
            "select id from confirmation where binding = $1 and status in ('pending', 'agreed')",
            &new.binding[..]
        )
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(living.map(ConfirmationId))
    }

    /// Uses up the agreement for `binding`, if there is one: of any number of replicas that ask at the same
    /// moment exactly one gets it.
    pub async fn take_agreed(
        &self,
        binding: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<ConfirmationId>, StoreError> {
        self.promptly("use a confirmation", async {
            // A second taker waits for the first one's row lock and then sees 'used'.
            let taken = sqlx::query_scalar!(
                "update confirmation set status = 'used', used_at = $2
                  where binding = $1 and status = 'agreed' and expires_at > $2
                 returning id",
                &binding[..],
                now
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(taken.map(ConfirmationId))
        })
        .await
    }

    /// Gives an agreement back that was taken for a call which was not made after all: the same call may take it
    /// again while it lives. Nothing, where it is over or the same was asked anew meanwhile.
    pub async fn return_agreed(
        &self,
        id: ConfirmationId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.promptly("give a confirmation back", async {
            let done = sqlx::query!(
                "update confirmation c set status = 'agreed', used_at = null
                  where id = $1 and status = 'used' and expires_at > $2
                    and not exists (select from confirmation other
                                     where other.binding = c.binding and other.status in ('pending', 'agreed'))",
                id.0,
                now
            )
            .execute(self.pool())
            .await?;
            Ok(done.rows_affected() == 1)
        })
        .await
    }

    /// Notes an answer, and settles the confirmation when it was the last one missing, or a refusal.
    pub async fn settle_confirmation(&self, decision: Decision<'_>) -> Result<Settled, StoreError> {
        self.promptly("settle a confirmation", async {
            let mut transaction = self.pool().begin().await?;
            let Some(row) = sqlx::query!(
                "select user_id, status, approvers, expires_at from confirmation
                  where id = $1 for update",
                decision.id.0
            )
            .fetch_optional(&mut *transaction)
            .await?
            else {
                return Ok(Settled::Absent);
            };
            let status = ConfirmationStatus::read(&row.status, row.expires_at, decision.now)?;
            if status != ConfirmationStatus::Pending {
                return Ok(Settled::Over(status));
            }
            let approvers = read::approvers(&row.approvers)?;
            let own_call = row.user_id == decision.decider.0;
            let theirs: Vec<&Approver> = approvers
                .iter()
                .filter(|approver| decision.speaks_for.contains(approver))
                .filter(|approver| (**approver == Approver::Caller) == own_call)
                .collect();
            if theirs.is_empty() {
                return Ok(Settled::NotTheirs);
            }
            let settled = note(&mut transaction, &decision, &theirs, &approvers).await?;
            transaction.commit().await?;
            Ok(settled)
        })
        .await
    }
}

async fn note(
    connection: &mut sqlx::PgConnection,
    decision: &Decision<'_>,
    theirs: &[&Approver],
    approvers: &[Approver],
) -> Result<Settled, StoreError> {
    for approver in theirs {
        // Who agreed before may still decline, so the later answer counts.
        sqlx::query!(
            "insert into confirmation_answer
                 (confirmation_id, approver, user_id, email, approve, answered_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (confirmation_id, approver) do update
                set user_id = excluded.user_id, email = excluded.email,
                    approve = excluded.approve, answered_at = excluded.answered_at",
            decision.id.0,
            String::from((*approver).clone()),
            decision.decider.0,
            decision.email,
            decision.approve,
            decision.now
        )
        .execute(&mut *connection)
        .await?;
    }
    let answered: Vec<String> = sqlx::query_scalar!(
        "select approver from confirmation_answer where confirmation_id = $1 and approve",
        decision.id.0
    )
    .fetch_all(&mut *connection)
    .await?;
    let missing: Vec<Approver> = approvers
        .iter()
        .filter(|approver| !answered.contains(&String::from((*approver).clone())))
        .cloned()
        .collect();
    let (status, settled) = match (decision.approve, missing.is_empty()) {
        (false, _) => ("declined", Settled::Declined),
        (true, true) => ("agreed", Settled::Agreed),
        (true, false) => return Ok(Settled::Missing(missing)),
    };
    sqlx::query!(
        "update confirmation set status = $2, settled_at = $3 where id = $1",
        decision.id.0,
        status,
        decision.now
    )
    .execute(&mut *connection)
    .await?;
    Ok(settled)
}
