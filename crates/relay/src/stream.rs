//! The stream of changes: from the replication connection into Kafka transactions.
//!
//! Many transactions of PostgreSQL share one of Kafka, and a large one takes several. What is at or before the
//! published place is skipped. PostgreSQL is told to forget WAL only once Kafka has committed what came of it.

use std::time::{Duration, Instant};

use events::repair::Order;
use futures::FutureExt as _;
use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationEvent};
use service::crash::{self, CrashPoint};
use sqlx::postgres::PgConnection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::change::{Change, Published, Writer};
use crate::error::RelayError;
use crate::metrics::RelayMetrics;
use crate::pgoutput::{self, Cell, ChangeKind, Message, Row, Rows};
use crate::plan::Stamp;
use crate::progress::{Handover, Phase, Place, Progress};
use crate::relations::Relations;
use crate::repair;
use crate::report::Report;
use crate::sink::Sink;
use crate::unchanged;
use crate::value::datetime::timestamp_from_binary;

/// How long a Kafka transaction may stay open while there is more at hand, so that a steady stream is not delayed
/// by the size of its transactions.
const MAX_AGE: Duration = Duration::from_millis(250);

/// How often an idle relay takes stock.
const TICK: Duration = Duration::from_secs(1);

/// How often the position follows the WAL when there is nothing to publish.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(10);

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
    /// When to stop.
    pub shutdown: &'a CancellationToken,
    /// Cancelled when the slot is no longer held.
    pub slot_lost: &'a CancellationToken,
    /// Name of the slot.
    pub slot: &'a str,
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
    last_commit: Instant,
    last_stock: Instant,
    rows: Rows,
    writer: Writer,
    report: Report,
}

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
            last_commit: Instant::now(),
            last_stock: Instant::now(),
            rows: Rows::default(),
            writer: Writer::default(),
            report: Report::default(),
        };
        self.client.update_applied_lsn(end_lsn);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.shutdown.is_cancelled() {
            self.take_what_is_at_hand(&mut state).await?;
            let deadline = self.sink.deadline();
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.commit(&mut state)?;
                continue;
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {}
                () = self.slot_lost.cancelled() => {
                    return Err(RelayError::SlotTaken { slot: self.slot.to_owned() });
                }
                // Before the events, which may never pause.
                _ = tick.tick() => self.take_stock(&mut state)?,
                event = self.client.recv() => self.handle(&mut state, event).await?,
                () = sleep_until(deadline) => self.commit(&mut state)?,
            }
        }
        if self.sink.is_open() || state.end_lsn > state.published_end {
            self.commit(&mut state)?;
        }
        Ok(())
    }

    /// Handles events until none is ready or it is time to take stock, committing transactions that are full or old.
    async fn take_what_is_at_hand(&mut self, state: &mut State) -> Result<(), RelayError> {
        while let Some(event) = self.client.recv().now_or_never() {
            self.handle(state, event).await?;
            if self.sink.is_full() || self.sink.age().is_some_and(|age| age >= MAX_AGE) {
                self.commit(state)?;
                if self.shutdown.is_cancelled() || state.last_stock.elapsed() >= TICK {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn handle(
        &mut self,
        state: &mut State,
        event: Result<Option<ReplicationEvent>, PgWireError>,
    ) -> Result<(), RelayError> {
        match event?.ok_or(RelayError::StreamEnded)? {
            ReplicationEvent::XLogData { wal_start, data, .. } => self.message(state, wal_start, &data).await,
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                state.transaction = Some(Transaction {
                    commit_lsn: final_lsn,
                    commit_micros: timestamp_from_binary(commit_time_micros),
                    xid,
                    changes: 0,
                });
                Ok(())
            }
            ReplicationEvent::Commit { end_lsn, .. } => {
                state.transaction = None;
                state.end_lsn = state.end_lsn.max(end_lsn);
                state.report.transactions += 1;
                self.metrics.source_transactions.increment(1);
                Ok(())
            }
            ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } => {
                state.reach(wal_end);
                // A server that shuts down asks until everything is confirmed, and does not end before.
                if reply_requested && state.transaction.is_none() && state.end_lsn > state.published_end {
                    self.commit(state)?;
                }
                Ok(())
            }
            ReplicationEvent::Message { transactional: true, lsn, prefix, content }
                if prefix == events::repair::PREFIX =>
            {
                self.repair(state, lsn, &content).await
            }
            ReplicationEvent::Message { lsn, .. } => {
                state.reach(lsn);
                Ok(())
            }
            ReplicationEvent::StoppedAt { .. } => Err(RelayError::StreamEnded),
        }
    }

    async fn message(&mut self, state: &mut State, lsn: Lsn, data: &[u8]) -> Result<(), RelayError> {
        match pgoutput::parse(data, &mut state.rows)? {
            Message::Change { relation, kind } => self.change(state, lsn, data, relation, kind).await,
            Message::Relation(relation) => {
                self.relations.describe(relation);
                Ok(())
            }
            Message::Truncate { relations } => {
                if self.next_change(state)?.is_some() {
                    self.metrics.truncates.increment(1);
                    let tables: Vec<String> =
                        relations.iter().filter_map(|id| self.relations.name(*id)).collect();
                    tracing::warn!(
                        tables = tables.join(", "),
                        "TRUNCATE is not relayed: no record says which keys are gone; delete the rows instead"
                    );
                }
                Ok(())
            }
            Message::Ignored => Ok(()),
        }
    }

    /// Moves on to the next change of the transaction; `None` if it is published already.
    fn next_change(&self, state: &mut State) -> Result<Option<Transaction>, RelayError> {
        let transaction = state.transaction.as_mut().ok_or(RelayError::NoTransaction)?;
        transaction.changes += 1;
        let place = Place { commit_lsn: transaction.commit_lsn, ordinal: transaction.changes };
        if place <= state.place {
            self.metrics.skipped_published.increment(1);
            return Ok(None);
        }
        state.place = place;
        Ok(Some(*transaction))
    }

    async fn change(
        &mut self,
        state: &mut State,
        lsn: Lsn,
        data: &[u8],
        relation: u32,
        kind: ChangeKind,
    ) -> Result<(), RelayError> {
        let Some(transaction) = self.next_change(state)? else {
            return Ok(());
        };
        if self.relations.active(relation).is_none() && !self.relations.activate(self.conn, relation).await? {
            // The shutdown came while the registry was waited for: the change stays unpublished.
            state.place.ordinal -= 1;
            return Ok(());
        }
        let filled = if matches!(kind, ChangeKind::Update { .. }) && state.rows.new.contains(&Cell::Unchanged)
        {
            let table = self.relations.active(relation).ok_or(RelayError::UnknownRelation(relation))?;
            let has_old = kind == ChangeKind::Update { has_old: true };
            unchanged::fill(self.conn, table, data, &mut state.rows, has_old, &self.metrics.fetched).await?
        } else {
            None
        };
        let data = filled.as_deref().unwrap_or(data);
        let table = self.relations.active_mut(relation).ok_or(RelayError::UnknownRelation(relation))?;
        let change = Change {
            kind,
            new: Row { data, cells: &state.rows.new },
            old: Row { data, cells: &state.rows.old },
            stamp: Stamp { lsn: lsn.as_u64(), commit_micros: transaction.commit_micros },
        };
        let handover = state.handover.as_ref().filter(|handover| transaction.commit_lsn < handover.until);
        let published =
            Published { coverage: handover.map(|handover| &handover.coverage), xid: transaction.xid };
        if state.writer.write(table, change, published, self.sink)? {
            state.oldest_micros.get_or_insert(transaction.commit_micros);
            state.report.rows += 1;
        } else {
            self.metrics.skipped_snapshot.increment(1);
        }
        Ok(())
    }

    /// Publishes rows once more. An order that nobody can follow is logged and left out, as it would stay one.
    async fn repair(&mut self, state: &mut State, lsn: Lsn, content: &[u8]) -> Result<(), RelayError> {
        let Some(transaction) = self.next_change(state)? else {
            return Ok(());
        };
        let order: Order = match serde_json::from_slice(content) {
            Ok(order) => order,
            Err(error) => {
                tracing::warn!(%lsn, %error, "not an order for a repair");
                return Ok(());
            }
        };
        let published = catalog::published(self.conn, self.publication).await?;
        let Some(relation) = self.relations.find(&order.table, published) else {
            tracing::warn!(%lsn, table = order.table, "no repair: the table is not published");
            return Ok(());
        };
        if self.relations.active(relation).is_none() && !self.relations.activate(self.conn, relation).await? {
            state.place.ordinal -= 1;
            return Ok(());
        }
        let table = self.relations.active_mut(relation).ok_or(RelayError::UnknownRelation(relation))?;
        let stamp = Stamp { lsn: lsn.as_u64(), commit_micros: transaction.commit_micros };
        let records = repair::publish(self.conn, table, &order, stamp, &mut state.writer, self.sink).await?;
        state.oldest_micros.get_or_insert(transaction.commit_micros);
        state.report.rows += records;
        tracing::info!(table = order.table, rows = order.rows.len(), records, "repaired");
        Ok(())
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
        crash::here(CrashPoint::RelayAfterFeedback);
        state.published_end = state.end_lsn;
        state.last_commit = Instant::now();
        self.relations.count_published();
        self.metrics.kafka_transactions.increment(1);
        self.metrics.commit_seconds.record(started.elapsed());
        if let Some(oldest) = state.oldest_micros.take() {
            self.metrics.latency_seconds.record(age_seconds(oldest));
        }
        Ok(())
    }

    fn take_stock(&mut self, state: &mut State) -> Result<(), RelayError> {
        state.last_stock = Instant::now();
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
