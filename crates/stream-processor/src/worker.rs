//! One worker: a consumer, a transactional producer, and an engine on a thread of their own.
//!
//! It gathers records, then sends what becomes of them and the positions read in one transaction. No transaction is
//! open while the consumer is polled, so a rebalance, which happens in a poll, only drops records that were not worked
//! on yet. After anything but a clean abort both clients are made anew: the new producer settles the old transaction,
//! the new consumer starts from what was committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::{Registry, RegistryError};
use kafka::context::Throttle;
use kafka::{Remedy, TransactionalProducer, dead_letter, partitioner, sequence};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use service::crash::{self, CrashPoint};
use service::retry::Backoff;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, offsets};
use crate::board::Board;
use crate::config::Settings;
use crate::consumer::{self, GroupConsumer, News};
use crate::continuity::{Continuity, Draft};
use crate::engine::{DeadLetter, Engine, Outcome};
use crate::error::{Policy, ProcessorError, SessionError};
use crate::lag::Lag;
use crate::tally::{Outcomes, Tally, now_ms, transactions};

/// How long an idle worker sleeps at the most; a shutdown waits for it.
const IDLE: Duration = Duration::from_millis(250);
/// Pause before a transaction is tried again; rebalances go on in it.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Clean aborts in a row before the clients are made anew.
const MAX_ABORTS: u32 = 10;
/// Records between two looks at the delivery reports.
const POLL_EVERY: usize = 256;
/// How long an id that the registry does not know is not asked for again.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// Fenced this often within [`FENCED_WINDOW`], the worker gives in.
const MAX_FENCED: usize = 3;
const FENCED_WINDOW: Duration = Duration::from_secs(60);
/// Bytes that a record's frame and the headers of a dead letter take at the most, besides the original headers.
const DEAD_LETTER_OVERHEAD: usize = 2048;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    /// Of the target topic.
    pub(crate) target_partitions: i32,
    pub(crate) tally: Tally,
    pub(crate) sessions: Board,
    pub(crate) brokers: Board,
    pub(crate) schemas: Board,
    pub(crate) continuity: Board,
    pub(crate) dead_letters: Throttle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) runtime: Handle,
}

