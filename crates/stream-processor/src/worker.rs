//! One worker: a consumer, a transactional producer, and an engine on a thread of their own.
//!
//! It gathers records, then sends what becomes of them and the positions read in one transaction. No transaction is
//! open while the consumer is polled, so a rebalance, which happens in a poll, only drops records that were not worked
//! on yet. After a clean abort the producer is made anew, after anything else both clients: the new producer settles the
//! old transaction, the new consumer starts from what was committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::Registry;
use kafka::{Remedy, TransactionalProducer};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use service::crash::{self, CrashPoint};
use service::retry::Backoff;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, offsets};
use crate::board::Board;
use crate::config::Settings;
use crate::consumer::{self, GroupConsumer, News};
use crate::continuity::Continuity;
use crate::error::{Policy, ProcessorError, SessionError};
use crate::exclusion::{self, Engine};
use crate::lag::Lag;
use crate::tally::{Outcomes, Tally, latencies, now_ms, transactions};
use crate::write::Writer;

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
/// How long the registry is asked without a poll.
const POLL_WITHIN: Duration = Duration::from_secs(5);
/// Fenced this often within [`FENCED_WINDOW`], the worker gives in.
const MAX_FENCED: usize = 3;
const FENCED_WINDOW: Duration = Duration::from_secs(60);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    pub(crate) tally: Tally,
    pub(crate) sessions: Board,
    pub(crate) brokers: Board,
    pub(crate) schemas: Board,
    pub(crate) continuity: Board,
    pub(crate) shutdown: CancellationToken,
    pub(crate) runtime: Handle,
}

