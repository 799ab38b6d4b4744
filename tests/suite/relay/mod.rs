//! The relay between PostgreSQL and its topic: each committed change once, whatever is killed.

pub(crate) mod connections;
mod large;
mod meanwhile;
mod schema_evolution;
mod slot;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apache_avro::types::Value;
use futures::future::join_all;
use local_servers::{Server, Stack, StackConfig};
use pipeline_tests::wait::SOON;
use pipeline_tests::{Record, Service, TestEnv, wait};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// Inserts `count` users in transactions of at most `transaction` rows.
pub(crate) async fn insert(db: &PgPool, count: usize, transaction: usize) {
    sqlx::query("INSERT INTO fetch_runs (run_id, requested, seed, page_size) VALUES ('r', 1, 's', 1) ON CONFLICT DO NOTHING")
        .execute(db)
        .await
        .unwrap();
    let mut left = count;
    while left > 0 {
        let rows = left.min(transaction);
        let insert = "INSERT INTO users SELECT gen_random_uuid(), 'r', now(), 'DK', 'female', 'Ms', 'Åse', 'Dahl', n, \
             'Vej', 'Ribe', 'Syd', 'Denmark', '6760', 1.5, 2.5, '+1:00', 'x', 'a@example.com', 'aase', \
             '1980-01-01', '2020-01-01', '1', '2', NULL, NULL, 'l', 'm', 't' FROM generate_series(1, $1) n";
        sqlx::query(insert).bind(i32::try_from(rows).unwrap()).execute(db).await.unwrap();
        left -= rows;
    }
}

pub(crate) async fn execute(db: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap();
}

pub(crate) async fn ids(db: &PgPool) -> BTreeSet<String> {
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM users").fetch_all(db).await.unwrap();
    ids.into_iter().map(|id| id.to_string()).collect()
}

pub(crate) async fn until_count(env: &TestEnv, count: usize) -> Vec<Record> {
    let topic = env.raw_topic();
    wait::until_equal(topic, SOON, count, async || env.records(topic).await.len()).await;
    env.records(topic).await
}

pub(crate) fn keys(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|record| record.key.clone().unwrap()).collect()
}

