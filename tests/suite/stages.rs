//! Whether every stage of the pipeline has the rows of PostgreSQL, and every change once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use apache_avro::types::Value;
use pipeline_tests::records::{self, Record};
use pipeline_tests::{TestEnv, wait};
use tokio::runtime::Handle;

use crate::deletes_and_order::{Row, expected, found};
use crate::relay::insert;

/// What a topic says of one key.
#[derive(Default)]
struct History {
    /// Position and kind of each change.
    changes: Vec<(i64, String)>,
    tombstones: usize,
    deletes: usize,
    /// Country and email after the last change; none if it was deleted.
    last: Option<(Value, Value)>,
}

/// What a topic says of each key; `country` is how it calls that column.
async fn histories(env: &TestEnv, topic: &str, country: &'static str) -> BTreeMap<String, History> {
    let (bootstrap, topic, mut decoder) = (env.kafka_bootstrap().to_owned(), topic.to_owned(), env.decoder());
    let read = move || {
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        records::read_each(&bootstrap, &topic, |Record { key, value, .. }| {
            let history = histories.entry(key.unwrap()).or_default();
            match value {
                None => history.tombstones += 1,
                Some(value) => history.add(Handle::current().block_on(decoder.decode(&value)), country),
            }
        });
        histories
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

impl History {
    fn add(&mut self, mut fields: BTreeMap<String, Value>, country: &str) {
        let Value::Long(lsn) = fields["__lsn"] else { panic!("{fields:?}") };
        let Value::String(op) = fields["__op"].clone() else { panic!("{fields:?}") };
        let state = (fields.remove(country).unwrap(), fields.remove("email").unwrap());
        self.deletes += usize::from(op == "d");
        self.last = (op != "d").then_some(state);
        self.changes.push((lsn, op));
    }
}

fn check(topic: &str, histories: &BTreeMap<String, History>, rows: &BTreeSet<Row>) {
    let state: BTreeMap<&str, &(Value, Value)> =
        histories.iter().filter_map(|(key, history)| Some((&**key, history.last.as_ref()?))).collect();
    let text = |text: &str| Value::String(text.to_owned());
    let wanted: BTreeMap<String, (Value, Value)> = rows
        .iter()
        .map(|(id, nat, _, email)| (id.to_string(), (text(nat), text(email.as_deref().unwrap()))))
        .collect();
    let wanted: BTreeMap<&str, &(Value, Value)> = wanted.iter().map(|(key, state)| (&**key, state)).collect();
    assert!(state == wanted, "{topic}, folded by key, is not PostgreSQL's table");
    for (key, history) in histories {
        let rises = history.changes.is_sorted_by(|(a, _), (b, _)| a < b);
        assert!(rises, "{topic}: a change of {key} is repeated or out of order: {:?}", history.changes);
        assert_eq!(history.tombstones, history.deletes, "{topic}: tombstones of {key}");
    }
}

/// Waits until the raw topic has everything that is committed by now, then compares it, folded by key, with the table.
/// How many changes of each kind it has.
///
/// # Panics
/// If it is not there within `patience`, differs, or has a change twice or out of order.
pub(crate) async fn raw_becomes_equal(env: &TestEnv, patience: Duration) -> BTreeMap<String, usize> {
    // Changes come in the order of their commits, so that this one is the last.
    insert(&env.db, 1, 1).await;
    let last: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM users ORDER BY xmin::text::bigint DESC LIMIT 1")
            .fetch_one(&env.db)
            .await
            .unwrap();
    let last = last.to_string();
    let topic = env.raw_topic();
    wait::until("the last change", patience, async || {
        env.records(topic).await.iter().any(|record| record.key.as_ref() == Some(&last)).then_some(())
    })
    .await;
    let raw = histories(env, topic, "nat").await;
    check(topic, &raw, &expected(env).await);
    let mut kinds = BTreeMap::new();
    for (_, kind) in raw.values().flat_map(|history| &history.changes) {
        *kinds.entry(kind.clone()).or_default() += 1;
    }
    kinds
}

/// Waits until all Cassandra tables have PostgreSQL's rows, then compares both topics, folded by key, with them and
/// with each other, and makes sure that nothing is a dead letter. How long the wait was, and how many changes there
/// are.
///
/// # Panics
/// If a table does not catch up within `patience`, or a stage differs.
pub(crate) async fn become_equal(env: &TestEnv, patience: Duration) -> (Duration, usize) {
    let began = Instant::now();
    let rows = expected(env).await;
    let session = env.cassandra().await;
    for table in ["users_by_id", "users_by_country", "users_by_run"] {
        let what = format!("{table} has PostgreSQL's {} rows", rows.len());
        wait::until(&what, patience, async || (found(&session, table).await == rows).then_some(())).await;
    }
    let took = began.elapsed();
    let raw = histories(env, env.raw_topic(), "nat").await;
    let processed = histories(env, env.processed_topic(), "country").await;
    check(env.raw_topic(), &raw, &rows);
    check(env.processed_topic(), &processed, &rows);
    for (key, history) in &raw {
        assert_eq!(processed[key].changes, history.changes, "{key}");
    }
    for topic in [env.raw_topic(), env.processed_topic()] {
        assert_eq!(env.records(&format!("{topic}.dlq")).await, []);
    }
    (took, raw.values().map(|history| history.changes.len()).sum())
}
