//! Confirmations as they are read: one, or pages of them, newest first.

use std::collections::HashMap;

use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::decision::Approver;
use gateway_core::ids::{CallId, ConfirmationId, PolicyId, ServerId, UserId};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;

/// A request for agreement and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Its id.
    pub id: ConfirmationId,
    /// What it is bound to.
    pub binding: [u8; 32],
    /// The person behind the call.
    pub user: UserId,
    /// Their e-mail address.
    pub user_email: String,
    /// Where the call goes.
    pub server: ServerId,
    /// That server's slug.
    pub server_slug: String,
    /// The tool.
    pub tool: String,
    /// Shown to whoever is to agree.
    pub message: String,
    /// The call's arguments, JSON text.
    pub arguments: Option<String>,
    /// The rules that demand it.
    pub policies: Vec<PolicyId>,
    /// Everyone who must agree.
    pub approvers: Vec<Approver>,
    /// Who answered so far.
    pub answers: Vec<Answer>,
    /// As stored; see [`Confirmation::status_at`].
    pub status: ConfirmationStatus,
    /// The call that asked.
    pub call: CallId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// From then on an agreement is worth nothing.
    pub expires_at: Timestamp,
    /// When it was agreed to or declined.
    pub settled_at: Option<Timestamp>,
    /// When the call ran.
    pub used_at: Option<Timestamp>,
}

/// Somebody's answer for one of the approvers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For which approver.
    pub approver: Approver,
    /// Who.
    pub user: UserId,
    /// Their e-mail address then.
    pub email: String,
    /// Agreed or declined.
    pub approve: bool,
    /// When.
    pub at: Timestamp,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmationStatus {
    /// Somebody must still agree.
    Pending,
    /// Everyone agreed; the call has not run yet.
    Agreed,
    /// Somebody declined.
    Declined,
    /// The call ran, or was let through.
    Used,
    /// Too late.
    Expired,
}

impl ConfirmationStatus {
    /// The name in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            ConfirmationStatus::Pending => "pending",
            ConfirmationStatus::Agreed => "agreed",
            ConfirmationStatus::Declined => "declined",
            ConfirmationStatus::Used => "used",
            ConfirmationStatus::Expired => "expired",
        }
    }

    fn parse(name: &str) -> Result<ConfirmationStatus, StoreError> {
        use ConfirmationStatus::{Agreed, Declined, Expired, Pending, Used};
        [Pending, Agreed, Declined, Used, Expired]
            .into_iter()
            .find(|status| status.as_str() == name)
            .ok_or_else(|| StoreError::Corrupt(format!("confirmation.status: {name}")))
    }

    pub(super) fn read(
        name: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<ConfirmationStatus, StoreError> {
        Ok(ConfirmationStatus::parse(name)?.at(expires_at, now))
    }

    fn at(self, expires_at: Timestamp, now: Timestamp) -> ConfirmationStatus {
        match self {
            ConfirmationStatus::Pending | ConfirmationStatus::Agreed if expires_at <= now => {
                ConfirmationStatus::Expired
            }
            ConfirmationStatus::Pending
            | ConfirmationStatus::Agreed
            | ConfirmationStatus::Declined
            | ConfirmationStatus::Used
            | ConfirmationStatus::Expired => self,
        }
    }
}

impl Confirmation {
    /// The status, `Expired` once its time is over.
    pub fn status_at(&self, now: Timestamp) -> ConfirmationStatus {
        self.status.at(self.expires_at, now)
    }
}

/// Which confirmations to list.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Only what this person asked for or may be an approver of (themselves, by e-mail, by group).
    pub viewer: Option<&'a User>,
    /// Only those that still wait for an answer.
    pub pending_only: bool,
    /// The present.
    pub now: Timestamp,
    /// Only those older than this one: the last of the page before.
    pub before: Option<ConfirmationId>,
    /// At most so many.
    pub limit: u16,
}

