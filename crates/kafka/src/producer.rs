//! A transactional producer whose failures say what must be done about them.
//!
//! Kafka's transactions can tear or lose writes when a producer goes on after an indefinite error (Jepsen's report
//! on Bufstream 0.1.0, 2024; closed on the broker's side by KIP-890). So after any failure the producer is thrown away:
//! a new one takes a new epoch, and unless the abort was clean, its user reads back what was committed. After a clean
//! abort, too: librdkafka 2.12 skips the sequence numbers of a batch that the brokers refused, and fails the next
//! transaction for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::config::KafkaConfig;
use crate::context::{LoggedContext, Refused};

/// Bound of one call to the broker: longer than a broker's restart, shorter than a shutdown's patience.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Bytes of one batch of a partition at the most, before it is compressed.
pub const BATCH_BYTES: usize = 256 << 10;

/// Between two looks for a delivery report.
const SERVE_PAUSE: Duration = Duration::from_micros(250);

/// The longest time in which a flush does not look for delivery reports, because earlier ones took longer.
const MAX_UNOBSERVED: Duration = Duration::from_millis(4);

/// How much longer than its bound a call may take to say that it is over.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing was committed: abort the transaction, and make a new producer, which can send the same again.
    Abort,
    /// Drop the producer, make a new one, and read back what was committed: the outcome is not known.
    Restart,
    /// Another producer with the same transactional id has taken over: stop at once, write nothing more.
    Fenced,
}

/// A step of a transaction that failed.
#[derive(Debug, thiserror::Error)]
#[error("Kafka transaction of {id}: {step} failed")]
pub struct TransactionError {
    id: String,
    step: &'static str,
    /// What follows.
    pub remedy: Remedy,
    source: Box<KafkaError>,
}

impl TransactionError {
    /// Kafka's code for it.
    #[must_use]
    pub fn code(&self) -> Option<RDKafkaErrorCode> {
        self.source.rdkafka_error_code()
    }
}

/// A producer with a transactional id, used from one thread.
pub struct TransactionalProducer {
    producer: Arc<BaseProducer<LoggedContext>>,
    id: String,
    /// How long a flush takes of late, in microseconds.
    flush_micros: AtomicU64,
}

