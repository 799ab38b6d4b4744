//! Changes of the same keys in quick succession end in the state of PostgreSQL, in every Cassandra table.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use scylla::client::session::Session;
use scylla::statement::Statement;
use uuid::Uuid;

use crate::relay::{execute, insert};
use crate::stages::become_equal;

const SEED: u64 = 20_261_124;
const USERS: usize = 100;
const TRANSACTIONS: usize = 600;
const CHANGES: usize = 4;
/// Runs `r0`, `r1` and so on.
const OTHER_RUNS: u32 = 3;
/// Rows that a node gives at once: some are large.
const PAGE: i32 = 500;

/// What all tables have: id, country, registration and an ordinary column.
pub(crate) type Row = (Uuid, String, DateTime<Utc>, Option<String>);

/// One change of one of the users; those that are parts of Cassandra's primary keys among them.
pub(crate) fn change(random: &mut StdRng, users: usize) -> String {
    let user = format!("id = (SELECT id FROM known WHERE n = {})", random.random_range(0..users));
    let number = random.random_range(1..1_000_000);
    match random.random_range(0..10) {
        0 => format!("DELETE FROM users WHERE {user}"),
        1 => format!(
            "INSERT INTO users SELECT (template).* FROM known WHERE {user} ON CONFLICT (id) DO NOTHING"
        ),
        2 => format!("UPDATE users SET nat = chr(65 + {number} % 26) || 'X' WHERE {user}"),
        3 => format!(
            "UPDATE users SET registered_at = '2020-01-15'::timestamptz + {number} * '1 min'::interval WHERE {user}"
        ),
        4 => format!("UPDATE users SET run_id = 'r{}' WHERE {user}", number % OTHER_RUNS),
        5 => format!("UPDATE users SET document_name = 'CPR', document_value = '{number}' WHERE {user}"),
        // Cassandra keeps milliseconds: for its tables this is sometimes a move and mostly none.
        6 => format!(
            "UPDATE users SET registered_at = registered_at + {} * '1 microsecond'::interval WHERE {user}",
            number % 700
        ),
        7 => {
            format!("UPDATE users SET registered_at = date_trunc('milliseconds', registered_at) WHERE {user}")
        }
        8 => format!("UPDATE users SET document_name = NULL, document_value = NULL WHERE {user}"),
        _ => format!("UPDATE users SET username = 'u{number}', email = 'u{number}@example.com' WHERE {user}"),
    }
}

/// Users that [`change`] changes, and can insert again, and the runs that they move between.
pub(crate) async fn insert_known(env: &TestEnv, users: usize) {
    // Failed ones: a fetcher would take others up.
    let runs = "INSERT INTO fetch_runs (run_id, requested, seed, page_size, status) SELECT run, 1, 's', 1, 'failed' FROM";
    execute(
        &env.db,
        &format!("{runs} (SELECT 'r' UNION SELECT 'r' || generate_series(0, {OTHER_RUNS} - 1)) r (run)"),
    )
    .await;
    insert(&env.db, users, users).await;
    execute(
        &env.db,
        "CREATE TABLE known AS SELECT row_number() OVER () - 1 AS n, id, users AS template FROM users",
    )
    .await;
}

pub(crate) async fn expected(env: &TestEnv) -> BTreeSet<Row> {
    // Cassandra keeps milliseconds.
    let rows: Vec<Row> =
        sqlx::query_as("SELECT id, nat, date_trunc('milliseconds', registered_at), email FROM users")
            .fetch_all(&env.db)
            .await
            .unwrap();
    rows.into_iter().collect()
}

/// Rows of a table. Asked again while the node refuses, which one that catches up may do.
pub(crate) async fn found(session: &Session, table: &str) -> BTreeSet<Row> {
    let query = format!("SELECT id, country, registered_at, email FROM {table}");
    let query = Statement::new(query).with_page_size(PAGE);
    let rows = async || {
        let rows = session.query_iter(query.clone(), ()).await.ok()?;
        rows.rows_stream::<Row>().unwrap().try_collect::<Vec<_>>().await.ok()
    };
    wait::until(&format!("the rows of {table}"), SOON, rows).await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_keys_deleted_inserted_and_moved_end_as_in_postgresql_in_every_table() {
    let env = TestEnv::new("deletes_and_order").await;
    insert_known(&env, USERS).await;
    let relay = env.start("relay").await;
    let processor = env.start("stream-processor").await;
    let sink = env.start("cassandra-sink").await;
    relay.ready().await;
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..TRANSACTIONS {
        let changes: Vec<_> =
            (0..random.random_range(1..=CHANGES)).map(|_| change(&mut random, USERS)).collect();
        execute(&env.db, &format!("BEGIN; {}; COMMIT", changes.join("; "))).await;
    }
    let expected = expected(&env).await;
    assert!(expected.len() > USERS / 4 && expected.len() < USERS, "{} users are left", expected.len());
    become_equal(&env, SOON).await;
    drop((processor, sink));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_moves_within_its_millisecond_leaves_the_row_where_it_is() {
    let env = TestEnv::new("below_a_millisecond").await;
    insert_known(&env, USERS).await;
    execute(
        &env.db,
        "UPDATE users SET registered_at = date_trunc('milliseconds', registered_at) + '0.25 ms'",
    )
    .await;
    let relay = env.start("relay").await;
    let (_processor, sink) = (env.start("stream-processor").await, env.start("cassandra-sink").await);
    relay.ready().await;
    let session = env.cassandra().await;
    let table = "users_by_country";
    wait::until_equal(table, SOON, expected(&env).await, async || found(&session, table).await).await;
    execute(
        &env.db,
        "UPDATE users SET registered_at = date_trunc('milliseconds', registered_at), email = 'moved@example.com'",
    )
    .await;
    let expected = expected(&env).await;
    assert_eq!(expected.len(), USERS);
    for table in ["users_by_id", "users_by_country", "users_by_run"] {
        wait::until_equal(table, SOON, expected.clone(), async || found(&session, table).await).await;
    }
    assert_eq!(sink.metric("pipeline_sink_writes_total", "delete").await, Some(0.0), "nothing has moved");
}
