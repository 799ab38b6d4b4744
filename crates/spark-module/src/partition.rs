//! One partition's part of a task: transactions of results, dead letters and the group's position, as a worker of the
//! processor makes them.
//!
//! The transactional id is the partition's, so that a task fences whoever was at the partition before it; only then it
//! reads the group's position, and skips what is before that. So whatever Spark gives again, after a killed executor or
//! from a checkpoint, is written once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::{Remedy, TransactionalProducer};
use rdkafka::Offset;
use rdkafka::message::{Message as _, OwnedMessage};
use serde::{Deserialize, Serialize};
use service::error_chain;
use service::retry::Backoff;
use stream_processor::SessionError;
use stream_processor::batch::offsets;
use stream_processor::continuity::Continuity;
use stream_processor::tally::{Outcomes, latencies};

use crate::error::SparkError;
use crate::plan::transactional_id;
use crate::session::Session;

/// Failures of one transaction in a row before the task fails: half a minute with their pauses.
const MAX_FAILURES: u32 = 10;
/// Records between two looks at the delivery reports.
const POLL_EVERY: usize = 256;

/// What a task did with a partition, for the driver.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) partition: i32,
    /// Records that the group had processed before.
    pub(crate) skipped: u64,
    pub(crate) transactions: Vec<Committed>,
    /// The ledger as it was committed last; empty if nothing was.
    pub(crate) ledger: String,
}

/// One transaction.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) outcomes: Outcomes,
    /// Seconds from the commit in PostgreSQL, of some records.
    pub(crate) latencies: Vec<f64>,
    pub(crate) took: Duration,
}

/// The clients, the position and the ledger of a partition.
pub(crate) struct Partition {
    session: Arc<Session>,
    id: i32,
    hold: Option<Hold>,
    report: Report,
}

/// What holds until somebody else takes the partition.
struct Hold {
    producer: TransactionalProducer,
    continuity: Continuity,
    /// Offset of the next record to process.
    next: i64,
    /// Of the membership under which that was read.
    epoch: u64,
}

impl Partition {
    pub(crate) fn new(session: Arc<Session>, id: i32) -> Self {
        let report = Report { partition: id, ..Report::default() };
        Self { session, id, hold: None, report }
    }

    pub(crate) const fn id(&self) -> i32 {
        self.id
    }

    pub(crate) fn report(self) -> Report {
        self.report
    }

    /// Offset of the next record that the group has not processed.
    pub(crate) fn next(&mut self) -> Result<i64, SparkError> {
        if let Some(hold) = &self.hold {
            return Ok(hold.next);
        }
        let mut failures = Failures::default();
        loop {
            match self.take() {
                Ok(hold) => return Ok(self.hold.insert(hold).next),
                Err(error) => failures.pause(error, self)?,
            }
        }
    }

    pub(crate) fn skip(&mut self) {
        self.report.skipped += 1;
    }

    /// Commits what becomes of these records of the partition, in their order, all or none of them.
    pub(crate) fn commit(&mut self, records: &[OwnedMessage]) -> Result<(), SparkError> {
        let mut failures = Failures::default();
        loop {
            let next = self.next()?;
            // A commit whose outcome was not known may have been one.
            let open =
                records.get(records.partition_point(|record| record.offset() < next)..).unwrap_or_default();
            if open.is_empty() {
                return Ok(());
            }
            match self.transact(open) {
                Ok(committed) => {
                    self.report.transactions.push(committed);
                    return Ok(());
                }
                Err(error) => {
                    // Its transaction is ended by the next one with the same id.
                    if let Some(hold) = self.hold.take() {
                        self.session.writing().writer.keep_less(&hold.producer.take_refused());
                    }
                    failures.pause(error, self)?;
                }
            }
        }
    }

    /// Takes the partition over from whoever had it.
    fn take(&self) -> Result<Hold, SparkError> {
        let Session { settings, lease, .. } = &*self.session;
        let epoch = lease.wait()?;
        let producer =
            self.session.writing().writer.producer(settings, &transactional_id(settings, self.id))?;
        producer.connect()?;
        producer.init()?;
        let topic = &settings.processor.source_topic;
        let committed = lease.committed(topic, &[self.id])?;
        let mut continuity = Continuity::new(topic);
        let mut next = 0;
        for element in committed.elements() {
            continuity.adopt(element.partition(), element.metadata());
            if let Offset::Offset(offset) = element.offset() {
                next = offset;
            }
        }
        Ok(Hold { producer, continuity, next, epoch })
    }

    fn transact(&mut self, records: &[OwnedMessage]) -> Result<Committed, SparkError> {
        let (session, id) = (Arc::clone(&self.session), self.id);
        let mut writing = session.writing();
        session.learn(&mut writing, records)?;
        let (Some(hold), Some(last)) = (&mut self.hold, records.last()) else {
            return Err(SparkError::MembershipChanged);
        };
        let began = Instant::now();
        let (mut draft, mut outcomes) =
            (hold.continuity.draft_known(std::iter::once(id)), Outcomes::default());
        hold.producer.begin()?;
        for (count, record) in records.iter().enumerate() {
            writing.writer.write(&hold.producer, record, &mut draft, &mut outcomes)?;
            if count % POLL_EVERY == 0 {
                hold.producer.poll();
            }
        }
        let (topic, next) = (&session.settings.processor.source_topic, last.offset() + 1);
        let positions = offsets(topic, std::iter::once((id, next)), &draft)
            .map_err(|source| SparkError::Positions { topic: topic.clone(), source })?;
        hold.producer.send_offsets(positions, session.lease.metadata(hold.epoch)?)?;
        hold.producer.commit()?;
        writing.writer.committed();
        hold.next = next;
        self.report.ledger = draft.metadata(id);
        hold.continuity.committed(draft);
        Ok(Committed { outcomes, latencies: latencies(records), took: began.elapsed() })
    }
}

/// Failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    backoff: Backoff,
}

impl Failures {
    /// Waits until the next try.
    ///
    /// # Errors
    /// There is to be none.
    fn pause(&mut self, error: SparkError, partition: &Partition) -> Result<(), SparkError> {
        self.count += 1;
        let is_final = match &error {
            // Another task of the same partition has begun after this one.
            SparkError::Session(SessionError::Transaction(failed)) => failed.remedy == Remedy::Fenced,
            SparkError::Held(_) | SparkError::Waited { .. } => true,
            _ => false,
        };
        if is_final || self.count >= MAX_FAILURES {
            let topic = partition.session.settings.processor.source_topic.clone();
            let (partition, attempts) = (partition.id, self.count);
            return Err(SparkError::GaveUp { topic, partition, attempts, source: Box::new(error) });
        }
        tracing::warn!(
            partition = partition.id,
            error = error_chain(&error),
            "transaction failed, trying again"
        );
        std::thread::sleep(self.backoff.next_delay());
        Ok(())
    }
}
