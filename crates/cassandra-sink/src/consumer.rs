//! The consumer's thread: polls Kafka whatever Cassandra and the brokers do, and hands batches to the writer.
//!
//! While the queue is full the partitions are paused and polling goes on, so the group never takes this process for
//! dead; what is in memory stays bounded. What waits for a broker's answer, commits and questions, has a thread of
//! its own ([`group`]).

mod context;
mod group;
mod seen;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kafka::context::Throttle;
use kafka::sequence::{self, Verdict, Watch};
use kafka::{KafkaConfig, rebalance};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::Offset;
use service::health::Component;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::config::SinkConfig;
use crate::offsets::{End, Offsets, Position};
use crate::record::{BATCH_BYTES, BATCH_RECORDS, Batch, Record};
use context::GroupContext;
use group::Keeper;

/// How long a poll waits for a record; bounds how late a shutdown is seen.
const POLL: Duration = Duration::from_millis(100);
/// How long a full queue is waited for before the partitions are paused. Pausing throws away what was fetched ahead,
/// so it is not worth it for the moments in which the writer is merely the slower one.
const QUEUE_PATIENCE: Duration = Duration::from_millis(500);
/// Records, of all partitions, between the first that has not ended and the newest one: about 10 MB of what is known
/// of each. Reading pauses at that many.
const MAX_UNFINISHED: usize = 100_000;
/// The partitions of a killed process are taken over after this.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last commit may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(2);

type GroupConsumer = BaseConsumer<GroupContext>;

/// The consumer can't go on.
#[derive(Debug, thiserror::Error)]
#[error("the Kafka consumer of group {group} failed: {step}")]
pub struct ConsumerError {
    group: String,
    step: &'static str,
    source: KafkaError,
}

/// What the consumer's thread works with.
pub struct Poller {
    /// How it is configured.
    pub config: SinkConfig,
    /// How Kafka is reached.
    pub kafka: KafkaConfig,
    /// What was read and written.
    pub offsets: Arc<Offsets>,
    /// Where records go.
    pub queue: mpsc::Sender<Batch>,
    /// What `/readyz` calls Kafka.
    pub component: Component,
    /// What `/readyz` says of missing records.
    pub continuity: Component,
    /// When to stop.
    pub shutdown: CancellationToken,
    /// For waiting on the queue.
    pub runtime: Handle,
}

/// The state of one consumer.
struct Polling<'p> {
    poller: &'p Poller,
    consumer: &'p GroupConsumer,
    batch: Batch,
    bytes: usize,
    /// A batch that found the queue full.
    held: Option<Batch>,
    paused: bool,
    settled_at: Instant,
    log: Throttle,
    watch: Watch,
}

impl Poller {
    /// Polls until the shutdown, then drains, commits and leaves the group. Blocks its thread.
    ///
    /// # Errors
    /// librdkafka does not take the configuration, or the consumer failed for good.
    pub fn run(self) -> Result<(), ConsumerError> {
        let group = &self.config.group;
        let failed = |step| move |source| ConsumerError { group: group.clone(), step, source };
        let consumer = Arc::new(self.consumer().map_err(failed("creation"))?);
        consumer.subscribe(&[&self.config.source_topic]).map_err(failed("subscription"))?;
        // Dropped when polling ends, which ends the other thread, at once unless it waits for a broker that hangs.
        let (polling, ended) = std::sync::mpsc::channel::<()>();
        let (ending, kept) = std::sync::mpsc::channel::<()>();
        let keeper = Keeper {
            config: self.config.clone(),
            offsets: Arc::clone(&self.offsets),
            component: self.component.clone(),
            consumer: Arc::clone(&consumer),
        };
        std::thread::spawn(move || {
            keeper.keep(&ended);
            // First, so that the group is left on the thread that waits for this one.
            drop(keeper);
            drop(ending);
        });
        let outcome = Polling::new(&self, &consumer).run();
        drop(polling);
        self.leave(consumer, &kept);
        outcome.map_err(failed("polling"))
    }

