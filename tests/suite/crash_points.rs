//! Each service ended at each place where a crash matters, with all four at work: every stage ends with the same
//! set, each record once, and the last values.

use std::time::Duration;

use pipeline_tests::env::TOKEN;
use pipeline_tests::{TestEnv, wait};
use randomuser_sim::{SimConfig, Simulator};
use serde_json::{Value, json};

use crate::continuity::assert_continuous;
use crate::deletes_and_order::{expected, found};
use crate::relay::execute;

const PATIENCE: Duration = Duration::from_secs(90);
const USERS: usize = 2_000;
const UPDATED: usize = 500;
const DELETED: usize = 200;
/// A delete is a record and a tombstone.
const RECORDS: usize = USERS + UPDATED + 2 * DELETED;

/// Everything runs, and `service` ends itself at `point`; then it is started again as it is.
async fn ended(service: &str, point: &str) {
    let sim = Simulator::bind(SimConfig::default()).await.unwrap();
    let mut env = TestEnv::new("crash").await;
    env.set("fetcher.api_url", sim.url()).set("fetcher.users_per_window", 0).set("fetcher.page_size", 250);
    env.set("relay.max_transaction_records", 500).set("stream_processor.max_batch_records", 200);
    let mut running = Vec::new();
    for name in ["fetcher", "relay", "stream-processor", "cassandra-sink"] {
        let started =
            if name == service { env.start_to_crash(name, point).await } else { env.start(name).await };
        started.ready().await;
        running.push((name, started));
    }
    let post = |url: String| {
        let body = json!({"run_id": "crash", "count": USERS});
        reqwest::Client::new().post(url).bearer_auth(TOKEN).json(&body).send()
    };
    // The answer may never come: that is what the run id is for.
    drop(post(running[0].1.url("/runs")).await);
    let at = running.iter().position(|(name, _)| *name == service).unwrap();
    assert!(running[at].1.exited().await.contains("SIGABRT"), "{}", running[at].1.log());
    running[at].1 = env.start(service).await;
    running[at].1.ready().await;

    assert!(post(running[0].1.url("/runs")).await.unwrap().status().is_success());
    let url = running[0].1.url("/runs/crash");
    wait::until("the run succeeds", PATIENCE, async || {
        let run: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
        (run["status"] == "succeeded").then_some(())
    })
    .await;
    for (limit, change) in [
        (UPDATED, "UPDATE users SET nat = 'XX', email = 'x@example.com' WHERE id IN"),
        (DELETED, "DELETE FROM users WHERE id IN"),
    ] {
        execute(&env.db, &format!("{change} (SELECT id FROM users ORDER BY id LIMIT {limit})")).await;
    }
    let rows = expected(&env).await;
    assert_eq!(rows.len(), USERS - DELETED);
    for topic in [env.raw_topic(), env.processed_topic()] {
        wait::until_equal(topic, PATIENCE, RECORDS, async || env.records(topic).await.len()).await;
        assert_eq!(env.records(&format!("{topic}.dlq")).await, []);
        assert_continuous(topic, &env.records(topic).await);
    }
    let session = env.cassandra().await;
    for table in ["users_by_id", "users_by_country", "users_by_run"] {
        wait::until(table, PATIENCE, async || (found(&session, table).await == rows).then_some(())).await;
    }
}

macro_rules! ended_at {
    ($($name:ident: $service:literal $point:literal,)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            ended($service, $point).await;
        }
    )+};
}

// The relay commits a few times before it is ready.
ended_at! {
    fetcher_before_the_commit_of_a_page: "fetcher" "fetcher.before_page_commit:3",
    fetcher_after_the_commit_of_a_page: "fetcher" "fetcher.after_page_commit:3",
    relay_before_a_record_is_produced: "relay" "relay.before_produce:1200",
    relay_after_a_record_is_produced: "relay" "relay.after_produce:1200",
    relay_before_a_transaction_is_committed: "relay" "relay.before_commit:5",
    relay_after_a_transaction_is_committed: "relay" "relay.after_commit:5",
    relay_after_postgresql_has_confirmed: "relay" "relay.after_feedback:3",
    processor_before_a_batch_is_produced: "stream-processor" "processor.before_produce:3",
    processor_before_the_offsets_are_sent: "stream-processor" "processor.before_offsets:3",
    processor_before_a_transaction_is_committed: "stream-processor" "processor.before_commit:3",
    processor_after_a_transaction_is_committed: "stream-processor" "processor.after_commit:3",
    sink_before_a_record_is_written: "cassandra-sink" "sink.before_write:700",
    sink_after_a_record_is_written: "cassandra-sink" "sink.after_write:700",
    sink_before_a_position_is_committed: "cassandra-sink" "sink.before_offset_commit:2",
    sink_after_a_position_is_committed: "cassandra-sink" "sink.after_offset_commit:1",
}
