//! What must not matter to the relay while changes are in flight: a takeover, a predecessor that wakes up, and kills
//! during the snapshot.

use pipeline_tests::wait::SOON;
use pipeline_tests::{Service, TestEnv, wait};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::processor::continuity::assert_continuous;
use crate::relay::insert;
use crate::stages;

/// One of each kind of change; a row that is there from the beginning stays there for the next round.
const CHANGES: &str = "UPDATE users SET email = 'n@example.com' WHERE id = (SELECT id FROM users ORDER BY random() LIMIT 1); \
     UPDATE users SET nat = chr(65 + (random() * 25)::int) || 'X' WHERE id = (SELECT id FROM users ORDER BY random() LIMIT 1); \
     UPDATE users SET id = gen_random_uuid() WHERE id = (SELECT id FROM users ORDER BY random() LIMIT 1); \
     DELETE FROM users WHERE id = (SELECT id FROM users ORDER BY random() LIMIT 1)";

/// Writes until it is told to stop.
struct Load {
    stop: CancellationToken,
    task: JoinHandle<usize>,
}

impl Load {
    fn begin(db: &PgPool) -> Self {
        let (db, stop) = (db.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut rounds = 0;
            while !stopped.is_cancelled() {
                insert(&db, 10, 10).await;
                sqlx::raw_sql(AssertSqlSafe(CHANGES)).execute(&db).await.unwrap();
                rounds += 1;
            }
            rounds
        });
        Self { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

async fn until_published(relay: &Service, rows: f64) {
    wait::until("some rows are published", SOON, async || {
        (relay.metric("pipeline_relay_rows_total", "").await? >= rows).then_some(())
    })
    .await;
}

async fn assert_equal(env: &TestEnv) {
    let kinds = stages::raw_becomes_equal(env, SOON).await;
    assert!(["c", "u", "d"].iter().all(|kind| kinds[*kind] > 0), "{kinds:?}");
    assert_continuous(env.raw_topic(), &env.records(env.raw_topic()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_with_changes_in_flight() {
    let env = TestEnv::new("relay_takeover").await;
    insert(&env.db, 500, 500).await;
    let mut active = env.start("relay").await;
    active.ready().await;
    let mut standby = env.start("relay").await;
    standby.waits_for("slot", "standby").await;
    let load = Load::begin(&env.db);
    for _ in 0..2 {
        until_published(&active, 1_000.0).await;
        active.kill().await;
        standby.ready().await;
        until_published(&standby, 1.0).await;
        active.restart().await;
        active.waits_for("slot", "standby").await;
        std::mem::swap(&mut active, &mut standby);
    }
    load.end().await;
    assert_equal(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_hung_until_another_took_over_changes_nothing_when_it_wakes_up() {
    let env = TestEnv::new("relay_fencing").await;
    insert(&env.db, 500, 500).await;
    let first = env.start("relay").await;
    first.ready().await;
    let second = env.start("relay").await;
    second.waits_for("slot", "standby").await;
    let load = Load::begin(&env.db);
    until_published(&first, 1_000.0).await;
    // Changes are read, sent, and not committed: there are some at any time.
    first.pause();
    second.ready().await;
    until_published(&second, 1_000.0).await;
    first.resume();
    first.waits_for("slot", "standby").await;
    until_published(&second, 2_000.0).await;
    // It is as good a standby as any.
    second.kill().await;
    first.ready().await;
    load.end().await;
    assert_equal(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_right_whatever_changes_during_the_copy_and_through_kills() {
    const ROWS: usize = 30_000;
    let mut env = TestEnv::new("relay_copy").await;
    insert(&env.db, ROWS, 20_000).await;
    env.set("relay.max_transaction_records", 500);
    let relay = env.start("relay").await;
    let load = Load::begin(&env.db);
    for _ in 0..2 {
        until_published(&relay, 5_000.0).await;
        let waiting = relay.waiting().await;
        assert!(waiting.as_ref().is_some_and(|parts| parts.get("snapshot").is_some()), "{waiting:?}");
        relay.kill().await;
        relay.restart().await;
    }
    wait::until("the end of the snapshot", SOON, async || {
        relay.waiting().await?.as_object()?.is_empty().then_some(())
    })
    .await;
    let during = load.end().await;
    assert!(during > 20, "{during} rounds are few for a copy that goes on meanwhile");
    assert_equal(&env).await;
}
