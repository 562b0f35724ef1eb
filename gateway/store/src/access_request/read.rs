//! Reading requests for access.

use gateway_core::Timestamp;
use gateway_core::ids::{AccessRequestId, ServerId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::AccessRequest;
use crate::error::StoreError;
use crate::pool::Store;

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessRequestStatus {
    /// Nobody has decided.
    Pending,
    /// Granted, and the grant's time is not over.
    Approved,
    /// Not granted.
    Rejected,
    /// Withdrawn by whoever asked.
    Cancelled,
    /// It was granted, and that is over.
    Expired,
}

impl AccessRequestStatus {
    /// Every status.
    pub const ALL: [AccessRequestStatus; 5] = [
        AccessRequestStatus::Pending,
        AccessRequestStatus::Approved,
        AccessRequestStatus::Rejected,
        AccessRequestStatus::Cancelled,
        AccessRequestStatus::Expired,
    ];

    /// The name in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessRequestStatus::Pending => "pending",
            AccessRequestStatus::Approved => "approved",
            AccessRequestStatus::Rejected => "rejected",
            AccessRequestStatus::Cancelled => "cancelled",
            AccessRequestStatus::Expired => "expired",
        }
    }

    pub(super) fn parse(name: &str) -> Result<AccessRequestStatus, StoreError> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == name);
        found.ok_or_else(|| StoreError::Corrupt(format!("access_request.status: {name}")))
    }
}

impl AccessRequest {
    /// The status: `Expired` once the grant's time is over, swept or not.
    pub fn status_at(&self, now: Timestamp) -> AccessRequestStatus {
        match self.status {
            AccessRequestStatus::Approved if self.expires_at.is_some_and(|end| end <= now) => {
                AccessRequestStatus::Expired
            }
            AccessRequestStatus::Pending
            | AccessRequestStatus::Approved
            | AccessRequestStatus::Rejected
            | AccessRequestStatus::Cancelled
            | AccessRequestStatus::Expired => self.status,
        }
    }
}

/// Which requests to list.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Only those of this principal or person, and those for one of these servers. `None`: all.
    pub viewer: Option<(UserId, &'a [ServerId])>,
    /// Only those of this status.
    pub status: Option<AccessRequestStatus>,
    /// Only those for the server of this id, or asked for by this name.
    pub server: Option<(Option<ServerId>, &'a str)>,
    /// The present.
    pub now: Timestamp,
    /// Only those older than this one: the last of the page before.
    pub before: Option<AccessRequestId>,
    /// At most so many.
    pub limit: u16,
}

struct Row {
    id: Uuid,
    principal_id: Uuid,
    principal: String,
    person_id: Uuid,
    server: String,
    server_id: Option<Uuid>,
    tools: Vec<String>,
    reason: String,
    seconds: Option<i64>,
    status: String,
    created_at: Timestamp,
    decided_at: Option<Timestamp>,
    decider: Option<String>,
    note: Option<String>,
    expires_at: Option<Timestamp>,
}

impl TryFrom<Row> for AccessRequest {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<AccessRequest, StoreError> {
        Ok(AccessRequest {
            id: AccessRequestId(row.id),
            principal_id: UserId(row.principal_id),
            principal: row.principal,
            person: UserId(row.person_id),
            server: row.server,
            server_id: row.server_id.map(ServerId),
            tools: row.tools,
            reason: row.reason,
            seconds: row.seconds,
            status: AccessRequestStatus::parse(&row.status)?,
            created_at: row.created_at,
            decided_at: row.decided_at,
            decider: row.decider,
            note: row.note,
            expires_at: row.expires_at,
        })
    }
}

impl Store {
    /// One request.
    pub async fn get_access_request(
        &self,
        id: AccessRequestId,
    ) -> Result<Option<AccessRequest>, StoreError> {
        self.within("read a request for access", async {
            Ok(load(&mut *self.pool().acquire().await?, &[id]).await?.pop())
        })
        .await
    }

    /// A page of requests, newest first.
    pub async fn list_access_requests(
        &self,
        listed: Listed<'_>,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let (viewer, administered) = listed.viewer.unzip();
        let administered: Vec<Uuid> =
            administered.unwrap_or_default().iter().map(|id| id.0).collect();
        let (server_id, server) = listed.server.unzip();
        self.within("list requests for access", async {
            let rows = sqlx::query_as!(
                Row,
                "select id, principal_id, principal, person_id, server, server_id, tools, reason, seconds,
                        status, created_at, decided_at, decider, note, expires_at
                   from access_request
                  where ($1::uuid is null or principal_id = $1 or person_id = $1 or server_id = any($2))
                    and ($3::text is null
                         or $3 = case when status = 'approved' and expires_at <= $4 then 'expired'
                                      else status end)
                    and ($5::text is null or server = $5 or server_id = $6)
                    and ($7::uuid is null or id < $7)
                  order by id desc limit $8",
                viewer.map(|id| id.0),
                &administered,
                listed.status.map(AccessRequestStatus::as_str),
                listed.now,
                server,
                server_id.flatten().map(|id| id.0),
                listed.before.map(|id| id.0),
                i64::from(listed.limit)
            )
            .fetch_all(self.pool())
            .await?;
            rows.into_iter().map(AccessRequest::try_from).collect()
        })
        .await
    }
}

pub(super) async fn load(
    connection: &mut PgConnection,
    which: &[AccessRequestId],
) -> Result<Vec<AccessRequest>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "select id, principal_id, principal, person_id, server, server_id, tools, reason, seconds, status,
                created_at, decided_at, decider, note, expires_at
           from access_request where id = any($1) order by id",
        &super::ids(which)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(AccessRequest::try_from).collect()
}

/// The open request of the same principal for the same.
pub(super) async fn open(
    connection: &mut PgConnection,
    new: &AccessRequest,
) -> Result<Option<AccessRequest>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        "select id, principal_id, principal, person_id, server, server_id, tools, reason, seconds, status,
                created_at, decided_at, decider, note, expires_at
           from access_request
          where principal_id = $1 and server = $2 and tools = $3 and status = 'pending'",
        new.principal_id.0,
        new.server,
        &new.tools
    )
    .fetch_optional(connection)
    .await?;
    row.map(AccessRequest::try_from).transpose()
}
