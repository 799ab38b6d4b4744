//! The relay with a million rows: bounded memory, and no row lost or repeated when it is killed on the way.

use std::collections::HashSet;
use std::time::Duration;

use pipeline_tests::{Service, TestEnv, records, wait};
use uuid::Uuid;

use crate::relay::{execute, insert, on_its_own_server};

const MILLION: usize = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(600);
const MEMORY_BYTES: u64 = 150_000_000;

async fn published(relay: &Service) -> f64 {
    relay.metric("pipeline_relay_rows_total", "").await.unwrap_or_default()
}

/// The keys of the topic, and how many records have them.
async fn keys(env: &TestEnv) -> (HashSet<Uuid>, usize) {
    let (bootstrap, topic) = (pipeline_tests::servers().kafka_bootstrap(), env.raw_topic().to_owned());
    let read = move || {
        let (mut keys, mut count) = (HashSet::new(), 0);
        records::read_each(&bootstrap, &topic, |record| {
            keys.insert(record.key.unwrap().parse().unwrap());
            count += 1;
        });
        (keys, count)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn ids(env: &TestEnv) -> HashSet<Uuid> {
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM users").fetch_all(&env.db).await.unwrap();
    ids.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_million_rows_needs_less_than_150_megabytes() {
    // Where a transaction is open for long, no slot can be made: others would wait for it.
    let (server, env) = on_its_own_server("relay_large", &[]).await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env.db, MILLION, MILLION).await;
    let mut most = 0;
    wait::until("a million records", PATIENCE, async || {
        most = most.max(relay.resident_bytes());
        (published(&relay).await >= 1e6).then_some(())
    })
    .await;
    assert!(most > 0 && most < MEMORY_BYTES, "{most} bytes");
    let (keys, count) = keys(&env).await;
    assert_eq!(count, MILLION);
    assert!(keys == ids(&env).await);
    relay.stop().await;
    env.db.close().await;
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_million_rows_goes_on_after_kills_while_writes_go_on() {
    const WRITTEN_MEANWHILE: usize = 3_000;
    let env = TestEnv::new("relay_million").await;
    insert(&env.db, MILLION, 20_000).await;
    let relay = env.start("relay").await;
    for part in [0.2, 0.4] {
        wait::until("a part of the snapshot", PATIENCE, async || {
            (published(&relay).await >= part * 1e6).then_some(())
        })
        .await;
        relay.kill().await;
        insert(&env.db, WRITTEN_MEANWHILE / 2, 100).await;
        relay.restart().await;
    }
    let all = MILLION + WRITTEN_MEANWHILE;
    wait::until("the end of the snapshot", PATIENCE, async || {
        let response = reqwest::get(relay.url("/readyz")).await.ok()?;
        response.status().is_success().then_some(())
    })
    .await;
    let after_the_kills = published(&relay).await;
    assert!(after_the_kills < 0.8 * 1e6, "it began again: {after_the_kills} rows after the last kill");
    wait::until("every record", PATIENCE, async || (keys(&env).await.1 >= all).then_some(())).await;
    let (keys, count) = keys(&env).await;
    assert_eq!(count, all);
    assert!(keys == ids(&env).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_almost_a_megabyte_need_less_than_200_megabytes() {
    const ROWS: usize = 400;
    let env = TestEnv::new("relay_wide").await;
    execute(&env.db, "ALTER TABLE users ALTER street_name SET STORAGE EXTERNAL").await;
    insert(&env.db, ROWS, ROWS).await;
    let relay = env.start("relay").await;
    relay.ready().await;
    execute(&env.db, "UPDATE users SET street_name = repeat(md5(id::text), 28000)").await;
    let mut most = 0;
    wait::until("every wide row", PATIENCE, async || {
        most = most.max(relay.resident_bytes());
        (published(&relay).await >= 2.0 * ROWS as f64).then_some(())
    })
    .await;
    println!("{most} bytes at the most");
    assert!(most > 0 && most < 200_000_000, "{most} bytes");
}
