//! Deciding about definitions of tools, and what there is to decide.

use gateway_core::Timestamp;
use gateway_core::ids::ServerId;
use gateway_core::server::Approval;

use super::DefinitionKind;
use crate::error::StoreError;
use crate::pool::Store;

/// Where a page of [`Store::definitions`] ends: a row's `first_seen` and pin.
pub type Place = (Timestamp, [u8; 32]);

/// Which definitions are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Only those of these servers.
    pub servers: &'a [ServerId],
    /// Only those about which nobody has decided.
    pub undecided: bool,
    /// Only those with one of these pins.
    pub pins: Option<&'a [[u8; 32]]>,
    /// Only those that come after this one.
    pub after: Option<Place>,
    /// At most so many.
    pub limit: u16,
}

/// A definition, and what it came instead of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDefinition {
    /// Whose.
    pub server: ServerId,
    /// Of what.
    pub kind: DefinitionKind,
    /// Tool or prompt name, URI; empty for instructions.
    pub name: String,
    /// SHA-256 of its bytes.
    pub pin: [u8; 32],
    /// SHA-256 of its canonical form.
    pub hash: [u8; 32],
    /// JSON text; `None`: too long to be kept.
    pub definition: Option<String>,
    /// `None`: nobody has decided.
    pub decision: Option<Approval>,
    /// Who decided, by e-mail; `first listing` and `first sight` stand for nobody.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// What it came instead of: JSON text, hash; the text is missing where it is not kept.
    pub before: Option<(Option<String>, Option<[u8; 32]>)>,
    /// Since when the server does not list the tool any more.
    pub gone_at: Option<Timestamp>,
    /// What the scanners saw in it, JSON text.
    pub findings: Option<String>,
}

/// What came of deciding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts.
    Done,
    /// One of them is not known.
    Absent,
    /// That tool was defined anew since.
    Changed(String),
}

impl Store {
    /// Definitions that are not just what the first look at a server showed, the newest first.
    pub async fn definitions(&self, asked: Asked<'_>) -> Result<Vec<StoredDefinition>, StoreError> {
        let servers: Vec<uuid::Uuid> = asked.servers.iter().map(|id| id.0).collect();
        let pins: Option<Vec<Vec<u8>>> =
            asked.pins.map(|pins| pins.iter().map(|pin| pin.to_vec()).collect());
        self.within("list definitions", async {
            let rows = sqlx::query!(
                r#"select d.server_id, d.kind, d.name, d.pin, d.hash, d.definition, d.decision, d.decided_by,
                          d.decided_at, d.first_seen, d.instead_of, d.gone_at, d.findings,
                          b.definition as "before_text?", b.hash as "before_hash?"
                     from definition d
                     left join definition b
                       on b.server_id = d.server_id and b.kind = d.kind and b.name = d.name and b.pin = d.instead_of
                    where d.server_id = any($1)
                      and (not $2 or (d.decision is null and d.kind = 'tool'))
                      and ($3::bytea[] is null or d.pin = any($3))
                      and ($3::bytea[] is not null or d.decided_by is distinct from 'first listing'
                           or d.findings is not null or d.gone_at is not null)
                      and ($4::timestamptz is null or (d.first_seen, d.pin) < ($4, $5::bytea))
                    order by d.first_seen desc, d.pin desc, d.name
                    limit $6"#,
                &servers,
                asked.undecided,
                pins.as_deref(),
                asked.after.map(|(at, _)| at),
                asked.after.map(|(_, pin)| pin.to_vec()),
                i64::from(asked.limit)
            )
            .fetch_all(self.pool())
            .await?;
            let hash = crate::catalogue::hash;
            rows.into_iter()
                .map(|row| {
                    let before_hash = row.before_hash.as_deref().map(hash).transpose()?;
                    Ok(StoredDefinition {
                        server: ServerId(row.server_id),
                        kind: DefinitionKind::parse(&row.kind)?,
                        name: row.name,
                        pin: hash(&row.pin)?,
                        hash: hash(&row.hash)?,
                        definition: row.definition,
                        decision: row.decision.as_deref().map(approval).transpose()?,
                        decided_by: row.decided_by,
                        decided_at: row.decided_at,
                        first_seen: row.first_seen,
                        before: row.instead_of.map(|_| (row.before_text, before_hash)),
                        gone_at: row.gone_at,
                        findings: row.findings,
                    })
                })
                .collect()
        })
        .await
    }

    /// Approves or rejects definitions of one server's tools: all of them or none. Nothing is approved that was
    /// defined anew since, for whoever decides has not seen it.
    pub async fn decide_definitions(
        &self,
        server: ServerId,
        pins: &[[u8; 32]],
        (decision, by): (Approval, &str),
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let pins: Vec<Vec<u8>> = pins.iter().map(|pin| pin.to_vec()).collect();
        self.within("decide about definitions", async {
            let mut transaction = self.change().await?;
            let known = sqlx::query_scalar!(
                r#"select count(distinct pin) as "count!" from definition
                    where server_id = $1 and kind = 'tool' and pin = any($2)"#,
                server.0,
                &pins
            )
            .fetch_one(&mut *transaction)
            .await?;
            if usize::try_from(known) != Ok(pins.len()) {
                return Ok(Decided::Absent);
            }
            let newer = sqlx::query_scalar!(
                "select newer.name from definition newer
                   join definition one on one.server_id = newer.server_id and one.kind = newer.kind
                                      and one.name = newer.name
                  where one.server_id = $1 and one.kind = 'tool' and one.pin = any($2)
                    and newer.decision is null and not newer.pin = any($2)
                    and newer.first_seen >= one.first_seen
                  limit 1",
                server.0,
                &pins
            )
            .fetch_optional(&mut *transaction)
            .await?;
            if let Some(name) = newer.filter(|_| decision == Approval::Approved) {
                return Ok(Decided::Changed(name));
            }
            sqlx::query!(
                "update definition set decision = $3, decided_by = $4, decided_at = $5
                  where server_id = $1 and kind = 'tool' and pin = any($2)",
                server.0,
                &pins,
                decision.as_str(),
                by,
                now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(Decided::Done)
        })
        .await
    }
}

pub(super) fn approval(name: &str) -> Result<Approval, StoreError> {
    match name {
        "approved" => Ok(Approval::Approved),
        "rejected" => Ok(Approval::Rejected),
        other => Err(StoreError::Corrupt(format!("definition.decision: {other}"))),
    }
}
