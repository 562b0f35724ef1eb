//! Tampering shows: every way of editing, deleting, inserting and moving rows, by whoever owns the tables.

use super::*;

const TABLES: [&str; 5] =
    ["audit_intent", "audit_event", "audit_payload", "audit_batch", "audit_chain"];

/// What a superuser does, and the table that gives it away.
const TAMPERING: &[(&str, &str, &str)] = &[
    ("edit an outcome", "update audit_event set outcome = 'denied' where id = (select max(id::text)::uuid from audit_event)", "audit_event"),
    ("edit a name", "update audit_event set resource_name = 'innocent' where id = (select min(id::text)::uuid from audit_event)", "audit_event"),
    ("erase an actor", "update audit_event set actor_id = null", "audit_event"),
    ("blame an agent", "update audit_event set agent_id = gen_random_uuid(), actor_kind = 'agent'", "audit_event"),
    ("edit a figure", "update audit_event set latency_us = latency_us + 1 where id = (select min(id::text)::uuid from audit_event)", "audit_event"),
    ("edit an intent", "update audit_intent set subject = replace(subject, 'bob@', 'eve@') where id = (select min(id::text)::uuid from audit_intent)", "audit_intent"),
    ("edit a digest", "update audit_intent set arguments_digest = null where id = (select min(id::text)::uuid from audit_intent)", "audit_intent"),
    ("edit arguments", "update audit_payload set body = '{}', size = 2, kept = 2 where kind = 'arguments'", "audit_payload"),
    ("edit a result", "update audit_payload set body = '{}', size = 2, kept = 2 where kind = 'result'", "audit_payload"),
    ("move in time", "update audit_event set ts = ts - interval '1 hour' where id = (select max(id::text)::uuid from audit_event)", ""),
    ("delete an event", "delete from audit_event where id = (select min(id::text)::uuid from audit_event)", "audit_batch"),
    ("delete an intent", "delete from audit_intent where id = (select max(id::text)::uuid from audit_intent)", "audit_batch"),
    ("delete all events", "delete from audit_event", "audit_batch"),
    ("swap two places", "update audit_event e set (batch, place) = (select o.batch, o.place from audit_event o where o.id <> e.id and o.id in (select id from audit_event order by id limit 2)) where id in (select id from audit_event order by id limit 2)", "audit_event"),
    ("swap two names", "update audit_event e set resource_name = (select o.resource_name from audit_event o where o.id <> e.id and o.id in (select id from audit_event order by id limit 2)) where id in (select id from audit_event order by id limit 2)", "audit_event"),
    ("insert a copy", "insert into audit_intent select ts, gen_random_uuid(), replica, batch, place, request_bytes, subject, arguments_digest from audit_intent limit 1", "audit_intent"),
    ("insert at a new place", "insert into audit_intent select ts, gen_random_uuid(), replica, batch, place + 1000, request_bytes, subject, arguments_digest from audit_intent limit 1", "audit_intent"),
    ("insert with a batch of nobody", "insert into audit_intent select ts, gen_random_uuid(), replica, 99999, place, request_bytes, subject, arguments_digest from audit_intent limit 1", "audit_intent"),
    ("insert for another replica", "insert into audit_intent select ts, gen_random_uuid(), gen_random_uuid(), batch, place, request_bytes, subject, arguments_digest from audit_intent limit 1", "audit_intent"),
    ("delete a batch's record", "delete from audit_batch where batch = 2", "audit_batch"),
    ("void a place", "update audit_batch set tags = decode(repeat('00', length(tags)), 'hex') where batch = 2", "audit_batch"),
    ("swap two batches", "update audit_batch set batch = case batch when 2 then 3 when 3 then 2 else batch end", "audit_batch"),
    ("cut the tail", "delete from audit_batch where batch = (select max(batch) from audit_batch)", "audit_chain"),
    ("cut the tail and mend the end", "
        delete from audit_event e using audit_chain c where e.replica = c.replica and e.batch = c.batch;
        delete from audit_intent e using audit_chain c where e.replica = c.replica and e.batch = c.batch;
        delete from audit_batch e using audit_chain c where e.replica = c.replica and e.batch = c.batch;
        update audit_chain c set batch = b.batch, mac = b.mac from audit_batch b where b.batch = c.batch - 1", "audit_chain"),
    ("remove the end", "delete from audit_chain", "audit_batch"),
    ("remove all but the end", "delete from audit_event; delete from audit_intent; delete from audit_batch", "audit_chain"),
];

#[tokio::test]
async fn every_tampering_is_found() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    for n in 0..5 {
        let (_, _) = call(&trail, &format!("tool_{n}")).await;
        assert!(trail.flush(PATIENCE).await);
    }
    trail.stop().await;
    let whole = verified(&store).await;
    assert_eq!((whole.chains, whole.rows, whole.payloads), (2, 10, 10));
    for table in TABLES {
        sql(&store, &format!("create table kept_{table} as table {table}")).await;
    }
    for (what, statement, table) in TAMPERING {
        sql(&store, statement).await;
        match verify(&store, &KEY).await.unwrap() {
            Verdict::Broken(broken) => {
                assert!(table.is_empty() || broken.table == *table, "{what}: {broken}");
            }
            Verdict::Verified(_) => panic!("not found: {what}"),
        }
        for table in TABLES {
            let restore = format!("truncate {table}; insert into {table} table kept_{table}");
            sql(&store, &restore).await;
        }
        assert_eq!(verified(&store).await, whole, "after {what}");
    }
    assert!(matches!(verify(&store, &[1; 32]).await.unwrap(), Verdict::Broken(_)), "another key");
    // Payloads are kept for a shorter time: their absence is no tampering.
    sql(&store, "truncate audit_payload").await;
    assert_eq!(verified(&store).await, Verified { payloads: 0, ..whole });
}

#[tokio::test]
async fn chains_of_several_starts_stand_side_by_side() {
    let (store, dir) = (testing::store().await, Dir::new());
    for _ in 0..3 {
        let trail = start(&store, &dir).await;
        let (_, _) = call(&trail, "list").await;
        trail.stop().await;
    }
    let verified = verified(&store).await;
    assert_eq!((verified.chains, verified.rows), (6, 6));
}

/// Two commits that raced for the same place in the chain: the second one reads its end anew.
#[tokio::test]
async fn a_chain_that_moved_on_is_continued() {
    let (store, dir) = (testing::store().await, Dir::new());
    let one = settings(&dir);
    let trail = Trail::start(&store, one.clone()).await.unwrap();
    // Nothing may run two writers under one id; an earlier transaction that was given up looks like it.
    let ghost = Trail::start(&store, one).await.unwrap();
    for _ in 0..5 {
        let (_, _) = call(&trail, "list").await;
        let (_, _) = call(&ghost, "list").await;
    }
    assert!(trail.flush(PATIENCE).await && ghost.flush(PATIENCE).await);
    assert_eq!(verified(&store).await.rows, 20);
    assert_closed(&store).await;
    trail.stop().await;
    ghost.stop().await;
}