    fn consumer(&self) -> Result<GroupConsumer, KafkaError> {
        let heartbeat = rebalance::heartbeat_ms(SESSION_TIMEOUT);
        let session_timeout = SESSION_TIMEOUT.as_millis().to_string();
        let settings = [
            ("group.id", self.config.group.as_str()),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            // A process that joins or leaves takes or frees its share only; the other partitions are written on.
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", &session_timeout),
            ("heartbeat.interval.ms", &heartbeat),
            // Also how long an answer to a request to join is waited for, where the network has lost it.
            ("max.poll.interval.ms", "60000"),
            // Compressed, for each partition: what compresses well takes many times that in memory.
            ("fetch.message.max.bytes", "262144"),
            ("queued.min.messages", "10000"),
            ("queued.max.messages.kbytes", "4096"),
            // The default waits a second once that much is queued.
            ("fetch.queue.backoff.ms", "10"),
        ];
        let watch = Watch::new(crate::HOP, &self.config.source_topic);
        let context = GroupContext::new(Arc::clone(&self.offsets), self.config.drain_timeout, watch);
        self.kafka.client(crate::SERVICE, &settings).create_with_context(context)
    }

    /// Ends what is in flight, commits and leaves the group. Each step is bounded, also while the brokers are away.
    fn leave(&self, consumer: Arc<GroupConsumer>, kept: &Receiver<()>) {
        consumer.context().leaving.store(true, Ordering::Relaxed);
        let ours: Vec<i32> = self.offsets.partitions().iter().map(|(partition, ..)| *partition).collect();
        let last = self.offsets.give_up(&ours, self.config.drain_timeout);
        if kept.recv_timeout(COMMIT_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the brokers do not answer; what was not committed will be repeated");
            return;
        }
        if !last.is_empty() && !self.commit_in_time(&consumer, last) {
            // Without the brokers, leaving would not end either; the process does.
            return;
        }
        drop(consumer);
    }

    fn commit_in_time(&self, consumer: &Arc<GroupConsumer>, last: Vec<Position>) -> bool {
        let (done, committed) = std::sync::mpsc::channel();
        let (consumer, topic) = (Arc::clone(consumer), self.config.source_topic.clone());
        std::thread::spawn(move || {
            let outcome = group::commit(&consumer, &topic, &last);
            // First, so that the group is left on the thread that waits for it.
            drop(consumer);
            done.send(outcome)
        });
        match committed.recv_timeout(COMMIT_PATIENCE) {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the last position could not be committed; its records will be repeated");
                true
            }
            Err(_) => {
                tracing::warn!(
                    "the brokers did not take the last position in time; its records will be repeated"
                );
                false
            }
        }
    }
}

impl<'p> Polling<'p> {
    fn new(poller: &'p Poller, consumer: &'p GroupConsumer) -> Self {
        Self {
            poller,
            consumer,
            batch: Batch::new(),
            bytes: 0,
            held: None,
            paused: false,
            settled_at: Instant::now(),
            log: Throttle::default(),
            watch: Watch::new(crate::HOP, &poller.config.source_topic),
        }
    }

