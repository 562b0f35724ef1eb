//! Limits on calls.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Change, ChangeKind, DesiredLimit, Diff, Noun, whole};
use crate::error::StoreError;
use crate::limit::StoredLimit;

pub(super) async fn limits(
    connection: &mut PgConnection,
    desired: &[DesiredLimit],
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    let known: HashMap<String, StoredLimit> = crate::limit::load(&mut *connection)
        .await?
        .into_iter()
        .map(|limit| (limit.name.clone(), limit))
        .collect();
    let mut changes = Vec::new();
    for limit in desired {
        changes.push(match known.get(&limit.name) {
            Some(before) => update(&mut *connection, before, limit).await?,
            None => create(&mut *connection, limit).await?,
        });
    }
    if prune {
        let names: Vec<String> = desired.iter().map(|limit| limit.name.clone()).collect();
        let gone = sqlx::query!(
            "delete from call_limit where source = 'apply' and name <> all($1) returning id, name",
            &names
        )
        .fetch_all(connection)
        .await?;
        changes.extend(
            gone.iter().map(|row| whole(ChangeKind::Deleted, Noun::Limit, &row.name, row.id)),
        );
    }
    Ok(changes)
}

async fn update(
    connection: &mut PgConnection,
    before: &StoredLimit,
    limit: &DesiredLimit,
) -> Result<Change, StoreError> {
    let mut diff = Diff::default();
    diff.field("spec", &before.spec_json, &limit.spec_json);
    sqlx::query!(
        "update call_limit set spec = $2, source = 'apply', updated_at = now()
          where id = $1 and (spec, source) is distinct from ($2, 'apply')",
        before.id.0,
        limit.spec_json
    )
    .execute(connection)
    .await?;
    Ok(diff.into_change(Noun::Limit, &limit.name, before.id.0))
}

async fn create(connection: &mut PgConnection, limit: &DesiredLimit) -> Result<Change, StoreError> {
    let id = sqlx::query_scalar!(
        "insert into call_limit (id, name, spec) values (gen_random_uuid(), $1, $2) returning id",
        limit.name,
        limit.spec_json
    )
    .fetch_one(connection)
    .await?;
    let id: Uuid = id;
    Ok(whole(ChangeKind::Created, Noun::Limit, &limit.name, id))
}
