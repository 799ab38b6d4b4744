//! Services and servers killed and stopped at random while rows are written, changed and deleted; afterwards every
//! stage is compared. `make chaos` runs it, with `CHAOS_SECONDS` and `CHAOS_SEED`: a seed gives the same faults.

// The faults are of use while it runs.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apache_avro::types::Value;
use local_servers::{CommitLogSync, Stack, StackConfig};
use pipeline_tests::records::Decoder;
use pipeline_tests::{Service, TestEnv, records, wait};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, PgPool};

use crate::deletes_and_order::{Row, change, expected, found, insert_known};

const USERS: usize = 500;
const CHANGES: usize = 4;
/// Two of each: a standby relay, and rebalances.
const SERVICES: [&str; 6] =
    ["relay", "relay", "stream-processor", "stream-processor", "cassandra-sink", "cassandra-sink"];
const SERVERS: [&str; 5] = ["postgres", "zookeeper", "kafka", "registry", "cassandra"];
/// How long a fault lasts.
const FAULT_MS: std::ops::Range<u64> = 200..12_000;
/// Between two faults.
const PEACE_MS: std::ops::Range<u64> = 500..8_000;
/// Within which everything catches up.
const QUIET: Duration = Duration::from_secs(240);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} = {text}")))
}

/// Writes transactions until told to stop. One whose connection breaks is committed or not: both are right.
async fn load(db: PgPool, seed: u64, stop: Arc<AtomicBool>, committed: Arc<AtomicU64>) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let count = random.random_range(1..=CHANGES);
        let changes: Vec<_> = (0..count).map(|_| change(&mut random, USERS)).collect();
        let transaction = format!("BEGIN; {}; COMMIT", changes.join("; "));
        match sqlx::raw_sql(AssertSqlSafe(transaction)).execute(&db).await {
            Ok(_) => _ = committed.fetch_add(1, Ordering::Relaxed),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One process under fault; gives what was done.
async fn hurt(stack: &Stack, name: &str, random: &mut StdRng) -> &'static str {
    if random.random_bool(0.6) {
        stack.kill(name).await.unwrap();
        "killed"
    } else {
        stack.pause(name).unwrap();
        "stopped"
    }
}

async fn heal(stack: &Stack, name: &str, how: &str) {
    if how == "killed" {
        // A server that waits for another one that is away takes its time.
        wait::until(&format!("{name} starts again"), QUIET, async || stack.restart(name).await.ok()).await;
    } else {
        stack.resume(name).unwrap();
    }
}

/// Injects faults, one or two at once, until the time is over.
async fn faults(stack: &Stack, services: &[Service], seed: u64, lasting: Duration) -> BTreeMap<String, u32> {
    let mut random = StdRng::seed_from_u64(seed);
    let names: Vec<&str> = services.iter().map(Service::name).chain(SERVERS).collect();
    let mut done: BTreeMap<String, u32> = BTreeMap::new();
    let began = Instant::now();
    while began.elapsed() < lasting {
        let at_once = if random.random_bool(0.3) { 2 } else { 1 };
        let targets: Vec<&str> = names.sample(&mut random, at_once).copied().collect();
        let mut hurting = Vec::new();
        for name in targets {
            let how = hurt(stack, name, &mut random).await;
            println!("{:7.1} s  {name} {how}", began.elapsed().as_secs_f64());
            *done.entry(format!("{} {how}", name.split('.').nth(1).unwrap_or(name))).or_default() += 1;
            hurting.push((name, how));
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(FAULT_MS))).await;
        for (name, how) in hurting {
            heal(stack, name, how).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(PEACE_MS))).await;
    }
    done
}

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