impl TransactionalProducer {
    /// A producer that is not initialised yet. `settings` are librdkafka's, over the pipeline's own.
    ///
    /// `transaction_timeout` is when the broker aborts a transaction whose producer died: until then readers of the
    /// partition wait.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn new(
        kafka: &KafkaConfig,
        id: &str,
        transaction_timeout: Duration,
        settings: &[(&str, &str)],
    ) -> Result<Self, TransactionError> {
        let timeout = transaction_timeout.as_millis().to_string();
        let batch = BATCH_BYTES.to_string();
        let mut all = vec![
            ("transactional.id", id),
            ("transaction.timeout.ms", timeout.as_str()),
            // As Java clients place keys, so that topics can be joined and repartitioned by either.
            ("partitioner", "murmur2_random"),
            ("compression.type", "lz4"),
            ("linger.ms", "1"),
            ("batch.size", batch.as_str()),
            ("queue.buffering.max.kbytes", "16384"),
            // What was delivered is not looked at, and costs a call for each record.
            ("delivery.report.only.error", "true"),
        ];
        all.extend_from_slice(settings);
        let producer = kafka
            .client(id, &all)
            .create_with_context(LoggedContext::default())
            .map_err(|source| Self::failure(id, "creation", source))?;
        Ok(Self { producer: Arc::new(producer), id: id.to_owned(), flush_micros: AtomicU64::new(0) })
    }

    /// Connects to a broker, a moment before [`Self::init`]: that waits half a second if it finds no connection.
    ///
    /// # Errors
    /// The brokers are away.
    pub fn connect(&self) -> Result<(), TransactionError> {
        let metadata = self.producer.client().fetch_metadata(None, CALL_TIMEOUT);
        metadata.map(drop).map_err(|source| self.error("connection", source))
    }

    /// How many partitions a topic has. Blocks 8 s at the most.
    ///
    /// # Errors
    /// The brokers are away, or there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<i32, TransactionError> {
        let failed = |source| self.error("look at the topic", source);
        let metadata = self.producer.client().fetch_metadata(Some(topic), CALL_TIMEOUT).map_err(failed)?;
        let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
        match i32::try_from(count) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(failed(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))),
        }
    }

    /// Takes the transactional id over: fences its last holder, and waits until that one's transaction is aborted
    /// or completed. Blocks 8 s at the most.
    ///
    /// # Errors
    /// With [`Remedy::Restart`] while the broker is away.
    pub fn init(&self) -> Result<(), TransactionError> {
        self.producer.init_transactions(CALL_TIMEOUT).map_err(|source| self.error("init", source))
    }

    /// Begins a transaction; local, does not block.
    ///
    /// # Errors
    /// The producer was fenced, or a transaction is open already.
    pub fn begin(&self) -> Result<(), TransactionError> {
        self.producer.begin_transaction().map_err(|source| self.error("begin", source))
    }

    /// Queues a record. While the queue is full it waits, which is the back pressure of everything upstream.
    ///
    /// # Errors
    /// The record is too large, the producer was fenced, or the queue stays full for 8 s.
    pub fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, V>,
    ) -> Result<(), TransactionError> {
        let mut record = record;
        let mut full_since = None;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, returned)) => {
                    let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    let since = *full_since.get_or_insert_with(Instant::now);
                    if !full || since.elapsed() > CALL_TIMEOUT {
                        return Err(self.error("send", error));
                    }
                    record = returned;
                    self.serve();
                }
            }
        }
    }

    /// Serves delivery reports; call it now and then while sending.
    pub fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Serves one delivery report, or pauses for a moment if there is none.
    ///
    /// A poll of rust-rdkafka with a timeout below a millisecond, or with less than one left of it, does not sleep: it
    /// asks again and again until the time is over, with a whole core.
    fn serve(&self) {
        let before = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        if self.producer.in_flight_count() >= before {
            std::thread::sleep(SERVE_PAUSE);
        }
    }

    /// Waits until every record is with the brokers or one of them has failed, 8 s at the most.
    pub fn flush(&self) {
        self.flush_until(Instant::now() + CALL_TIMEOUT);
    }

    /// A record that failed has failed the transaction, and what else is queued may stay there until that is aborted:
    /// then it is not waited for long.
    fn flush_until(&self, mut deadline: Instant) {
        if self.producer.in_flight_count() == 0 {
            return;
        }
        let began = Instant::now();
        // Each look is a wake-up, and small transactions one after the other are little else.
        let usual = Duration::from_micros(self.flush_micros.load(Ordering::Relaxed));
        std::thread::sleep((usual * 3 / 4).min(MAX_UNOBSERVED));
        let mut failed = false;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.serve();
            if !failed && self.undelivered().is_some() {
                failed = true;
                deadline = deadline.min(Instant::now() + ANSWER_MARGIN);
            }
        }
        let micros = (usual * 7 + began.elapsed()).as_micros() / 8;
        self.flush_micros.store(u64::try_from(micros).unwrap_or(0), Ordering::Relaxed);
    }

    fn undelivered(&self) -> Option<RDKafkaErrorCode> {
        self.producer.client().context().undelivered()
    }

    /// Adds the consumer's positions to the transaction. Each offset is that of the next record to read.
    ///
    /// # Errors
    /// The group has moved on to another generation ([`Remedy::Abort`]), or as for [`Self::commit`].
    pub fn send_offsets(
        &self,
        offsets: TopicPartitionList,
        group: ConsumerGroupMetadata,
    ) -> Result<(), TransactionError> {
        // Where the coordinator is lost in the middle of it, librdkafka 2.12 does not return when its time is over
        // (`rd_kafka_send_offsets_to_transaction` waits without a bound). Then it is left behind with this producer,
        // which is not used any more, and ends when a broker is there again.
        let (done, outcome) = mpsc::sync_channel(1);
        let producer = Arc::clone(&self.producer);
        std::thread::spawn(move || {
            let sent = producer.send_offsets_to_transaction(&offsets, &group, CALL_TIMEOUT);
            // So that the last user of the producer is the one that waits.
            drop(producer);
            drop(done.send(sent));
        });
        let outcome = outcome.recv_timeout(CALL_TIMEOUT + ANSWER_MARGIN);
        let overdue = || Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut));
        outcome.unwrap_or_else(|_| overdue()).map_err(|source| self.error("send offsets", source))
    }

    /// Commits: on success everything sent since [`Self::begin`] is readable.
    ///
    /// # Errors
    /// Nothing was committed with [`Remedy::Abort`]; with [`Remedy::Restart`] it is not known.
    pub fn commit(&self) -> Result<(), TransactionError> {
        // rust-rdkafka's own flush polls 100 ms at a time and does not return early, so nothing may be in flight
        // when it is called.
        let deadline = Instant::now() + CALL_TIMEOUT;
        self.flush_until(deadline);
        // With nothing in flight librdkafka says itself why the transaction has failed.
        if let Some(code) = self.undelivered().filter(|_| self.producer.in_flight_count() > 0) {
            return Err(self.error("delivery", KafkaError::MessageProduction(code)));
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(ANSWER_MARGIN);
        self.producer.commit_transaction(left).map_err(|source| self.error("commit", source))
    }

    /// Aborts: nothing sent since [`Self::begin`] will ever be read by a `read_committed` consumer.
    ///
    /// # Errors
    /// The broker is away or the producer was fenced.
    pub fn abort(&self) -> Result<(), TransactionError> {
        // librdkafka drops what is queued and then waits for the delivery reports of it, which a poll must serve
        // meanwhile; without one an abort with anything in flight fails after its whole timeout.
        std::thread::scope(|scope| {
            let abort = scope.spawn(|| self.producer.abort_transaction(CALL_TIMEOUT));
            while !abort.is_finished() {
                self.serve();
            }
            // A panic there can only be librdkafka's binding; it goes on here as one of this thread.
            abort.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .map_err(|source| self.error("abort", source))
    }

    /// The dead letters that their topic has refused as too large since the last look. To be asked for after a
    /// transaction that failed: sent in the same way they fail the next one as well.
    #[must_use]
    pub fn take_refused(&self) -> Vec<Refused> {
        self.producer.client().context().take_refused()
    }

    /// The transactional id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn error(&self, step: &'static str, source: KafkaError) -> TransactionError {
        Self::failure(&self.id, step, source)
    }

    fn failure(id: &str, step: &'static str, source: KafkaError) -> TransactionError {
        TransactionError { id: id.to_owned(), step, remedy: remedy(&source), source: Box::new(source) }
    }
}

impl std::fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionalProducer").field("id", &self.id).finish_non_exhaustive()
    }
}

fn remedy(error: &KafkaError) -> Remedy {
    let fenced = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
        )
    );
    match error {
        _ if fenced => Remedy::Fenced,
        KafkaError::Transaction(inner) if inner.is_fatal() => Remedy::Restart,
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => Remedy::Abort,
        // It is not known whether the brokers have the record, or librdkafka has given this producer up.
        KafkaError::MessageProduction(
            RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::Fatal | RDKafkaErrorCode::OperationTimedOut,
        ) => Remedy::Restart,
        // The record never left, or was refused: too large, or its topic does not exist.
        KafkaError::MessageProduction(_) => Remedy::Abort,
        _ => Remedy::Restart,
    }
}

#[cfg(test)]
mod tests;
