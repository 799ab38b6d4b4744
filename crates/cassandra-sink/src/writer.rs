//! The writer's thread: takes records from the queue, keeps a bounded number of them in flight, and ends each as
//! written, skipped or a dead letter.
//!
//! One thread with a runtime of its own does everything from decoding to the driver's sockets. Cassandra is far more
//! work for its nodes than for us, so one thread is enough for them, and nothing is handed between threads per record.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use events::meta::Op;
use events::wire;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use service::crash::{self, CrashPoint};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::cluster::{Cluster, Stop};
use crate::config::SinkConfig;
use crate::dead_letters::DeadLetters;
use crate::metrics::{self, Metrics, Outcome};
use crate::offsets::{End, Ticket};
use crate::plan::{Change, Plan, Write};
use crate::plans::Plans;
use crate::poison::{Kind, Poison};
use crate::record::{Batch, Record};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Everything a record needs on its way.
pub struct Writer {
    /// Where it goes.
    pub cluster: Rc<Cluster>,
    /// How it goes there.
    pub plans: Plans,
    /// Where it goes otherwise.
    pub dead_letters: DeadLetters,
    /// What is counted.
    pub metrics: Metrics,
    /// How many at once.
    pub config: SinkConfig,
    /// Records that ended since the last line in the log, by outcome.
    pub progress: [Cell<u64>; Outcome::ALL.len()],
}

impl Writer {
    /// Works until the queue is closed and everything from it has ended.
    pub async fn run(&self, mut queue: mpsc::Receiver<Batch>) {
        let mut waiting: VecDeque<Record> = VecDeque::new();
        let mut in_flight = FuturesUnordered::new();
        let mut bytes = 0;
        let mut open = true;
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while open || !waiting.is_empty() || !in_flight.is_empty() {
            while let Some(record) =
                waiting.pop_front_if(|next| self.has_room(in_flight.len(), bytes, next.size()))
            {
                bytes += record.size();
                in_flight.push(self.handle(record));
            }
            self.metrics.in_flight(in_flight.len());
            tokio::select! {
                biased;
                Some(size) = in_flight.next() => bytes -= size,
                batch = queue.recv(), if open && waiting.is_empty() => match batch {
                    Some(batch) => waiting.extend(batch),
                    None => open = false,
                },
                _ = progress.tick() => self.log_progress(),
            }
        }
        self.log_progress();
    }

    /// A record larger than the bound goes alone.
    fn has_room(&self, records: usize, bytes: usize, next: usize) -> bool {
        records == 0 || (records < self.config.in_flight && bytes + next <= self.config.in_flight_bytes)
    }

    /// Brings one record to its end; returns its size.
    async fn handle(&self, record: Record) -> usize {
        let ticket = &record.ticket;
        if self.cluster.offsets.begin(ticket) {
            let outcome = match self.apply(&record).await {
                Ok((outcome, commit_ts)) => {
                    self.metrics.ended(outcome, commit_ts);
                    Some(outcome)
                }
                Err(Stop::Poison(poison)) => Box::pin(self.bury(&record, &poison)).await,
                Err(Stop::GivenUp | Stop::TableChanged) => None,
            };
            if let Some(count) = outcome.and_then(|outcome| self.progress.get(outcome as usize)) {
                count.set(count.get() + 1);
            }
            self.cluster.offsets.end(ticket, if outcome.is_some() { End::Done } else { End::Abandoned });
        }
        record.size()
    }

    async fn bury(&self, record: &Record, poison: &Poison) -> Option<Outcome> {
        if !self.dead_letters.keep(record, poison, &self.cluster).await {
            return None;
        }
        metrics::dead_letter(poison.kind);
        self.metrics.ended(Outcome::DeadLetter, None);
        Some(Outcome::DeadLetter)
    }

    async fn apply(&self, record: &Record) -> Result<(Outcome, Option<i64>), Stop> {
        let Some(value) = &record.value else { return Ok((Outcome::Skipped, None)) };
        if value.len() > self.config.max_record_bytes {
            let message = format!(
                "{} bytes; cassandra_sink.max_record_bytes is {}",
                value.len(),
                self.config.max_record_bytes
            );
            return Err(Poison::new(Kind::TooLarge, message).into());
        }
        let (id, datum) = wire::split(value).map_err(|error| Poison::new(Kind::NotAvro, error))?;
        loop {
            let plan = match self.plans.get(id) {
                Some(plan) => plan,
                None => Box::pin(self.plans.make(id, &record.ticket)).await?,
            };
            match self.follow(&plan, datum, &record.ticket).await {
                // Its rows are written again by another plan, which changes nothing about those that were.
                Err(Stop::TableChanged) => self.plans.forget(id, &plan),
                ended => return ended,
            }
        }
    }

    async fn follow(
        &self,
        plan: &Plan,
        datum: &[u8],
        ticket: &Ticket,
    ) -> Result<(Outcome, Option<i64>), Stop> {
        let row = plan.layout.decode(datum).map_err(|error| Poison::new(Kind::Undecodable, error))?;
        let change = plan.change(&row)?;
        let writes = plan.writes(&row, change.op, self.is_new(change, ticket))?;
        crash::here(CrashPoint::SinkBeforeWrite);
        self.execute(plan, &writes, ticket).await?;
        crash::here(CrashPoint::SinkAfterWrite);
        let outcome = if change.op == Op::Delete { Outcome::Deleted } else { Outcome::Written };
        Ok((outcome, Some(change.commit_ts)))
    }

    /// Whether no row of the change can be there yet. A snapshot reads rows that are new to the tables only if it is
    /// the one that the group began with: another one follows a slot that was lost, and what became null meanwhile
    /// is null in no other record.
    fn is_new(&self, change: Change, ticket: &Ticket) -> bool {
        let read_at = (change.op == Op::Read).then_some(change.lsn);
        let of_first = (read_at.is_some() || ticket.is_first())
            && self.cluster.offsets.is_first_snapshot(ticket, read_at);
        of_first || change.op == Op::Create
    }

    /// All at once; each is tried whatever becomes of the others.
    async fn execute(&self, plan: &Plan, writes: &[Write<'_>], ticket: &Ticket) -> Result<(), Stop> {
        let execute = async |write: &Write<'_>| match plan.tables.get(write.table) {
            Some(table) => self.cluster.execute(write, table, ticket, &self.metrics).await,
            None => Ok(()),
        };
        match writes {
            [only] => execute(only).await,
            several => join_all(several.iter().map(execute)).await.into_iter().collect(),
        }
    }

    fn log_progress(&self) {
        let [written, deleted, skipped, dead_letters] = self.progress.each_ref().map(Cell::take);
        if written + deleted + skipped + dead_letters > 0 {
            tracing::info!(written, deleted, skipped, dead_letters, "progress");
        }
    }
}
