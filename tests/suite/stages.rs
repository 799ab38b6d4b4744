//! Whether every stage of the pipeline has the rows of PostgreSQL in every column, and every change once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use apache_avro::types::Value;
use pipeline_tests::records::{self, Record};
use pipeline_tests::{TestEnv, wait};
use serde_json::json;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::deletes_and_order::{expected, found};
use crate::relay::insert;
use crate::values::{self, Columns, OF_THE_CHANGE, TABLES};

/// Keys up to this number are of no row: `pipeline repair` leads its notes by them.
const OF_NOBODY: u128 = 1 << 32;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What a topic says of one key.
#[derive(Default)]
struct History {
    /// Position and kind of each change.
    changes: Vec<(i64, String)>,
    tombstones: usize,
    deletes: usize,
    /// Commit time of the last change, and the row after it; none if it was deleted.
    committed_at: i64,
    last: Option<Columns>,
}

/// What a topic says of each key.
async fn histories(env: &TestEnv, topic: &str) -> BTreeMap<String, History> {
    let (bootstrap, topic, mut decoder) = (env.kafka_bootstrap().to_owned(), topic.to_owned(), env.decoder());
    let read = move || {
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        records::read_each(&bootstrap, &topic, |Record { key, value, .. }| {
            let history = histories.entry(key.unwrap()).or_default();
            match value {
                None => history.tombstones += 1,
                Some(value) => history.add(Handle::current().block_on(decoder.decode(&value))),
            }
        });
        let of_nobody = |key: &str| Uuid::parse_str(key).is_ok_and(|key| key.as_u128() < OF_NOBODY);
        histories.retain(|key, _| !of_nobody(key));
        histories
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

impl History {
    fn add(&mut self, fields: BTreeMap<String, Value>) {
        let Value::Long(lsn) = fields["__lsn"] else { panic!("{fields:?}") };
        let Value::TimestampMicros(committed_at) = fields["__commit_ts"] else { panic!("{fields:?}") };
        let Value::String(op) = fields["__op"].clone() else { panic!("{fields:?}") };
        self.deletes += usize::from(op == "d");
        self.last = (op != "d").then(|| values::of_record(fields));
        self.committed_at = committed_at;
        self.changes.push((lsn, op));
    }
}

/// What a topic, folded by key, has not as the table has it.
fn differing_end(
    topic: &str,
    histories: &BTreeMap<String, History>,
    rows: &BTreeMap<String, Columns>,
) -> Option<String> {
    let living = histories.values().filter_map(|history| history.last.clone());
    let difference = values::difference(living.collect(), rows.values().cloned().collect())?;
    Some(format!("{topic}, folded by key: {difference}"))
}

fn check_history(topic: &str, histories: &BTreeMap<String, History>) {
    for (key, history) in histories {
        let rises = history.changes.is_sorted_by(|(a, _), (b, _)| a < b);
        assert!(rises, "{topic}: a change of {key} is repeated or out of order: {:?}", history.changes);
        assert_eq!(history.tombstones, history.deletes, "{topic}: tombstones of {key}");
    }
}

/// The first table of Cassandra that has not exactly what the transform makes of PostgreSQL's rows, in any column.
pub(crate) async fn differing_table(env: &TestEnv, patience: Duration) -> Option<String> {
    let (_, processed) = values::expected(env).await;
    let session = env.cassandra().await;
    for table in TABLES {
        let (mut names, mut rows) = values::found(&session, table, patience).await;
        for name in OF_THE_CHANGE {
            names.remove(name);
            rows.iter_mut().for_each(|row| _ = row.remove(name));
        }
        let wanted = processed.values().map(|row| values::of_table(row, &names)).collect();
        if let Some(difference) = values::difference(rows, wanted) {
            return Some(format!("{table}: {difference}"));
        }
    }
    None
}

/// Waits until all Cassandra tables have PostgreSQL's rows in every column. How long it was until they had them in
/// the columns that all tables have.
pub(crate) async fn tables_become_equal(env: &TestEnv, patience: Duration) -> Duration {
    let began = Instant::now();
    let rows = expected(env).await;
    let session = env.cassandra().await;
    // Cheaper to ask for again and again: some tests have many large rows.
    for table in TABLES {
        let what = format!("{table} has PostgreSQL's {} rows", rows.len());
        wait::until(&what, patience, async || (found(&session, table).await == rows).then_some(())).await;
    }
    let took = began.elapsed();
    wait::until_equal("a table that differs", patience, None, async || differing_table(env, patience).await)
        .await;
    took
}

/// What [`become_equal`] does but for the single changes: after a loss not all of them are there.
pub(crate) async fn end_equal(env: &TestEnv, patience: Duration) {
    tables_become_equal(env, patience).await;
    ends(env, false, patience).await;
}

/// What both topics say of each key once they end in PostgreSQL's rows, and Cassandra's rows are those of the last
/// changes; with `each`, once the second one has every change of the first.
async fn ends(env: &TestEnv, each: bool, patience: Duration) -> [BTreeMap<String, History>; 2] {
    let began = Instant::now();
    let histories = loop {
        // A change that changes nothing may still be on its way.
        match differing_topics(env, each, patience).await {
            Ok(histories) => break histories,
            Err(difference) => assert!(began.elapsed() < patience, "{difference}"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    for topic in [env.raw_topic(), env.processed_topic()] {
        assert_eq!(env.records(&format!("{topic}.dlq")).await, []);
    }
    histories
}

async fn differing_topics(
    env: &TestEnv,
    each: bool,
    patience: Duration,
) -> Result<[BTreeMap<String, History>; 2], String> {
    let (rows, made) = values::expected(env).await;
    let raw = histories(env, env.raw_topic()).await;
    let processed = histories(env, env.processed_topic()).await;
    let ends = [
        differing_end(env.raw_topic(), &raw, &rows),
        differing_end(env.processed_topic(), &processed, &made),
    ];
    if let Some(difference) = ends.into_iter().flatten().next() {
        return Err(difference);
    }
    if each {
        for (key, history) in &raw {
            let made = processed.get(key).map(|made| &made.changes);
            if made != Some(&history.changes) {
                return Err(format!("{key}: {:?} became {made:?}", history.changes));
            }
        }
    }
    let (_, rows) = values::found(&env.cassandra().await, "users_by_id", patience).await;
    for row in rows {
        let history = processed.get(row["id"].as_str().unwrap()).ok_or_else(|| format!("{row:?}"))?;
        let lsn = history.changes.iter().map(|(lsn, _)| *lsn).max().unwrap_or_default();
        let of_last = [lsn, history.committed_at.div_euclid(1000)].map(|number| json!(number as f64));
        if OF_THE_CHANGE.map(|name| &row[name]) != of_last.each_ref() {
            return Err(format!("{row:?} is not of the last change {of_last:?}"));
        }
    }
    Ok([raw, processed])
}

/// Waits until the raw topic has everything that is committed by now, then compares it, folded by key, with the table.
/// How many changes of each kind it has.
///
/// # Panics
/// If it is not there within `patience`, differs, or has a change twice or out of order.
pub(crate) async fn raw_becomes_equal(env: &TestEnv, patience: Duration) -> BTreeMap<String, usize> {
    // Changes come in the order of their commits, so that this one is the last.
    insert(&env.db, 1, 1).await;
    let last: Uuid = sqlx::query_scalar("SELECT id FROM users ORDER BY xmin::text::bigint DESC LIMIT 1")
        .fetch_one(&env.db)
        .await
        .unwrap();
    let last = last.to_string();
    let topic = env.raw_topic();
    wait::until("the last change", patience, async || {
        env.records(topic).await.iter().any(|record| record.key.as_ref() == Some(&last)).then_some(())
    })
    .await;
    let raw = histories(env, topic).await;
    check_history(topic, &raw);
    let (rows, _) = values::expected(env).await;
    assert_eq!(differing_end(topic, &raw, &rows), None);
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
    let took = tables_become_equal(env, patience).await;
    let [raw, processed] = ends(env, true, patience).await;
    check_history(env.raw_topic(), &raw);
    check_history(env.processed_topic(), &processed);
    (took, raw.values().map(|history| history.changes.len()).sum())
}
