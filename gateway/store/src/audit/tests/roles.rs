//! The role that the gateway acts as can add records and read them, and nothing else.

use super::*;

const LOCKED: [&str; 5] =
    ["audit_intent", "audit_event", "audit_payload", "audit_batch", "audit_quarantine"];
/// Counted from the locked ones, and changed as they grow.
const DERIVED: [&str; 11] = [
    "audit_chain",
    "audit_replica",
    "audit_calls_quarter",
    "audit_tool_quarter",
    "audit_tool_day",
    "audit_person_quarter",
    "audit_person_day",
    "audit_usage_quarter",
    "audit_usage_day",
    "audit_verdict_quarter",
    "audit_verdict_day",
];

async fn refused(store: &Store, statement: &str) {
    let tried = store.pool().execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))).await;
    let error = tried.expect_err(statement);
    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
    assert_eq!(code, "42501", "{statement}: {error}");
}

#[tokio::test]
async fn records_can_neither_be_changed_nor_removed() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let (_, _) = call(&trail, "list").await;
    trail.stop().await;
    let days = "select array_to_string(array_agg(inhrelid::regclass::text), ',') from pg_inherits
        join pg_class c on c.oid = inhrelid and c.relkind = 'r'
        where inhparent::regclass::text like 'audit%'";
    let row = admin(&store).await.fetch_one(days).await.unwrap();
    let days: String = row.get(0);
    let days: Vec<&str> = days.split(',').filter(|name| name.contains("_20")).collect();
    assert!(days.len() >= 12, "{days:?}");
    for table in LOCKED.iter().chain(&days) {
        let column = if table.contains("quarantine") { "at" } else { "ts" };
        refused(&store, &format!("update {table} set {column} = now()")).await;
        refused(&store, &format!("delete from {table}")).await;
        refused(&store, &format!("truncate {table}")).await;
        refused(&store, &format!("drop table {table}")).await;
        refused(&store, &format!("alter table {table} add column x integer")).await;
        refused(&store, &format!("create trigger t before insert on {table} for each row execute function suppress_redundant_updates_trigger()")).await;
    }
    for day in &days {
        refused(&store, &format!("insert into {day} select * from {day}")).await;
        let detach = format!("alter table audit_event detach partition {day}");
        refused(&store, &detach).await;
    }
    for derived in DERIVED {
        refused(&store, &format!("delete from {derived}")).await;
        refused(&store, &format!("truncate {derived}")).await;
    }
    refused(&store, "create or replace function audit_make_days(first date, days integer) returns integer language sql as 'select 1'").await;
}

#[tokio::test]
async fn days_are_made_near_the_present_only() {
    let store = testing::store().await;
    for call in
        ["current_date + 3650, 1", "current_date - 3650, 1", "current_date, 400", "current_date, 0"]
    {
        let text = format!("select audit_make_days({call})");
        let tried = store.pool().execute(sqlx::raw_sql(AssertSqlSafe(text))).await;
        assert!(tried.is_err(), "{call}");
    }
    let twice =
        "select audit_make_days(current_date + 10, 2), audit_make_days(current_date + 10, 2)";
    let row = store.pool().fetch_one(twice).await.unwrap();
    assert_eq!((row.get::<i32, _>(0), row.get::<i32, _>(1)), (8, 0));
}