impl Store {
    /// One confirmation.
    pub async fn get_confirmation(
        &self,
        id: ConfirmationId,
    ) -> Result<Option<Confirmation>, StoreError> {
        self.promptly("read a confirmation", async {
            let mut connection = self.pool().acquire().await?;
            Ok(load(&mut connection, &[id.0]).await?.pop())
        })
        .await
    }

    /// A page of confirmations, newest first.
    pub async fn list_confirmations(
        &self,
        listed: Listed<'_>,
    ) -> Result<Vec<Confirmation>, StoreError> {
        let as_approver: Vec<String> = listed.viewer.map(spoken_for).unwrap_or_default();
        self.within("list confirmations", async {
            let mut connection = self.pool().acquire().await?;
            let ids = sqlx::query_scalar!(
                "select id from confirmation
                  where ($1::uuid is null or user_id = $1 or approvers && $2)
                    and (not $3 or (status = 'pending' and expires_at > $4))
                    and ($5::uuid is null or id < $5)
                  order by id desc limit $6",
                listed.viewer.map(|user| user.id.0),
                &as_approver,
                listed.pending_only,
                listed.now,
                listed.before.map(|id| id.0),
                i64::from(listed.limit)
            )
            .fetch_all(&mut *connection)
            .await?;
            load(&mut connection, &ids).await
        })
        .await
    }
}

fn spoken_for(user: &User) -> Vec<String> {
    let groups = user.groups.iter().map(|group| Approver::Group(group.clone()));
    groups.chain([Approver::User(user.email.clone())]).map(String::from).collect()
}

async fn load(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Confirmation>, StoreError> {
    let mut answers = load_answers(&mut *connection, ids).await?;
    let rows = sqlx::query!(
        "select c.id, c.binding, c.user_id, u.email, c.server_id, s.slug, c.tool, c.message,
                c.arguments, c.policy_ids, c.approvers, c.status, c.call_id, c.created_at,
                c.expires_at, c.settled_at, c.used_at
           from confirmation c
           join gateway_user u on u.id = c.user_id
           join server s on s.id = c.server_id
          where c.id = any($1) order by c.id desc",
        ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Confirmation {
                id: ConfirmationId(row.id),
                binding: crate::catalogue::hash(&row.binding)?,
                user: UserId(row.user_id),
                user_email: row.email,
                server: ServerId(row.server_id),
                server_slug: row.slug,
                tool: row.tool,
                message: row.message,
                arguments: row.arguments,
                policies: row.policy_ids.into_iter().map(PolicyId).collect(),
                approvers: approvers(&row.approvers)?,
                answers: answers.remove(&row.id).unwrap_or_default(),
                status: ConfirmationStatus::parse(&row.status)?,
                call: CallId(row.call_id),
                created_at: row.created_at,
                expires_at: row.expires_at,
                settled_at: row.settled_at,
                used_at: row.used_at,
            })
        })
        .collect()
}

async fn load_answers(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Answer>>, StoreError> {
    let rows = sqlx::query!(
        "select confirmation_id, approver, user_id, email, approve, answered_at
           from confirmation_answer where confirmation_id = any($1) order by answered_at, approver",
        ids
    )
    .fetch_all(connection)
    .await?;
    let mut answers: HashMap<Uuid, Vec<Answer>> = HashMap::new();
    for row in rows {
        answers.entry(row.confirmation_id).or_default().push(Answer {
            approver: approver(&row.approver)?,
            user: UserId(row.user_id),
            email: row.email,
            approve: row.approve,
            at: row.answered_at,
        });
    }
    Ok(answers)
}

pub(super) fn approvers(names: &[String]) -> Result<Vec<Approver>, StoreError> {
    names.iter().map(|name| approver(name)).collect()
}

fn approver(name: &str) -> Result<Approver, StoreError> {
    Approver::try_from(name.to_owned())
        .map_err(|e| StoreError::Corrupt(format!("confirmation.approvers: {e}")))
}
