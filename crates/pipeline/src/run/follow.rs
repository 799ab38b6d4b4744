//! How far the profiles of a run have come, stage by stage, while it goes on.
//!
//! Both topics are read from where they ended before the trigger, by consumers that count the run's records; Cassandra
//! has them when the sink's group has committed past the last of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::Registry;
use events::meta::Op;
use kafka::{KafkaConfig, LoggedContext};
use operate::config::Settings;
use operate::offsets::{self, OffsetWatcher, TopicOffsets};
use operate::stamp::StampDecoder;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use service::{BoxError, error_chain};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The profiles of a run that each stage has.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// Whether a fetcher has taken the run up.
    pub(super) fetch_began: bool,
    pub(super) requested: Option<u64>,
    pub(super) fetched: u64,
    /// Rows in PostgreSQL, once all are.
    pub(super) stored: Option<u64>,
    pub(super) raw: u64,
    pub(super) processed: u64,
    /// About, since the sink's positions are committed now and then, and have markers of transactions among them.
    pub(super) written: u64,
    /// Whether the sink has committed past the last record that was seen.
    pub(super) sink_is_through: bool,
}

/// Records of the run that a consumer has seen.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    /// Offset of the last of them, by partition.
    last: BTreeMap<i32, i64>,
}

/// Everything is connected, and the positions before the run are known.
pub(super) struct Prepared {
    kafka: KafkaConfig,
    registry: Registry,
    pool: PgPool,
    topics: [(String, TopicOffsets); 2],
    sink: OffsetWatcher,
}

/// Follows one run; stops when dropped.
pub(super) struct Follower {
    pool: PgPool,
    run_id: String,
    raw: Arc<Mutex<Seen>>,
    processed: Arc<Mutex<Seen>>,
    sink: OffsetWatcher,
    sink_before: TopicOffsets,
    _stop: DropGuard,
}

impl Follower {
    /// To be called before the run is triggered.
    pub(super) async fn prepare(settings: &Settings) -> Result<Prepared, BoxError> {
        let [raw, processed] = settings.pipeline.data_topics();
        let raw_watcher = OffsetWatcher::new(&settings.kafka, raw, &settings.stream_processor.group)?;
        let sink = OffsetWatcher::new(&settings.kafka, processed, &settings.cassandra_sink.group)?;
        Ok(Prepared {
            kafka: settings.kafka.clone(),
            registry: Registry::new(&settings.registry)?,
            pool: pool(settings).await?,
            topics: [
                (raw.to_owned(), raw_watcher.offsets().await?),
                (processed.to_owned(), sink.offsets().await?),
            ],
            sink,
        })
    }

    /// The stages as they are now.
    pub(super) async fn look(&self) -> Result<Stages, BoxError> {
        let query = "SELECT status, requested, fetched, stored FROM fetch_runs WHERE run_id = $1";
        let run: Option<(String, i64, i64, i64)> =
            sqlx::query_as(query).bind(&self.run_id).fetch_optional(&self.pool).await?;
        let sink = self.sink.offsets().await?;
        let mut stages = Stages::default();
        if let Some((status, requested, fetched, stored)) = run {
            stages.fetch_began = status != "pending";
            stages.requested = u64::try_from(requested).ok();
            stages.fetched = fetched.unsigned_abs();
            stages.stored = (status == "succeeded").then(|| stored.unsigned_abs());
        }
        stages.raw = lock(&self.raw).records;
        let processed = lock(&self.processed);
        stages.processed = processed.records;
        stages.sink_is_through = processed.last.iter().all(|(partition, last)| {
            sink.get(partition).and_then(|at| at.committed).is_some_and(|committed| committed > *last)
        });
        let written = offsets::read(&self.sink_before, &sink).unsigned_abs();
        stages.written =
            if stages.sink_is_through { processed.records } else { written.min(processed.records) };
        Ok(stages)
    }
}

impl Prepared {
    /// Counts from now on.
    pub(super) fn start(self, run_id: &str) -> Follower {
        let stop = CancellationToken::new();
        let [(raw, raw_before), (processed, sink_before)] = self.topics;
        let count = |topic: &str, before: &TopicOffsets| {
            let seen = Arc::<Mutex<Seen>>::default();
            let counter = Counter {
                kafka: self.kafka.clone(),
                decoder: StampDecoder::new(self.registry.clone(), Handle::current()),
                run_id: run_id.to_owned(),
                seen: Arc::clone(&seen),
                stop: stop.clone(),
            };
            let (topic, before) = (topic.to_owned(), before.clone());
            tokio::task::spawn_blocking(move || {
                if let Err(error) = counter.count(&topic, &before) {
                    // The bars stand still then; the verification at the end does not depend on them.
                    tracing::warn!(topic, error = error_chain(error.as_ref()), "can't be followed");
                }
            });
            seen
        };
        Follower {
            raw: count(&raw, &raw_before),
            processed: count(&processed, &sink_before),
            pool: self.pool,
            run_id: run_id.to_owned(),
            sink: self.sink,
            sink_before,
            _stop: stop.drop_guard(),
        }
    }
}

/// Counts the run's records in one topic, on a thread of its own.
struct Counter {
    kafka: KafkaConfig,
    decoder: StampDecoder,
    run_id: String,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
}

impl Counter {
    fn count(mut self, topic: &str, before: &TopicOffsets) -> Result<(), BoxError> {
        let settings = [
            ("group.id", "pipeline-run"),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("fetch.wait.max.ms", "100"),
            ("queued.max.messages.kbytes", "8192"),
        ];
        let consumer: BaseConsumer<LoggedContext> =
            self.kafka.client("pipeline-run", &settings).create_with_context(LoggedContext::default())?;
        let mut assigned = TopicPartitionList::new();
        for (partition, position) in before {
            assigned.add_partition_offset(topic, *partition, Offset::Offset(position.high))?;
        }
        consumer.assign(&assigned)?;
        while !self.stop.is_cancelled() {
            let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let Some(value) = record.payload() else { continue };
            let Some(stamp) = self.decoder.decode(value)? else { continue };
            if stamp.run_id == self.run_id && stamp.op != Op::Delete.as_str() {
                let mut seen = lock(&self.seen);
                seen.records += 1;
                seen.last.insert(record.partition(), record.offset());
            }
        }
        Ok(())
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection is enough for what is asked here.
async fn pool(settings: &Settings) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new().max_connections(1).connect_with(settings.postgres_options()).await
}
