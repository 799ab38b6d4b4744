//! Membership of the processor's own consumer group: what keeps Spark and the processor from working at once.
//!
//! The processor's workers are members with the assignor [`exclusion::PROCESSOR`], the driver and every Python worker
//! of Spark with [`exclusion::SPARK`]. The brokers let no member in that knows none of the group's assignors, so a
//! group has members of one kind; and they take no offsets of who is no member of the group's present generation. So
//! an executor that stood still while its processor was started can't commit anything, whatever Spark believes.
//!
//! A member here reads nothing: whatever is assigned to it, it assigns itself no partition.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka::{LoggedContext, rebalance};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use stream_processor::config::Settings;
use stream_processor::exclusion;

use crate::error::SparkError;
use crate::plan::host;

/// Bound of one poll, and so of leaving the group.
const POLL: Duration = Duration::from_millis(100);
/// How long a join may take while nobody refuses it: others of the group join again first, and a broker may be away.
const JOIN: Duration = Duration::from_secs(60);
/// Bound of one question to the brokers.
const QUESTION: Duration = Duration::from_secs(8);

/// A member of the group, kept one by a thread that polls. Left when dropped.
pub(crate) struct Lease {
    consumer: Arc<BaseConsumer<Member>>,
    group: String,
    patience: Duration,
    stop: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

/// What happens to the membership. Callbacks run on the thread that polls.
#[derive(Default)]
pub(crate) struct Member {
    logged: LoggedContext,
    /// Odd while this process is a member; another number each time it becomes one.
    epoch: AtomicU64,
    refused: Mutex<Option<Instant>>,
}

impl Lease {
    /// Asks to join; [`Self::wait`] tells when it is done.
    pub(crate) fn new(settings: &Settings, role: &str) -> Result<Self, SparkError> {
        let config = &settings.processor;
        let session = config.session_timeout.as_millis().to_string();
        let heartbeat = rebalance::heartbeat_ms(config.session_timeout);
        let poll = config.session_timeout.max(Duration::from_secs(60)).as_millis().to_string();
        let client = settings.kafka.client(
            &format!("{}-spark-{role}-{}-{}", config.group, host(), std::process::id()),
            &[
                ("group.id", &config.group),
                ("session.timeout.ms", &session),
                ("heartbeat.interval.ms", &heartbeat),
                ("max.poll.interval.ms", &poll),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("isolation.level", "read_committed"),
                ("partition.assignment.strategy", exclusion::SPARK),
            ],
        );
        let failed = |source| SparkError::Positions { topic: config.source_topic.clone(), source };
        let consumer: BaseConsumer<Member> = client.create_with_context(Member::default()).map_err(failed)?;
        // The offsets of topics that no member subscribes to expire.
        consumer.subscribe(&[&config.source_topic]).map_err(failed)?;
        let (consumer, stop) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let poller = std::thread::spawn({
            let (consumer, stop) = (Arc::clone(&consumer), Arc::clone(&stop));
            move || poll_until(&consumer, &stop)
        });
        let patience = exclusion::patience(config.session_timeout);
        Ok(Self { consumer, group: config.group.clone(), patience, stop, poller: Some(poller) })
    }

    /// Waits until this process is a member: the number of this membership.
    pub(crate) fn wait(&self) -> Result<u64, SparkError> {
        let began = Instant::now();
        loop {
            if let Some(epoch) = self.epoch() {
                return Ok(epoch);
            }
            if let Some(refusal) = self.refusal() {
                return Err(refusal);
            }
            if began.elapsed() > JOIN {
                return Err(SparkError::NoMember { group: self.group.clone(), within: JOIN });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The number of the present membership; `None` while it is none.
    pub(crate) fn epoch(&self) -> Option<u64> {
        Some(self.consumer.context().epoch.load(Ordering::SeqCst)).filter(|epoch| epoch % 2 == 1)
    }

    /// Why this process can't be a member, once that has lasted longer than a member that died is one.
    pub(crate) fn refusal(&self) -> Option<SparkError> {
        let since = *self.consumer.context().refused();
        since.filter(|since| since.elapsed() > self.patience)?;
        Some(SparkError::Held(exclusion::held(&*self.consumer, &self.group, exclusion::Engine::Spark)))
    }

    /// What a transaction's offsets are sent with, of that membership only.
    pub(crate) fn metadata(&self, epoch: u64) -> Result<ConsumerGroupMetadata, SparkError> {
        let metadata = self.consumer.group_metadata();
        // In this order. A membership that is lost is marked so before librdkafka forgets its generation, and stays
        // marked until the callback has raised the epoch; without a generation the brokers would take any offsets.
        let lost = self.consumer.assignment_lost();
        metadata.filter(|_| !lost && self.epoch() == Some(epoch)).ok_or(SparkError::MembershipChanged)
    }

    /// To ask for positions with.
    pub(crate) fn consumer(&self) -> &BaseConsumer<Member> {
        &self.consumer
    }

    /// The group's position in each of these partitions, with its metadata. Waits for transactions whose outcome is
    /// open.
    pub(crate) fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<TopicPartitionList, SparkError> {
        let began = Instant::now();
        loop {
            let mut wanted = TopicPartitionList::new();
            for partition in partitions {
                wanted.add_partition(topic, *partition);
            }
            let found = self.consumer.committed_offsets(wanted, QUESTION).and_then(|found| {
                found.elements().iter().try_for_each(|element| element.error())?;
                Ok(found)
            });
            match found {
                Ok(found) => return Ok(found),
                Err(_) if began.elapsed() < JOIN => std::thread::sleep(POLL),
                Err(source) => return Err(SparkError::Positions { topic: topic.to_owned(), source }),
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(poller) = self.poller.take() {
            // A panic there was reported by its thread.
            drop(poller.join());
        }
    }
}

/// The last one to hold the consumer closes it, which leaves the group.
fn poll_until(consumer: &BaseConsumer<Member>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        match consumer.poll(POLL) {
            Some(Err(error))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InconsistentGroupProtocol) =>
            {
                consumer.context().refused().get_or_insert_with(Instant::now);
            }
            // librdkafka repairs it, and its log says what it is. No record comes: nothing is assigned.
            Some(_) | None => {}
        }
    }
}

impl Member {
    fn refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the assignment is touched, see [`Lease::metadata`].
    fn set_member(&self, member: bool) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        if (epoch % 2 == 1) != member {
            self.epoch.store(epoch + 1, Ordering::SeqCst);
        }
        if member {
            *self.refused() = None;
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logged.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, _: &mut TopicPartitionList) {
        self.set_member(false);
        let answered = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            consumer.assign(&TopicPartitionList::new())
        } else {
            consumer.unassign()
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "the group's assignment can't be answered");
        } else if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.set_member(true);
        }
    }
}