/// See the module.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    transactional_id: String,
    writer: Writer,
    lag: Lag,
    continuity: Continuity,
    backoff: Backoff,
    missing_since: Instant,
    refused_since: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, writer: Writer) -> Self {
        let config = &shared.settings.processor;
        let transactional_id = format!("{}-{}-{index}", config.transactional_id_prefix, config.instance);
        let lag = Lag::new(&config.group, &config.source_topic);
        let continuity = Continuity::new(&config.source_topic);
        Self {
            shared,
            index,
            transactional_id,
            writer,
            lag,
            continuity,
            backoff: Backoff::default(),
            missing_since: Instant::now(),
            refused_since: None,
        }
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
            if error.policy() == Policy::GiveIn {
                return Err(ProcessorError::Held(error.to_string()));
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
        let mut producer = self.producer()?;
        let consumer = consumer::connect(&self.shared.settings, self.index)
            .map_err(|source| self.consumer_failure(source))?;
        self.shared.sessions.update(self.index, None);
        let mut batch = Batch::default();
        let mut aborts = 0;
        while !self.stopping() {
            self.gather(&consumer, &mut batch)?;
            self.learn_ledgers(&consumer);
            self.learn_schemas(&consumer, &mut batch)?;
            if batch.records().is_empty() || self.stopping() {
                continue;
            }
            match self.transact(&producer, &consumer, &batch) {
                Ok(()) => {
                    self.writer.committed();
                    batch.clear();
                    aborts = 0;
                    self.backoff.reset();
                }
                Err(SessionError::Transaction(error))
                    if error.remedy == Remedy::Abort && aborts < MAX_ABORTS =>
                {
                    let aborted = producer.abort();
                    self.writer.keep_less(&producer.take_refused());
                    aborted?;
                    // The consumer keeps its partitions.
                    producer = self.producer()?;
                    transactions("aborted");
                    tracing::warn!(
                        worker = self.index,
                        error = service::error_chain(&error),
                        "transaction aborted"
                    );
                    aborts += 1;
                }
                Err(error) => {
                    self.writer.keep_less(&producer.take_refused());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn producer(&mut self) -> Result<TransactionalProducer, SessionError> {
        // Each time: what the topic takes may be why the last one failed.
        self.writer.look_at_target(&self.shared.settings);
        let producer = self.writer.producer(&self.shared.settings, &self.transactional_id)?;
        producer.connect()?;
        producer.init()?;
        Ok(producer)
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
        let began = Instant::now();
        let behind = batch.has_waited(now_ms());
        while batch.records().len() < config.max_batch_records && batch.bytes() < config.max_batch_bytes {
            let linger = batch.linger(behind, config.linger);
            let left = whole_millis((began + linger).saturating_duration_since(Instant::now()));
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
            Some(Err(error))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InconsistentGroupProtocol) =>
            {
                self.refused(consumer)
            }
            // librdkafka repairs it, and its log says what it is.
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// The group does not let the worker in: the other engine's members are in it, or have been until a moment ago.
    fn refused(&mut self, consumer: &GroupConsumer) -> Result<bool, SessionError> {
        let config = &self.shared.settings.processor;
        let held = || exclusion::held(consumer, &config.group, Engine::Processor);
        match self.refused_since {
            Some(since) if since.elapsed() > exclusion::patience(config.session_timeout) => {
                return Err(SessionError::Held(held()));
            }
            Some(_) => {}
            None => {
                self.refused_since = Some(Instant::now());
                self.shared.sessions.update(self.index, Some(held()));
            }
        }
        Ok(false)
    }

    fn take_in(&mut self, news: &News, batch: &mut Batch<'_>) {
        if news.joined && self.refused_since.take().is_some() {
            self.shared.sessions.update(self.index, None);
        }
        if !news.revoked.is_empty() {
            batch.give_up(&news.revoked);
            news.revoked.iter().for_each(|partition| self.lag.revoked(*partition));
            self.continuity.revoked(&news.revoked);
            self.shared.continuity.update(self.index, self.continuity.alarm());
        }
        news.assigned.iter().for_each(|partition| self.lag.assigned(*partition));
        self.continuity.assigned(&news.assigned);
        if let Some(statistics) = &news.statistics {
            let connected = statistics.brokers.values().any(|broker| broker.state == "UP");
            self.shared.brokers.update(self.index, (!connected).then(|| "no broker is connected".to_owned()));
            self.lag.update(statistics, |partition| batch.holds(partition));
        }
    }

    /// Says what is missing of partitions that came, before any of their records does. A transaction reads again what
    /// can't be read now.
    fn learn_ledgers(&mut self, consumer: &GroupConsumer) {
        match self.continuity.learn(consumer) {
            Ok(false) => {}
            Ok(true) => self.shared.continuity.update(self.index, self.continuity.alarm()),
            Err(error) => {
                tracing::warn!(worker = self.index, %error, "the group's positions can't be read, trying again");
            }
        }
    }

    /// Makes sure that the engine knows the schema of every record of the batch. While the registry is away, or has
    /// many questions to answer, the partitions are paused and polled, so that the group keeps the worker.
    fn learn_schemas<'c>(
        &mut self,
        consumer: &'c GroupConsumer,
        batch: &mut Batch<'c>,
    ) -> Result<(), SessionError> {
        if self.missing_since.elapsed() > MISSING_FOR {
            self.writer.forget_missing();
            self.missing_since = Instant::now();
        }
        let (mut paused, mut index, mut polled) = (false, 0, Instant::now());
        while let Some(record) = batch.records().get(index) {
            let Some(unknown) = self.writer.needs(record.payload()) else {
                index += 1;
                continue;
            };
            let answer = self.shared.runtime.block_on(self.shared.registry.schema_by_id(unknown.0));
            let wait = match self.writer.learn(unknown, answer) {
                Ok(()) if polled.elapsed() < POLL_WITHIN => continue,
                Ok(()) => Duration::ZERO,
                Err(error) => {
                    self.shared.schemas.update(self.index, Some(service::error_chain(&*error)));
                    self.backoff.next_delay()
                }
            };
            self.stay_in_group(consumer, batch, wait)?;
            // A rebalance may have taken records out of the batch.
            (paused, index, polled) = (true, 0, Instant::now());
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

    /// Polls for as long, at least once.
    fn stay_in_group<'c>(
        &mut self,
        consumer: &'c GroupConsumer,
        batch: &mut Batch<'c>,
        wait: Duration,
    ) -> Result<(), SessionError> {
        let until = Instant::now() + wait;
        loop {
            // Every time: a rebalance may have brought partitions that are not paused.
            let assignment = consumer.assignment().map_err(|source| self.consumer_failure(source))?;
            consumer.pause(&assignment).map_err(|source| self.consumer_failure(source))?;
            self.receive(consumer, batch, IDLE.min(until.saturating_duration_since(Instant::now())))?;
            if Instant::now() >= until || self.stopping() {
                return Ok(());
            }
        }
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
            self.writer.write(producer, record, &mut draft, &mut outcomes)?;
            if count % POLL_EVERY == 0 {
                producer.poll();
            }
        }
        let next = progress.iter().map(|(partition, seen)| (*partition, seen.next));
        let positions = offsets(&self.shared.settings.processor.source_topic, next, &draft)
            .map_err(|source| self.consumer_failure(source))?;
        let group = consumer.group_metadata().ok_or(SessionError::NoGroup)?;
        if crash::is_armed(CrashPoint::ProcessorBeforeOffsets) {
            // So that the brokers have the records, and not only librdkafka's queue. The commit waits for it otherwise.
            producer.flush();
        }
        crash::here(CrashPoint::ProcessorBeforeOffsets);
        producer.send_offsets(positions, group)?;
        crash::here(CrashPoint::ProcessorBeforeCommit);
        producer.commit()?;
        crash::here(CrashPoint::ProcessorAfterCommit);

        self.shared.tally.committed(&outcomes, &latencies(batch.records()), began.elapsed());
        self.continuity.committed(draft);
        self.shared.continuity.update(self.index, self.continuity.alarm());
        let now = now_ms();
        for (partition, seen) in progress {
            self.lag.committed(partition, seen, now);
        }
        Ok(())
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

/// Without the part of a millisecond: rust-rdkafka would not sleep for that, but ask again and again.
fn whole_millis(left: Duration) -> Duration {
    left.saturating_sub(Duration::from_nanos(u64::from(left.subsec_nanos() % 1_000_000)))
}