/// See the module.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    transactional_id: String,
    engine: Engine,
    lag: Lag,
    continuity: Continuity,
    backoff: Backoff,
    missing_since: Instant,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, engine: Engine) -> Self {
        let config = &shared.settings.processor;
        let transactional_id = format!("{}-{}-{index}", config.transactional_id_prefix, config.instance);
        let lag = Lag::new(&config.group, &config.source_topic);
        let continuity = Continuity::new(&config.source_topic);
        let (backoff, missing_since) = (Backoff::default(), Instant::now());
        Self { shared, index, transactional_id, engine, lag, continuity, backoff, missing_since }
    }

    /// Works until the shutdown; blocks its thread.
    pub(crate) fn run(mut self) -> Result<(), ProcessorError> {
        let mut fenced: Vec<Instant> = Vec::new();
        loop {
            let ended = self.session();
            self.lag.all_revoked();
            self.continuity.all_revoked();
            let Err(error) = ended else { return Ok(()) };
            if self.stopping() {
                return Ok(());
            }
            transactions("abandoned");
            if error.policy() == Policy::RestartUnlessFencedOften {
                fenced.retain(|at| at.elapsed() < FENCED_WINDOW);
                fenced.push(Instant::now());
                if fenced.len() >= MAX_FENCED {
                    return Err(ProcessorError::Fenced { id: self.transactional_id });
                }
            }
            let reason = service::error_chain(&error);
            self.shared.sessions.update(self.index, Some(reason));
            self.sleep();
        }
    }

    fn session(&mut self) -> Result<(), SessionError> {
        let producer = self.producer()?;
        producer.init()?;
        let settings = &self.shared.settings;
        let consumer =
            consumer::connect(settings, self.index).map_err(|source| self.consumer_failure(source))?;
        self.shared.sessions.update(self.index, None);
        let mut batch = Batch::default();
        let mut aborts = 0;
        while !self.stopping() {
            self.gather(&consumer, &mut batch)?;
            self.learn_schemas(&consumer, &mut batch)?;
            if batch.records().is_empty() || self.stopping() {
                continue;
            }
            match self.transact(&producer, &consumer, &batch) {
                Ok(()) => {
                    batch.clear();
                    aborts = 0;
                    self.backoff.reset();
                }
                Err(SessionError::Transaction(error))
                    if error.remedy == Remedy::Abort && aborts < MAX_ABORTS =>
                {
                    producer.abort()?;
                    transactions("aborted");
                    tracing::warn!(
                        worker = self.index,
                        error = service::error_chain(&error),
                        "transaction aborted"
                    );
                    aborts += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn producer(&self) -> Result<TransactionalProducer, SessionError> {
        let config = &self.shared.settings.processor;
        let largest = dead_letter::MAX_MESSAGE_BYTES.to_string();
        Ok(TransactionalProducer::new(
            &self.shared.settings.kafka,
            &self.transactional_id,
            config.transaction_timeout,
            &[("message.max.bytes", &largest)],
        )?)
    }

    /// Waits for a record, then takes what is there, and lingers for more while there is room.
    fn gather<'c>(&mut self, consumer: &'c GroupConsumer, batch: &mut Batch<'c>) -> Result<(), SessionError> {
        let shared = Arc::clone(&self.shared);
        let config = &shared.settings.processor;
        let again = !batch.records().is_empty();
        let first = self.receive(consumer, batch, if again { RETRY_PAUSE } else { IDLE })?;
        if !first || again {
            return Ok(());
        }
        let deadline = Instant::now() + config.linger;
        while batch.records().len() < config.max_batch_records && batch.bytes() < config.max_batch_bytes {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.receive(consumer, batch, left)? && left.is_zero() {
                break;
            }
        }
        Ok(())
    }

    /// One poll: whether a record came. Serves rebalances.
    fn receive<'c>(
        &mut self,
        consumer: &'c GroupConsumer,
        batch: &mut Batch<'c>,
        timeout: Duration,
    ) -> Result<bool, SessionError> {
        let polled = consumer.poll(timeout);
        if let Some(news) = consumer.context().news() {
            self.take_in(&news, batch);
        }
        match polled {
            Some(Ok(record)) => {
                batch.push(record);
                Ok(true)
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Err(self.consumer_failure(error)),
            // librdkafka repairs it, and its log says what it is.
            Some(Err(_)) | None => Ok(false),
        }
    }

    fn take_in(&mut self, news: &News, batch: &mut Batch<'_>) {
        if !news.revoked.is_empty() {
            batch.give_up(&news.revoked);
            news.revoked.iter().for_each(|partition| self.lag.revoked(*partition));
            self.continuity.revoked(&news.revoked);
            self.shared.continuity.update(self.index, self.continuity.alarm());
        }
        news.assigned.iter().for_each(|partition| self.lag.assigned(*partition));
        if let Some(statistics) = &news.statistics {
            let connected = statistics.brokers.values().any(|broker| broker.state == "UP");
            self.shared.brokers.update(self.index, (!connected).then(|| "no broker is connected".to_owned()));
            self.lag.update(statistics, |partition| batch.holds(partition));
        }
    }

    /// Makes sure that the engine knows the schema of every record of the batch. While the registry is away it waits
    /// with the partitions paused, polling, so that the group keeps it.
    fn learn_schemas<'c>(
        &mut self,
        consumer: &'c GroupConsumer,
        batch: &mut Batch<'c>,
    ) -> Result<(), SessionError> {
        if self.missing_since.elapsed() > MISSING_FOR {
            self.engine.forget_missing();
            self.missing_since = Instant::now();
        }
        let mut paused = false;
        while let Some(unknown) =
            batch.records().iter().find_map(|record| self.engine.needs(record.payload()))
        {
            match self.shared.runtime.block_on(self.shared.registry.schema_by_id(unknown.0)) {
                Ok(schema) => self.engine.learn(unknown.0, &schema),
                Err(RegistryError::NotFound { .. }) => self.engine.learn_missing(unknown.0),
                Err(
                    error @ (RegistryError::Unavailable { .. }
                    | RegistryError::Refused { .. }
                    | RegistryError::Incompatible { .. }),
                ) => {
                    self.shared.schemas.update(self.index, Some(service::error_chain(&error)));
                    self.stay_in_group(consumer, batch)?;
                    paused = true;
                }
            }
            if self.stopping() {
                return Ok(());
            }
        }
        if paused {
            self.shared.schemas.update(self.index, None);
            self.backoff.reset();
            let assignment = consumer.assignment().map_err(|source| self.consumer_failure(source))?;
            consumer.resume(&assignment).map_err(|source| self.consumer_failure(source))?;
        }
        Ok(())
    }

    fn stay_in_group<'c>(
        &mut self,
        consumer: &'c GroupConsumer,
        batch: &mut Batch<'c>,
    ) -> Result<(), SessionError> {
        let until = Instant::now() + self.backoff.next_delay();
        while Instant::now() < until && !self.stopping() {
            // Every time: a rebalance may have brought partitions that are not paused.
            let assignment = consumer.assignment().map_err(|source| self.consumer_failure(source))?;
            consumer.pause(&assignment).map_err(|source| self.consumer_failure(source))?;
            self.receive(consumer, batch, IDLE.min(until.saturating_duration_since(Instant::now())))?;
        }
        Ok(())
    }

    fn transact(
        &mut self,
        producer: &TransactionalProducer,
        consumer: &GroupConsumer,
        batch: &Batch<'_>,
    ) -> Result<(), SessionError> {
        let began = Instant::now();
        let mut outcomes = Outcomes::default();
        let progress = batch.progress();
        let drafted = self.continuity.draft(consumer, progress.keys().copied());
        let mut draft = drafted.map_err(|source| self.consumer_failure(source))?;
        producer.begin()?;
        crash::here(CrashPoint::ProcessorBeforeProduce);
        for (count, record) in batch.records().iter().enumerate() {
            self.forward(producer, record, &mut draft, &mut outcomes)?;
            if count % POLL_EVERY == 0 {
                producer.poll();
            }
        }
        let positions = offsets(&self.shared.settings.processor.source_topic, &progress, &draft)
            .map_err(|source| self.consumer_failure(source))?;
        let group = consumer.group_metadata().ok_or(SessionError::NoGroup)?;
        crash::here(CrashPoint::ProcessorBeforeOffsets);
        producer.send_offsets(positions, group)?;
        crash::here(CrashPoint::ProcessorBeforeCommit);
        producer.commit()?;
        crash::here(CrashPoint::ProcessorAfterCommit);

        self.shared.tally.committed(&outcomes, batch.records(), began.elapsed());
        self.continuity.committed(draft);
        self.shared.continuity.update(self.index, self.continuity.alarm());
        let now = now_ms();
        for (partition, seen) in progress {
            self.lag.committed(partition, seen, now);
        }
        Ok(())
    }

    /// Sends what becomes of one record.
    fn forward(
        &mut self,
        producer: &TransactionalProducer,
        record: &BorrowedMessage<'_>,
        draft: &mut Draft,
        outcomes: &mut Outcomes,
    ) -> Result<(), SessionError> {
        if !draft.take(record) {
            outcomes.repeat();
            return Ok(());
        }
        let target = BaseRecord::<[u8], [u8]>::to(&self.shared.settings.processor.target_topic);
        let (key, value) = (record.key(), record.payload());
        match self.engine.process(key, value)? {
            Outcome::Record(value) => {
                producer.send(passed_on(
                    target.payload(value),
                    record,
                    draft,
                    self.shared.target_partitions,
                ))?;
                outcomes.processed();
            }
            Outcome::Tombstone => {
                producer.send(passed_on(target, record, draft, self.shared.target_partitions))?;
                outcomes.tombstone();
            }
            Outcome::DeadLetter(letter) => {
                outcomes.dead_letter(letter.kind);
                self.bury(producer, record, &letter)?;
            }
        }
        Ok(())
    }

    /// Sends a dead letter. One that no producer could send has no value; the record stays where its headers say.
    fn bury(
        &self,
        producer: &TransactionalProducer,
        record: &BorrowedMessage<'_>,
        letter: &DeadLetter,
    ) -> Result<(), SessionError> {
        let config = &self.shared.settings.processor;
        if let Some(held_back) = self.shared.dead_letters.pass() {
            let (partition, offset, kind) = (record.partition(), record.offset(), letter.kind.as_str());
            tracing::warn!(topic = record.topic(), partition, offset, kind, held_back, "dead letter");
        }
        let size = record.key_len() + record.payload_len() + headers_len(record);
        let fits = size + DEAD_LETTER_OVERHEAD <= dead_letter::MAX_MESSAGE_BYTES;
        let mut headers = dead_letter::headers(record, crate::SERVICE, letter.kind.as_str(), &letter.message);
        if !fits {
            headers = headers.insert(Header { key: dead_letter::VALUE_LEFT_OUT, value: Some("true") });
        }
        let mut dead = BaseRecord::<[u8], [u8]>::to(&config.dead_letter_topic).headers(headers);
        if let Some(key) = record.key() {
            dead = dead.key(key);
        }
        if let Some(value) = record.payload().filter(|_| fits) {
            dead = dead.payload(value);
        }
        Ok(producer.send(dead)?)
    }

    fn consumer_failure(&self, source: KafkaError) -> SessionError {
        SessionError::Consumer { topic: self.shared.settings.processor.source_topic.clone(), source }
    }

    fn stopping(&self) -> bool {
        self.shared.shutdown.is_cancelled()
    }

    /// Until the next try, or the shutdown.
    fn sleep(&mut self) {
        let delay = self.backoff.next_delay();
        let shutdown = self.shared.shutdown.clone();
        self.shared.runtime.block_on(async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        });
    }
}

/// Key, timestamp and headers as they were, but for the number, which is one of this hop.
fn passed_on<'a>(
    mut made: BaseRecord<'a, [u8], [u8]>,
    record: &'a BorrowedMessage<'_>,
    draft: &mut Draft,
    partitions: i32,
) -> BaseRecord<'a, [u8], [u8]> {
    // The engine takes no record without a key.
    let key = record.key().unwrap_or_default();
    let partition = partitioner::partition(key, partitions);
    let number = draft.number(record.partition(), partition);
    if let Some(timestamp) = record.timestamp().to_millis() {
        made = made.timestamp(timestamp);
    }
    let headers: OwnedHeaders = sequence::stamped(record.headers(), number);
    made.key(key).partition(partition).headers(headers)
}

fn headers_len(record: &BorrowedMessage<'_>) -> usize {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 8).sum()
}
