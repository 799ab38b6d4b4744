//! The stream of changes: from the replication connection into Kafka transactions.
//!
//! Many transactions of PostgreSQL share one of Kafka, and a large one takes several. What is at or before the
//! published place is skipped. PostgreSQL is told to forget WAL only once Kafka has committed what came of it.

mod apply;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationEvent};
use service::crash::{self, CrashPoint};
use sqlx::postgres::PgConnection;
use tokio::time::MissedTickBehavior;

use crate::change::Writer;
use crate::error::RelayError;
use crate::interrupts::Interrupts;
use crate::metrics::RelayMetrics;
use crate::pgoutput::Rows;
use crate::progress::{Handover, Phase, Place, Progress};
use crate::pulse::{self, Pulse};
use crate::relations::Relations;
use crate::report::Report;
use crate::sink::Sink;
use crate::slot;
use crate::value::datetime::timestamp_from_binary;

/// How long a Kafka transaction may stay open while there is more at hand, so that a steady stream is not delayed
/// by the size of its transactions.
const MAX_AGE: Duration = Duration::from_millis(250);

/// How often changes are fetched while a Kafka transaction waits for more and few come: a wake-up for each of them is
/// most of what a steady stream of small transactions costs.
const GATHER: Duration = Duration::from_millis(2);

/// Events at hand at once that are no longer few, far fewer than the connection keeps.
const FEW_EVENTS: usize = 16;

/// How often an idle relay takes stock.
const TICK: Duration = Duration::from_secs(1);

/// How often the position follows the WAL when there is nothing to publish.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(10);

/// How often [`CrashPoint::RelayAfterFeedback`] is looked for.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(20);

/// What the stream works with.
pub struct Stream<'a> {
    /// The replication connection, which holds the slot.
    pub client: &'a mut ReplicationClient,
    /// Kafka.
    pub sink: &'a mut Sink,
    /// The tables.
    pub relations: &'a mut Relations,
    /// For what the stream does not say.
    pub conn: &'a mut PgConnection,
    /// Counters.
    pub metrics: &'a RelayMetrics,
    /// What ends it.
    pub interrupts: Interrupts<'a>,
    /// Whether anything still comes through the replication connection.
    pub pulse: &'a Pulse,
    /// Name of the publication.
    pub publication: &'a str,
}

/// Where the stream is.
struct State {
    /// Whose positions these are; its phase is not kept up to date.
    origin: Progress,
    /// The last change that was handled.
    place: Place,
    /// Everything that committed before is handled.
    end_lsn: Lsn,
    /// The same, as it stands in the offsets topic.
    published_end: Lsn,
    handover: Option<Handover>,
    transaction: Option<Transaction>,
    /// Commit time of the oldest change in the open Kafka transaction, microseconds since 1970.
    oldest_micros: Option<i64>,
    /// Changes were committed that PostgreSQL may not know of yet; kept for the tests of a crash.
    unconfirmed: bool,
    last_commit: Instant,
    /// Since when nothing came, nor was anything done that would have kept it from being read.
    silent_since: Instant,
    last_stock: Instant,
    rows: Rows,
    writer: Writer,
    report: Report,
}

/// What comes after an event: the next one, or, where the shutdown came while its change waited for something, nothing
/// at all. Whatever was read after that change would move the position past it.
type Flow = ControlFlow<()>;

/// The transaction whose changes arrive.
#[derive(Clone, Copy)]
struct Transaction {
    commit_lsn: Lsn,
    commit_micros: i64,
    xid: u32,
    changes: u64,
}