async fn histories(stack: &Stack, env: &TestEnv, topic: &str, country: &str) -> BTreeMap<String, History> {
    let (bootstrap, name) = (stack.kafka_bootstrap(), topic.to_owned());
    let records = tokio::task::spawn_blocking(move || records::read_all(&bootstrap, &name)).await.unwrap();
    let mut decoder: Decoder = env.decoder();
    let mut found: BTreeMap<String, History> = BTreeMap::new();
    for record in records {
        let history = found.entry(record.key.unwrap()).or_default();
        let Some(value) = record.value else {
            history.tombstones += 1;
            continue;
        };
        let mut fields = decoder.decode(&value).await;
        let Value::Long(lsn) = fields["__lsn"] else { panic!("{fields:?}") };
        let Value::String(op) = fields["__op"].clone() else { panic!("{fields:?}") };
        let state = (fields.remove(country).unwrap(), fields.remove("email").unwrap());
        history.deletes += usize::from(op == "d");
        history.last = (op != "d").then_some(state);
        history.changes.push((lsn, op));
    }
    found
}

fn check(topic: &str, histories: &BTreeMap<String, History>, rows: &BTreeSet<Row>) {
    let state: BTreeMap<String, (Value, Value)> =
        histories.iter().filter_map(|(key, history)| Some((key.clone(), history.last.clone()?))).collect();
    let text = |text: &str| Value::String(text.to_owned());
    let wanted: BTreeMap<String, (Value, Value)> = rows
        .iter()
        .map(|(id, nat, _, email)| (id.to_string(), (text(nat), text(email.as_deref().unwrap()))))
        .collect();
    assert!(state == wanted, "{topic}, folded by key, is not PostgreSQL's table");
    for (key, history) in histories {
        let rises = history.changes.is_sorted_by(|(a, _), (b, _)| a < b);
        assert!(rises, "{topic}: a change of {key} is repeated or out of order: {:?}", history.changes);
        assert_eq!(history.tombstones, history.deletes, "{topic}: tombstones of {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos"]
async fn every_stage_is_equal_after_faults_at_random() {
    let (seconds, seed) = (setting("CHAOS_SECONDS", 180), setting("CHAOS_SEED", 1));
    println!("{seconds} s with seed {seed}");
    let mut config = StackConfig::on_free_ports(pipeline_tests::fresh_root("chaos")).unwrap();
    // As `pipeline up` and docker-compose.yml have it: what a node acknowledged must outlive its end.
    config.commit_log_sync = CommitLogSync::Group;
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(config).await.unwrap()));
    let mut env = TestEnv::on(stack, "chaos").await;
    insert_known(&env, USERS).await;
    let mut services = Vec::new();
    for (number, name) in SERVICES.into_iter().enumerate() {
        // Its default, the name of the host, is the same for all of them here.
        env.set("stream_processor.instance", format!("instance-{number}"));
        let started = env.start(name).await;
        // One of the relays stands by, and is never ready.
        if name != "relay" {
            started.ready().await;
        }
        services.push(started);
    }
    let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn(load(env.db.clone(), seed, Arc::clone(&stop), Arc::clone(&committed)));
    let done = faults(stack, &services, seed, Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();

    let began = Instant::now();
    let rows = expected(&env).await;
    let session = env.cassandra().await;
    for table in ["users_by_id", "users_by_country", "users_by_run"] {
        wait::until(&format!("{table} has PostgreSQL's rows"), QUIET, async || {
            (found(&session, table).await == rows).then_some(())
        })
        .await;
    }
    println!("caught up after {:.1} s", began.elapsed().as_secs_f64());
    let raw = histories(stack, &env, env.raw_topic(), "nat").await;
    let processed = histories(stack, &env, env.processed_topic(), "country").await;
    check(env.raw_topic(), &raw, &rows);
    check(env.processed_topic(), &processed, &rows);
    for (key, history) in &raw {
        assert_eq!(processed[key].changes, history.changes, "{key}");
    }
    for topic in [env.raw_topic(), env.processed_topic()] {
        assert_eq!(env.records(&format!("{topic}.dlq")).await, []);
    }
    let changes: usize = raw.values().map(|history| history.changes.len()).sum();
    println!(
        "{} transactions, {changes} changes, {} rows left",
        committed.load(Ordering::Relaxed),
        rows.len()
    );
    println!("0 lost, 0 repeated, 0 out of order; faults:");
    for (fault, count) in done {
        println!("{count:5}  {fault}");
    }
}
