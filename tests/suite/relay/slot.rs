//! The relay's slot: it holds no WAL back without need, and its loss is noticed, explained and repaired.

use std::collections::BTreeSet;
use std::time::Duration;

use apache_avro::types::Value;
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};
use sqlx::PgPool;

use crate::processor::continuity::assert_continuous;
use crate::relay::{execute, ids, insert, keys, on_its_own_server, until_count};
use crate::stages;

/// Whether WAL from before `lsn` may be removed as far as this slot is concerned.
async fn is_past(db: &PgPool, slot: &str, lsn: &str) -> bool {
    let query = "SELECT restart_lsn > $2::pg_lsn AND confirmed_flush_lsn > $2::pg_lsn \
                 FROM pg_replication_slots WHERE slot_name = $1";
    sqlx::query_scalar(query).bind(slot).bind(lsn).fetch_one(db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_beside_a_busy_one_holds_no_wal_back() {
    let mut env = TestEnv::new("relay_idle").await;
    env.set("relay.heartbeat_interval", "200ms");
    let relay = env.start("relay").await;
    relay.ready().await;
    let busy = TestEnv::unmigrated("relay_busy").await;
    execute(&busy.db, "CREATE TABLE noise AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)").await;
    let written: String =
        sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&busy.db).await.unwrap();
    wait::until("the slot moves on", SOON, async || {
        // What a server with traffic writes every few seconds by itself; slots move on to it only.
        execute(&busy.db, "SELECT pg_log_standby_snapshot()").await;
        is_past(&env.db, env.name(), &written).await.then_some(())
    })
    .await;
    assert_eq!(env.records(env.raw_topic()).await, [], "heartbeats are no records");
}

/// How many heartbeats a slot of its own sees in the WAL.
async fn heartbeats(db: &PgPool, slot: &str) -> i64 {
    let query = "SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', \
                 'publication_names', 'datastreaming', 'messages', 'true') \
                 WHERE position('pipeline.heartbeat'::bytea IN data) > 0";
    sqlx::query_scalar(query).bind(slot).fetch_one(db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_written_unless_they_are_turned_off() {
    let mut env = TestEnv::new("relay_heartbeat").await;
    env.set("relay.heartbeat_interval", "1s");
    let relay = env.start("relay").await;
    relay.ready().await;
    let witness = format!("{}_witness", env.name());
    execute(&env.db, &format!("SELECT pg_create_logical_replication_slot('{witness}', 'pgoutput')")).await;
    wait::until("two heartbeats", SOON, async || (heartbeats(&env.db, &witness).await >= 2).then_some(()))
        .await;
    relay.stop().await;
    env.set("relay.heartbeat_interval", "0s");
    let relay = env.start("relay").await;
    relay.ready().await;
    let before = heartbeats(&env.db, &witness).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(heartbeats(&env.db, &witness).await, before);
    relay.stop().await;
    execute(&env.db, &format!("SELECT pg_drop_replication_slot('{witness}')")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_moved_and_deleted_while_the_slot_was_lost_end_as_in_postgresql() {
    let env = TestEnv::new("relay_lost_changes").await;
    insert(&env.db, 300, 300).await;
    let relay = env.start("relay").await;
    let processor = env.start("stream-processor").await;
    let sink = env.start("cassandra-sink").await;
    relay.ready().await;
    stages::become_equal(&env, SOON).await;
    relay.stop().await;
    execute(&env.db, &format!("SELECT pg_drop_replication_slot('{}')", env.name())).await;
    execute(
        &env.db,
        "CREATE TABLE numbered AS SELECT row_number() OVER (ORDER BY id) AS n, id, users AS row FROM users; \
         UPDATE users SET nat = 'NO' WHERE id IN (SELECT id FROM numbered WHERE n <= 60); \
         UPDATE users SET registered_at = '2021-05-05' WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 41 AND 90); \
         UPDATE users SET email = 'b@example.com' WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 81 AND 120); \
         DELETE FROM users WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 121 AND 200); \
         INSERT INTO users SELECT (row).* FROM numbered WHERE n BETWEEN 181 AND 200; \
         UPDATE users SET nat = 'SE' WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 191 AND 200)",
    )
    .await;
    insert(&env.db, 50, 50).await;
    resnapshot(&env).await;
    // What the new slot has: rows that were moved are moved on and back, those that were deleted are inserted again.
    execute(
        &env.db,
        "UPDATE users SET nat = 'FI' WHERE id IN (SELECT id FROM numbered WHERE n <= 20); \
         UPDATE users SET nat = 'DK' WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 21 AND 30); \
         DELETE FROM users WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 31 AND 40); \
         INSERT INTO users SELECT (row).* FROM numbered WHERE n BETWEEN 121 AND 140; \
         UPDATE users SET nat = 'IS' WHERE id IN (SELECT id FROM numbered WHERE n BETWEEN 131 AND 140)",
    )
    .await;
    relay.restart().await;
    relay.ready().await;
    stages::become_equal(&env, SOON).await;
    // A reader would notice if something were missing at the seam.
    assert_continuous(env.raw_topic(), &env.records(env.raw_topic()).await);
    drop((processor, sink));
}

/// Every key that was read from the table by a snapshot.
async fn snapshotted(env: &TestEnv) -> BTreeSet<String> {
    let mut decoder = env.decoder();
    let mut found = BTreeSet::new();
    for record in env.records(env.raw_topic()).await {
        let Some(value) = record.value else { continue };
        if decoder.decode(&value).await["__op"] == Value::String("r".to_owned()) {
            found.insert(record.key.unwrap());
        }
    }
    found
}

async fn resnapshot(env: &TestEnv) {
    let output = env.run("relay", &["resnapshot"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_slot_is_explained_and_resnapshot_publishes_every_row_again() {
    let env = TestEnv::new("relay_dropped").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env.db, 100, 10).await;
    until_count(&env, 100).await;
    let refused = env.run("relay", &["resnapshot"]);
    assert!(!refused.status.success(), "a relay works");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop that relay first"));
    relay.stop().await;

    execute(&env.db, &format!("SELECT pg_drop_replication_slot('{}')", env.name())).await;
    insert(&env.db, 50, 10).await;
    relay.restart().await;
    assert_eq!(relay.exited().await, "exit status: 1");
    let log = relay.log();
    assert!(log.contains("does not exist") && log.contains("relay resnapshot"), "{log}");

    resnapshot(&env).await;
    relay.restart().await;
    relay.ready().await;
    insert(&env.db, 10, 10).await;
    let everything = ids(&env.db).await;
    wait::until("every row", SOON, async || {
        (keys(&env.records(env.raw_topic()).await) == everything).then_some(())
    })
    .await;
    assert_eq!(snapshotted(&env).await.len(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidated_slot_is_explained_and_resnapshot_publishes_every_row_again() {
    let settings = [("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
    let (server, env) = on_its_own_server("relay_invalidated", &settings).await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env.db, 100, 10).await;
    until_count(&env, 100).await;
    relay.stop().await;

    insert(&env.db, 50, 10).await;
    let status = "SELECT wal_status FROM pg_replication_slots";
    wait::until("the slot is lost", SOON, async || {
        execute(&env.db, "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 4000000))").await;
        execute(&env.db, "SELECT pg_switch_wal()").await;
        execute(&env.db, "CHECKPOINT").await;
        let status: String = sqlx::query_scalar(status).fetch_one(&env.db).await.unwrap();
        (status == "lost").then_some(())
    })
    .await;
    relay.restart().await;
    assert_eq!(relay.exited().await, "exit status: 1");
    let log = relay.log();
    assert!(log.contains("is invalidated") && log.contains("relay resnapshot"), "{log}");

    resnapshot(&env).await;
    relay.restart().await;
    relay.ready().await;
    wait::until_equal("every row", Duration::from_secs(60), ids(&env.db).await, async || {
        snapshotted(&env).await
    })
    .await;
    relay.stop().await;
    env.db.close().await;
    server.shutdown().await.unwrap();
}
