//! A steady stream of small transactions: from the commit to a reader of the topic.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pipeline_tests::TestEnv;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::JoinSet;

use super::Scenario;
use super::catch_up::RELAY;
use crate::Result;
use crate::measure::{Usage, quantile};
use crate::peers::debezium::{self, Debezium, Snapshot, Tuning};
use crate::report::{Bound, Goal, PEAK, Sample};
use crate::topics;
use crate::world::World;

const P50: &str = "p50 ms";
const P99: &str = "p99 ms";
const MAX: &str = "max ms";
const CORES: &str = "cores";
const ROWS: &str = "committed rows/s";

/// Rows a second, a transaction each.
const RATE: u32 = 1000;

/// Sessions that write in turns, so that none waits for another's disk.
const WRITERS: u32 = 8;

/// What is not counted at the beginning: compilers and caches warm up.
const WARM_UP: Duration = Duration::from_secs(10);

/// How long records may take to arrive after the last commit.
const PATIENCE: Duration = Duration::from_secs(20);

const PARTITIONS: i32 = 4;

/// The scenario.
pub(super) struct Latency;

/// Who streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Relay,
    Debezium,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Debezium => "Debezium tuned",
        })
    }
}

impl Scenario for Latency {
    type Contender = Contender;
    const NAME: &'static str = "latency";
    const TITLE: &'static str = "1,000 single-row transactions a second, from the commit's answer to a read_committed consumer, after 10 s of warm-up";
    const COLUMNS: &'static [&'static str] = &[P50, P99, MAX, CORES, PEAK, ROWS];
    const GOALS: &'static [Goal] = &[goal(P50, 1.0), goal(P99, 1.0), goal(CORES, 0.5)];

    fn contenders(&self) -> Vec<Contender> {
        vec![Contender::Relay, Contender::Debezium]
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Relay => RELAY.to_owned(),
            Contender::Debezium => debezium::settings(Tuning::Tuned),
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let env = Box::pin(TestEnv::on(world.stack, "latency")).await;
        let rows = world.stage(&env).await?;
        let sample = match contender {
            Contender::Relay => {
                let relay = env.start("relay").await;
                relay.ready().await;
                let pid = world.pid(relay.name())?;
                let sample = stream(world, &env, rows, pid, env.raw_topic()).await;
                relay.stop().await;
                sample?
            }
            Contender::Debezium => {
                let debezium = Debezium::new(world, &env, Tuning::Tuned, Snapshot::NoData).await?;
                topics::create(env.kafka_bootstrap(), &debezium.topic, PARTITIONS).await?;
                let pid = debezium.start().await?;
                debezium.streams(&env).await?;
                let sample = stream(world, &env, rows, pid, &debezium.topic).await;
                debezium.stop().await?;
                sample?
            }
        };
        world.discard(env).await?;
        Ok(sample)
    }
}

/// Writes all staged rows at the rate, and compares when each was committed and read.
async fn stream(
    world: &World,
    env: &TestEnv,
    rows: Vec<(i64, String)>,
    pid: u32,
    topic: &str,
) -> Result<Sample> {
    let reader = Reader::start(env.kafka_bootstrap(), topic)?;
    let ids: Vec<String> = rows.iter().map(|(_, id)| id.clone()).collect();
    let began = Instant::now() + Duration::from_millis(500);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut db = world.connect(env).await?;
        let turns: Vec<(u32, i64)> =
            (0_u32..).zip(&rows).map(|(turn, (number, _))| (turn, *number)).collect();
        writers.spawn(async move {
            let mut committed = Vec::new();
            for (turn, number) in turns.into_iter().filter(|(turn, _)| turn % WRITERS == writer) {
                tokio::time::sleep_until((began + Duration::from_secs(1) * turn / RATE).into()).await;
                sqlx::query(crate::world::STAGED_INSERT).bind(number).execute(&mut db).await?;
                committed.push((turn, Instant::now()));
            }
            Ok::<_, sqlx::Error>(committed)
        });
    }
    tokio::time::sleep_until((began + WARM_UP).into()).await;
    let (before, since) = (Usage::of(pid), Instant::now());
    let mut committed = Vec::new();
    while let Some(written) = writers.join_next().await {
        committed.extend(written??);
    }
    let (after, seconds) = (Usage::of(pid), since.elapsed().as_secs_f64());
    let read = reader.all(ids.len()).await?;
    let mut latencies = Vec::new();
    for (turn, at) in committed.into_iter().filter(|(_, at)| *at >= began + WARM_UP) {
        let id = ids.get(usize::try_from(turn)?).ok_or("a turn of no row")?;
        let seen = read.get(id).ok_or_else(|| format!("{id} was not read"))?;
        // The reader may be first: the commit's answer is still on its way.
        latencies.push(seen.saturating_duration_since(at).as_secs_f64() * 1000.0);
    }
    latencies.sort_by(f64::total_cmp);
    let at = |share| quantile(&latencies, share).ok_or("no latency was measured");
    Ok(Sample::from([
        (P50, at(0.5)?),
        (P99, at(0.99)?),
        (MAX, at(1.0)?),
        (CORES, (after.cpu_seconds - before.cpu_seconds) / seconds),
        (PEAK, after.peak_bytes as f64 / 1e6),
        (ROWS, latencies.len() as f64 / seconds),
    ]))
}

/// Notes when each key was first readable.
struct Reader {
    thread: tokio::task::JoinHandle<Result<HashMap<String, Instant>>>,
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
}

impl Reader {
    fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "bench")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "1")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = tokio::task::spawn_blocking(move || {
            let mut read = HashMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
                let (message, at) = (message?, Instant::now());
                // Debezium's key is a JSON object of the id.
                let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                let id = key.trim_start_matches("{\"id\":\"").trim_end_matches("\"}");
                read.entry(id.to_owned()).or_insert(at);
                count.store(read.len(), Ordering::Relaxed);
            }
            Ok(read)
        });
        Ok(Self { thread, stop, seen })
    }

    /// Waits for so many.
    async fn all(self, count: usize) -> Result<HashMap<String, Instant>> {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.load(Ordering::Relaxed) < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        self.thread.await?
    }
}

const fn goal(metric: &'static str, most: f64) -> Goal {
    Goal { ours: "relay", metric, peer: Some("Debezium tuned"), bound: Bound::AtMost(most) }
}
