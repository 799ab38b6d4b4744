//! Each service ended at each place where a crash matters, with all four at work: every stage ends with the same
//! rows in every column, and each change once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pipeline_tests::env::TOKEN;
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use randomuser_sim::{SimConfig, Simulator};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::deletes_and_order::{change, insert_known};
use crate::processor::continuity::assert_continuous;
use crate::stages::become_equal;

/// Fetched while it happens.
const USERS: usize = 2_000;
/// Changed, moved, deleted and inserted again while it happens.
const KNOWN: usize = 100;
const SEED: u64 = 5;
/// Changes in one transaction, and between two of them.
const CHANGES: usize = 4;
/// Transactions at least, however slow the machine.
const TRANSACTIONS: usize = 60;
const PAUSE: Duration = Duration::from_millis(5);

/// The load of changes.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    transactions: AtomicUsize,
}

impl Load {
    /// Transactions until told to stop.
    async fn run(&self, db: PgPool) {
        let mut random = StdRng::seed_from_u64(SEED);
        while !self.stop.load(Ordering::Relaxed) {
            let changes: Vec<_> = (0..CHANGES).map(|_| change(&mut random, KNOWN)).collect();
            sqlx::raw_sql(AssertSqlSafe(changes.join("; "))).execute(&db).await.unwrap();
            self.transactions.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Everything runs, and `service` ends itself at `point`; then it is started again as it is.
async fn ended(service: &str, point: &str) {
    let sim = Simulator::bind(SimConfig::default()).await.unwrap();
    let mut env = TestEnv::new("crash").await;
    env.set("fetcher.api_url", sim.url()).set("fetcher.users_per_window", 0).set("fetcher.page_size", 250);
    env.set("relay.max_transaction_records", 500).set("stream_processor.max_batch_records", 200);
    let mut running = Vec::new();
    for name in ["fetcher", "relay", "stream-processor", "cassandra-sink"] {
        let started = env.start(name).await;
        started.ready().await;
        running.push((name, started));
    }
    insert_known(&env, KNOWN).await;
    become_equal(&env, SOON).await;
    // Armed only now, so that it ends while there are changes of all kinds.
    let at = running.iter().position(|(name, _)| *name == service).unwrap();
    running[at].1.stop().await;
    running[at].1 = env.start_to_crash(service, point).await;
    running[at].1.ready().await;

    let load = Arc::new(Load::default());
    let (changes, db) = (Arc::clone(&load), env.db.clone());
    let changing = tokio::spawn(async move { changes.run(db).await });
    let post = |url: String| {
        let body = json!({"run_id": "crash", "count": USERS});
        reqwest::Client::new().post(url).bearer_auth(TOKEN).json(&body).send()
    };
    // The answer may never come: that is what the run id is for.
    drop(post(running[0].1.url("/runs")).await);
    assert!(running[at].1.exited().await.contains("SIGABRT"), "{}", running[at].1.log());
    running[at].1 = env.start(service).await;
    running[at].1.ready().await;

    assert!(post(running[0].1.url("/runs")).await.unwrap().status().is_success());
    let url = running[0].1.url("/runs/crash");
    wait::until("the run succeeds", SOON, async || {
        let run: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
        (run["status"] == "succeeded").then_some(())
    })
    .await;
    let transactions = || load.transactions.load(Ordering::Relaxed);
    wait::until("transactions", SOON, async || (transactions() >= TRANSACTIONS).then_some(())).await;
    load.stop.store(true, Ordering::Relaxed);
    changing.await.unwrap();
    let (_, changes) = become_equal(&env, SOON).await;
    assert!(changes > USERS + KNOWN + transactions(), "{} gave {changes}", transactions());
    for topic in [env.raw_topic(), env.processed_topic()] {
        assert_continuous(topic, &env.records(topic).await);
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
    relay_before_a_transaction_is_committed: "relay" "relay.before_commit:8",
    relay_after_a_transaction_is_committed: "relay" "relay.after_commit:8",
    relay_after_postgresql_has_confirmed: "relay" "relay.after_feedback:6",
    processor_before_a_batch_is_produced: "stream-processor" "processor.before_produce:5",
    processor_before_the_offsets_are_sent: "stream-processor" "processor.before_offsets:5",
    processor_before_a_transaction_is_committed: "stream-processor" "processor.before_commit:5",
    processor_after_a_transaction_is_committed: "stream-processor" "processor.after_commit:5",
    sink_before_a_record_is_written: "cassandra-sink" "sink.before_write:700",
    sink_after_a_record_is_written: "cassandra-sink" "sink.after_write:700",
    sink_before_a_position_is_committed: "cassandra-sink" "sink.before_offset_commit:2",
    sink_after_a_position_is_committed: "cassandra-sink" "sink.after_offset_commit:1",
}
