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

use super::Scenario;
use super::catch_up::RELAY;
use crate::Result;
use crate::load::Load;
use crate::measure::{Usage, quantile};
use crate::peers::debezium::{self, Debezium, Snapshot, Tuning};
use crate::report::{Bound, COMMITTED, CORES, Goal, MAX, P50, P99, PEAK, Sample};
use crate::topics;
use crate::world::World;

/// What is not counted at the beginning.
const WARM_UP: Duration = Duration::from_secs(10);

/// Half a minute of them, and in the short form.
const STAGED: usize = 30_000;
const QUICK_STAGED: usize = 15_000;

/// How long records may take to arrive after the last commit.
const PATIENCE: Duration = Duration::from_secs(20);

const PARTITIONS: i32 = 4;

/// The scenario.
#[derive(Default)]
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
    const COLUMNS: &'static [&'static str] = &[P50, P99, MAX, CORES, PEAK, COMMITTED];
    const PLOTS: &'static [&'static str] = &[P50, P99, CORES];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![goal(P50, 1.0), goal(P99, 1.0), goal(CORES, 0.5)]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        vec![Contender::Relay, Contender::Debezium]
    }

    fn is_ours(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Relay)
    }

    fn warms_up(&self, world: &World, _: Contender, _: bool) -> bool {
        world.warms_up
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Relay => RELAY.to_owned(),
            Contender::Debezium => debezium::settings(Tuning::Tuned),
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let env = Box::pin(TestEnv::on(world.stack, "latency")).await;
        let rows = world.stage(&env, if world.quick { QUICK_STAGED } else { STAGED }).await?;
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
    let mut load = Load::start(world, env, &rows, WARM_UP).await?;
    load.warmed_up().await;
    let (before, since) = (Usage::of(pid), Instant::now());
    let mut committed = Vec::new();
    while let Some(commit) = load.next().await {
        committed.push(commit);
    }
    load.ended().await?;
    let (after, seconds) = (Usage::of(pid), since.elapsed().as_secs_f64());
    let read = reader.all(ids.len()).await?;
    let mut latencies = Vec::new();
    for (number, at) in committed {
        let id = ids.get(number).ok_or("a commit of no row")?;
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
        (COMMITTED, latencies.len() as f64 / seconds),
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

fn goal(metric: &'static str, most: f64) -> Goal {
    Goal::beside("relay", metric, "Debezium tuned", Bound::AtMost(most))
}