impl Stream<'_> {
    /// Publishes changes until the shutdown.
    ///
    /// # Errors
    /// Anything that keeps the stream from going on; what was published stands in the offsets topic.
    pub async fn run(
        mut self,
        origin: Progress,
        place: Place,
        end_lsn: Lsn,
        handover: Option<Handover>,
    ) -> Result<(), RelayError> {
        let mut state = State {
            origin,
            place,
            end_lsn,
            published_end: end_lsn,
            handover,
            transaction: None,
            oldest_micros: None,
            unconfirmed: false,
            last_commit: Instant::now(),
            silent_since: Instant::now(),
            last_stock: Instant::now(),
            rows: Rows::default(),
            writer: Writer::default(),
            report: Report::default(),
        };
        self.client.update_applied_lsn(end_lsn);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.interrupts.shutdown.is_cancelled() {
            let ControlFlow::Continue(at_hand) = self.take_what_is_at_hand(&mut state).await? else {
                return self.leave();
            };
            if crash::is_armed(CrashPoint::RelayAfterFeedback) && std::mem::take(&mut state.unconfirmed) {
                self.crash_after_feedback(state.published_end).await?;
            }
            self.sink.pause()?;
            let deadline = self.sink.deadline();
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.commit(&mut state)?;
                continue;
            }
            let gathered = deadline
                .filter(|_| at_hand < FEW_EVENTS)
                .map(|deadline| deadline.min(Instant::now() + GATHER));
            tokio::select! {
                biased;
                () = self.interrupts.shutdown.cancelled() => {}
                () = self.interrupts.slot_lost.cancelled() => {
                    return Err(self.interrupts.taken());
                }
                // Before the events, which may never pause.
                _ = tick.tick() => self.take_stock(&mut state)?,
                event = self.client.recv(), if gathered.is_none() => {
                    if self.handle(&mut state, event).await?.is_break() {
                        return self.leave();
                    }
                    state.silent_since = Instant::now();
                }
                () = sleep_until(gathered.or(deadline)) => {}
            }
        }
        if self.sink.is_open() || state.end_lsn > state.published_end {
            self.commit(&mut state)?;
        }
        Ok(())
    }

    /// The crash point of which only PostgreSQL can say that it is reached.
    #[cold]
    async fn crash_after_feedback(&mut self, end_lsn: Lsn) -> Result<(), RelayError> {
        while slot::find(self.conn, self.interrupts.slot).await?.is_some_and(|slot| slot.confirmed < end_lsn)
        {
            tokio::time::sleep(FEEDBACK_INTERVAL).await;
        }
        crash::here(CrashPoint::RelayAfterFeedback);
        Ok(())
    }

    /// Ends where a change stays unpublished: what is not committed yet is published by the next start.
    fn leave(&self) -> Result<(), RelayError> {
        if self.sink.is_open() {
            self.sink.abort()?;
        }
        Ok(())
    }

    /// Handles events until none is ready or it is time to take stock, committing transactions that are full or old;
    /// how many events there were.
    async fn take_what_is_at_hand(
        &mut self,
        state: &mut State,
    ) -> Result<ControlFlow<(), usize>, RelayError> {
        let mut at_hand = 0;
        while let Some(event) = self.client.recv().now_or_never() {
            at_hand += 1;
            if self.handle(state, event).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            state.silent_since = Instant::now();
            if self.sink.is_full() || self.sink.age().is_some_and(|age| age >= MAX_AGE) {
                self.commit(state)?;
                if self.interrupts.shutdown.is_cancelled() || state.last_stock.elapsed() >= TICK {
                    break;
                }
            }
        }
        Ok(ControlFlow::Continue(at_hand))
    }

    async fn handle(
        &mut self,
        state: &mut State,
        event: Result<Option<ReplicationEvent>, PgWireError>,
    ) -> Result<Flow, RelayError> {
        match event?.ok_or(RelayError::StreamEnded)? {
            ReplicationEvent::XLogData { wal_start, data, .. } => {
                return self.message(state, wal_start, &data).await;
            }
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                state.transaction = Some(Transaction {
                    commit_lsn: final_lsn,
                    commit_micros: timestamp_from_binary(commit_time_micros),
                    xid,
                    changes: 0,
                });
            }
            ReplicationEvent::Commit { end_lsn, .. } => {
                state.transaction = None;
                state.end_lsn = state.end_lsn.max(end_lsn);
                state.report.transactions += 1;
                self.metrics.source_transactions.increment(1);
            }
            ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } => {
                state.reach(wal_end);
                // A server that shuts down asks until everything is confirmed, and does not end before.
                if reply_requested && state.transaction.is_none() && state.end_lsn > state.published_end {
                    self.commit(state)?;
                }
            }
            ReplicationEvent::Message { transactional: true, lsn, prefix, content }
                if prefix == events::repair::PREFIX =>
            {
                return self.repair(state, lsn, &content).await;
            }
            ReplicationEvent::Message { lsn, prefix, content, .. } => {
                state.reach(lsn);
                if prefix == pulse::PREFIX {
                    self.pulse.arrived(&content);
                }
            }
            ReplicationEvent::StoppedAt { .. } => return Err(RelayError::StreamEnded),
        }
        Ok(Flow::Continue(()))
    }

    /// Commits the records sent since the last time, and the place they lead to; then confirms to PostgreSQL.
    fn commit(&mut self, state: &mut State) -> Result<(), RelayError> {
        if state.handover.as_ref().is_some_and(|handover| handover.until <= state.end_lsn) {
            state.handover = None;
            tracing::info!(lsn = %state.end_lsn, "the stream has left the snapshot behind");
        }
        let phase =
            Phase::Streaming { place: state.place, end_lsn: state.end_lsn, handover: state.handover.clone() };
        let started = Instant::now();
        self.sink.commit(Progress { phase, ..state.origin.clone() })?;
        self.client.update_applied_lsn(state.end_lsn);
        state.published_end = state.end_lsn;
        state.last_commit = Instant::now();
        state.silent_since = state.last_commit;
        self.relations.count_published();
        self.metrics.kafka_transactions.increment(1);
        self.metrics.commit_seconds.record(started.elapsed());
        state.unconfirmed |= state.oldest_micros.is_some();
        if let Some(oldest) = state.oldest_micros.take() {
            self.metrics.latency_seconds.record(age_seconds(oldest));
        }
        Ok(())
    }

    fn take_stock(&mut self, state: &mut State) -> Result<(), RelayError> {
        state.last_stock = Instant::now();
        self.pulse.check(state.silent_since.elapsed())?;
        let behind = state.transaction.map(|transaction| transaction.commit_micros).or(state.oldest_micros);
        self.metrics.lag_seconds.set(behind.map_or(0.0, age_seconds));
        state.report.log_if_due(behind.map_or(0.0, age_seconds));
        let follows = state.transaction.is_none() && !self.sink.is_open();
        if follows && state.end_lsn > state.published_end && state.last_commit.elapsed() >= FOLLOW_INTERVAL {
            self.commit(state)?;
        }
        Ok(())
    }
}

impl State {
    /// Everything that committed before `lsn` has arrived, unless a transaction is still arriving.
    fn reach(&mut self, lsn: Lsn) {
        if self.transaction.is_none() {
            self.end_lsn = self.end_lsn.max(lsn);
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Seconds from a time in microseconds since 1970 until now.
fn age_seconds(micros: i64) -> f64 {
    let age = chrono::Utc::now().timestamp_micros().saturating_sub(micros).max(0);
    Duration::from_micros(age.unsigned_abs()).as_secs_f64()
}