    fn run(mut self) -> Result<(), KafkaError> {
        while !self.poller.shutdown.is_cancelled() {
            self.learn_what_was_seen();
            let mut patience = POLL;
            while let Some(polled) = self.consumer.poll(patience) {
                match polled {
                    Ok(message) if self.take(&message) => {}
                    // Nothing is read, handed over or settled any more: that would pass the record.
                    Ok(_) => return Ok(()),
                    Err(error) => self.report(error)?,
                }
                if self.batch.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES || self.held.is_some() {
                    break;
                }
                patience = Duration::ZERO;
            }
            if !self.hand_over()? {
                break;
            }
            if self.settled_at.elapsed() >= self.poller.config.commit_interval {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// `false` if the record was not taken, since the shutdown came first.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> bool {
        if !self.know_what_was_seen() {
            return false;
        }
        let (partition, timestamp) = (message.partition(), message.timestamp().to_millis());
        let mark = sequence::read(message.headers());
        let repaired = mark.repaired.clone();
        let offsets = &self.poller.offsets;
        let Some((ticket, verdict)) = offsets.read(partition, message.offset(), timestamp, mark) else {
            return true;
        };
        match verdict {
            Verdict::Next => {}
            Verdict::Gap(gap) => self.watch.gap(partition, &gap),
            Verdict::Repeat => {
                self.watch.repeats(partition, 1);
                // Dropped, which is as good as written.
                if offsets.begin(&ticket) {
                    offsets.end(&ticket, End::Done);
                }
                return true;
            }
        }
        repaired.iter().for_each(|repaired| self.watch.repaired(partition, repaired));
        if verdict != Verdict::Next || !repaired.is_empty() {
            self.show_missing();
        }
        let record = Record::new(message, ticket);
        self.bytes += record.size();
        self.batch.push(record);
        true
    }

    /// Gives what was read to the writer; pauses while it has no room. `false` if the writer is gone.
    fn hand_over(&mut self) -> Result<bool, KafkaError> {
        let batch = match self.held.take() {
            Some(held) => held,
            None if self.batch.is_empty() => return Ok(true),
            None => {
                self.bytes = 0;
                let next = Batch::with_capacity(self.batch.len());
                std::mem::replace(&mut self.batch, next)
            }
        };
        // Behind a record that does not end, the others are kept until it does.
        if self.poller.offsets.unfinished() >= MAX_UNFINISHED {
            self.held = Some(batch);
            return self.pause().map(|()| true);
        }
        let batch = match self.poller.queue.try_send(batch) {
            Ok(()) => return self.resume().map(|()| true),
            Err(TrySendError::Closed(_)) => return Ok(false),
            Err(TrySendError::Full(batch)) => batch,
        };
        if !self.paused {
            let room = self.poller.queue.reserve();
            let room = async { tokio::time::timeout(QUEUE_PATIENCE, room).await };
            match self.poller.runtime.block_on(room) {
                Ok(Ok(room)) => {
                    room.send(batch);
                    return Ok(true);
                }
                Ok(Err(_)) => return Ok(false),
                Err(_) => {}
            }
        }
        self.held = Some(batch);
        self.pause()?;
        Ok(true)
    }

    /// Again and again while the queue is full, since partitions may be assigned meanwhile.
    fn pause(&mut self) -> Result<(), KafkaError> {
        self.paused = true;
        self.consumer.pause(&self.consumer.assignment()?)
    }

    fn resume(&mut self) -> Result<(), KafkaError> {
        if std::mem::take(&mut self.paused) {
            self.consumer.resume(&self.consumer.assignment()?)?;
        }
        Ok(())
    }

    /// The consumer's own position also passes what is no record: the markers of transactions. Only this thread may
    /// compare it, since only here everything that was handed out is known.
    fn settle(&mut self) -> Result<(), KafkaError> {
        self.settled_at = Instant::now();
        // Also of partitions that went.
        self.show_missing();
        for element in self.consumer.position()?.elements() {
            if let Offset::Offset(position) = element.offset() {
                self.poller.offsets.settle(element.partition(), position);
            }
        }
        Ok(())
    }

    /// Everything but a fatal error passes by itself or by somebody's doing; librdkafka goes on trying.
    fn report(&self, error: KafkaError) -> Result<(), KafkaError> {
        let code = match error {
            KafkaError::MessageConsumptionFatal(_) => return Err(error),
            ref other => other.rdkafka_error_code(),
        };
        if let Some(held_back) = self.log.pass() {
            tracing::warn!(%error, held_back, "Kafka consumer");
        }
        match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.poller.component.waiting("Kafka: no broker answers")
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication,
            ) => self.poller.component.waiting(format!("Kafka: {error}; check the user and its rights")),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                let topic = &self.poller.config.source_topic;
                self.poller
                    .component
                    .waiting(format!("Kafka: topic {topic} does not exist; `pipeline migrate` makes it"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