/// A migrated environment whose database is alone on a PostgreSQL with these settings; for what would disturb others.
pub(crate) async fn on_its_own_server(name: &str, settings: &[(&str, &str)]) -> (Stack, TestEnv) {
    let mut config = StackConfig::on_free_ports(pipeline_tests::fresh_root(name)).unwrap();
    config.servers = vec![Server::Postgres];
    config.postgres_settings =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TestEnv::with_own(config, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_and_after_the_slot_arrive_once() {
    let env = TestEnv::new("relay_snapshot").await;
    insert(&env.db, 5_000, 5_000).await;
    let relay = env.start("relay").await;
    insert(&env.db, 5_000, 50).await;
    relay.ready().await;
    let records = until_count(&env, 10_000).await;
    assert_eq!(keys(&records), ids(&env.db).await);
    let mut decoder = env.decoder();
    let mut operations: BTreeMap<String, usize> = BTreeMap::new();
    for record in &records {
        let Value::String(op) = decoder.decode(record.value.as_ref().unwrap()).await["__op"].clone() else {
            panic!()
        };
        *operations.entry(op).or_default() += 1;
    }
    assert!(operations["r"] >= 5_000, "{operations:?}");
    assert_eq!(operations.values().sum::<usize>(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_repeats_and_loses_nothing() {
    let mut env = TestEnv::new("relay_killed").await;
    env.set("relay.max_transaction_records", 500);
    let relay = env.start("relay").await;
    relay.ready().await;
    for _ in 0..3 {
        insert(&env.db, 6_000, 2_000).await;
        relay.kill().await;
        relay.restart().await;
    }
    let records = until_count(&env, 18_000).await;
    assert_eq!(keys(&records), ids(&env.db).await);
    assert!(relay.stop().await < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_takes_over_from_a_killed_one() {
    let env = TestEnv::new("relay_standby").await;
    let first = env.start("relay").await;
    first.ready().await;
    let second = env.start("relay").await;
    insert(&env.db, 1_000, 100).await;
    until_count(&env, 1_000).await;
    assert_eq!(reqwest::get(second.url("/readyz")).await.unwrap().status(), 503, "it stands by");
    let killed = std::time::Instant::now();
    first.kill().await;
    second.ready().await;
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    insert(&env.db, 1_000, 100).await;
    assert_eq!(keys(&until_count(&env, 2_000).await), ids(&env.db).await);
}

/// One sees no slot, and then what the other has published through the slot that it has made meanwhile. Which of them is
/// how late differs from time to time, hence the repetitions.
#[tokio::test(flavor = "multi_thread")]
async fn relays_that_start_at_once_share_one_slot() {
    for round in 0..4 {
        let env = TestEnv::new(&format!("relay_at_once_{round}")).await;
        insert(&env.db, 500, 500).await;
        let relays = tokio::join!(env.start("relay"), env.start("relay"), env.start("relay"));
        until_count(&env, 500).await;
        // Each of them streams or stands by; one that has ended does neither.
        let relays = [&relays.0, &relays.1, &relays.2];
        wait::until("one streams and two stand by", Duration::from_secs(60), async || {
            let states = join_all(relays.map(Service::waiting)).await;
            let standbys = states.iter().flatten().filter(|waiting| waiting.to_string().contains("standby"));
            let ready = states.iter().flatten().filter(|waiting| *waiting == &serde_json::json!({}));
            (standbys.count() == 2 && ready.count() == 1).then_some(())
        })
        .await;
        insert(&env.db, 1_000, 100).await;
        assert_eq!(keys(&until_count(&env, 1_500).await), ids(&env.db).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_deletes_carry_what_the_sink_needs() {
    let env = TestEnv::new("relay_changes").await;
    insert(&env.db, 1, 1).await;
    let relay = env.start("relay").await;
    relay.ready().await;
    execute(&env.db, "UPDATE users SET email = 'b@example.com'").await;
    execute(&env.db, "UPDATE users SET nat = 'NO'").await;
    execute(&env.db, "DELETE FROM users").await;
    let records = until_count(&env, 5).await;
    let mut decoder = env.decoder();
    let mut values = Vec::new();
    for record in &records[..4] {
        values.push(decoder.decode(record.value.as_ref().unwrap()).await);
    }
    let op = |number: usize| values[number]["__op"].clone();
    assert_eq!([op(0), op(1), op(2), op(3)], ["r", "u", "u", "d"].map(|op| Value::String(op.to_owned())));
    assert_eq!(values[1]["__before"], Value::Null, "no column of the identity changed");
    let Value::Record(before) = &values[2]["__before"] else { panic!("{:?}", values[2]) };
    let nat = before.iter().find(|(name, _)| name == "nat").map(|(_, value)| value.clone());
    assert_eq!(nat, Some(Value::String("DK".to_owned())));
    assert_eq!(values[3]["nat"], Value::String("NO".to_owned()));
    assert_eq!(values[3]["email"], Value::Null);
    assert_eq!(records[4].value, None, "the tombstone");
    let lsns: Vec<i64> = values
        .iter()
        .map(|value| match value["__lsn"] {
            Value::Long(lsn) => lsn,
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert!(lsns.is_sorted_by(|a, b| a < b), "{lsns:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_added_while_streaming_is_the_next_version_of_the_schema() {
    let env = TestEnv::new("relay_add_column").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env.db, 1, 1).await;
    until_count(&env, 1).await;
    execute(&env.db, "ALTER TABLE users ADD COLUMN nickname text; UPDATE users SET nickname = 'å'").await;
    let records = until_count(&env, 2).await;
    let mut decoder = env.decoder();
    let first = decoder.decode(records[0].value.as_ref().unwrap()).await;
    let second = decoder.decode(records[1].value.as_ref().unwrap()).await;
    assert!(!first.contains_key("nickname"));
    assert_eq!(second["nickname"], Value::String("å".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_publication_is_waited_for_with_the_statement_that_makes_it() {
    let env = TestEnv::new("relay_publication").await;
    execute(&env.db, "DROP PUBLICATION datastreaming").await;
    let relay = env.start("relay").await;
    relay.waits_for("postgres", "CREATE PUBLICATION datastreaming").await;
    execute(&env.db, "CREATE PUBLICATION datastreaming FOR TABLE users").await;
    relay.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_replication_right_is_told_the_statement() {
    let mut env = TestEnv::new("relay_role").await;
    let role = format!("{}_weak", env.name());
    let password = pipeline_tests::servers().config().secrets.postgres.expose_secret().to_owned();
    execute(&env.db, &format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'")).await;
    env.set("postgres.user", role.as_str());
    let relay = env.start("relay").await;
    assert_eq!(relay.exited().await, "exit status: 1");
    let log = relay.log().replace('\\', "");
    assert!(log.contains(&format!("ALTER ROLE \"{role}\" REPLICATION")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_logical_wal_is_told_the_statement() {
    let mut config = StackConfig::on_free_ports(pipeline_tests::fresh_root("wal-level")).unwrap();
    config.servers = vec![Server::Postgres];
    config.postgres_settings = vec![("wal_level".to_owned(), "replica".to_owned())];
    let server = Stack::start(config).await.unwrap();
    let mut env = TestEnv::new("relay_wal_level").await;
    env.set("postgres.port", i64::from(server.config().ports.postgres)).set("postgres.database", "postgres");
    env.set_secret("PIPELINE__POSTGRES__PASSWORD", server.config().secrets.postgres.expose_secret());
    let relay = env.start("relay").await;
    assert_eq!(relay.exited().await, "exit status: 1");
    assert!(relay.log().contains("ALTER SYSTEM SET wal_level = 'logical'"), "{}", relay.log());
    server.shutdown().await.unwrap();
}
