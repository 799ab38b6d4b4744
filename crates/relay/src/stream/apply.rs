//! One message of the stream into records, and the position onto it once they are written.

use events::repair::Order;
use pgwire_replication::Lsn;

use super::{Flow, State, Stream, Transaction};
use crate::catalog;
use crate::change::{Change, Published};
use crate::error::RelayError;
use crate::pgoutput::{self, Cell, ChangeKind, Message, Row};
use crate::plan::Stamp;
use crate::progress::Place;
use crate::repair;
use crate::unchanged;

/// A change that is not published yet.
struct Next {
    transaction: Transaction,
    place: Place,
}

impl Stream<'_> {
    pub(super) async fn message(
        &mut self,
        state: &mut State,
        lsn: Lsn,
        data: &[u8],
    ) -> Result<Flow, RelayError> {
        match pgoutput::parse(data, &mut state.rows)? {
            Message::Change { relation, kind } => {
                return self.change(state, lsn, data, relation, kind).await;
            }
            Message::Relation(relation) => self.relations.describe(relation),
            Message::Truncate { relations } => {
                if let Some(next) = self.next_change(state)? {
                    self.metrics.truncates.increment(1);
                    let tables: Vec<String> =
                        relations.iter().filter_map(|id| self.relations.name(*id)).collect();
                    tracing::warn!(
                        tables = tables.join(", "),
                        "TRUNCATE is not relayed: no record says which keys are gone; delete the rows instead"
                    );
                    state.place = next.place;
                }
            }
            Message::Ignored => {}
        }
        Ok(Flow::Continue(()))
    }

    /// The next change of the transaction; `None` if it is published already. The position stays before it until its
    /// records are written.
    fn next_change(&self, state: &mut State) -> Result<Option<Next>, RelayError> {
        let transaction = state.transaction.as_mut().ok_or(RelayError::NoTransaction)?;
        transaction.changes += 1;
        let place = Place { commit_lsn: transaction.commit_lsn, ordinal: transaction.changes };
        if place <= state.place {
            self.metrics.skipped_published.increment(1);
            return Ok(None);
        }
        Ok(Some(Next { transaction: *transaction, place }))
    }

    /// Makes the table's plan. `None` if the shutdown came first.
    ///
    /// The registry may be away for long: what was sent before is committed first, so that its readers do not wait
    /// for it and the brokers do not abort it meanwhile.
    async fn activate(&mut self, state: &mut State, relation: u32) -> Result<Option<()>, RelayError> {
        if self.relations.active(relation).is_some() {
            return Ok(Some(()));
        }
        if self.sink.is_open() {
            self.commit(state)?;
        }
        let active = self.interrupts.race(self.relations.activate(self.conn, relation)).await?;
        Ok(active.filter(|active| *active).map(|_| ()))
    }

    async fn change(
        &mut self,
        state: &mut State,
        lsn: Lsn,
        data: &[u8],
        relation: u32,
        kind: ChangeKind,
    ) -> Result<Flow, RelayError> {
        let Some(Next { transaction, place }) = self.next_change(state)? else {
            return Ok(Flow::Continue(()));
        };
        if self.activate(state, relation).await?.is_none() {
            return Ok(Flow::Break(()));
        }
        let filled = if matches!(kind, ChangeKind::Update { .. }) && state.rows.new.contains(&Cell::Unchanged)
        {
            let table = self.relations.active(relation).ok_or(RelayError::UnknownRelation(relation))?;
            let has_old = kind == ChangeKind::Update { has_old: true };
            let fetched = &self.metrics.fetched;
            let filled = unchanged::fill(self.conn, table, data, &mut state.rows, has_old, fetched);
            match self.interrupts.race(filled).await? {
                Some(filled) => filled,
                None => return Ok(Flow::Break(())),
            }
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
        state.place = place;
        Ok(Flow::Continue(()))
    }

    /// Publishes rows once more. An order that nobody can follow is logged and left out, as it would stay one.
    pub(super) async fn repair(
        &mut self,
        state: &mut State,
        lsn: Lsn,
        content: &[u8],
    ) -> Result<Flow, RelayError> {
        let Some(Next { transaction, place }) = self.next_change(state)? else {
            return Ok(Flow::Continue(()));
        };
        let order: Order = match serde_json::from_slice(content) {
            Ok(order) => order,
            Err(error) => {
                tracing::warn!(%lsn, %error, "not an order for a repair");
                state.place = place;
                return Ok(Flow::Continue(()));
            }
        };
        let published = catalog::published(self.conn, self.publication).await?;
        let Some(relation) = self.relations.find(&order.table, published) else {
            tracing::warn!(%lsn, table = order.table, "no repair: the table is not published");
            state.place = place;
            return Ok(Flow::Continue(()));
        };
        if self.activate(state, relation).await?.is_none() {
            return Ok(Flow::Break(()));
        }
        let table = self.relations.active_mut(relation).ok_or(RelayError::UnknownRelation(relation))?;
        let stamp = Stamp { lsn: lsn.as_u64(), commit_micros: transaction.commit_micros };
        let repaired = repair::publish(self.conn, table, &order, stamp, &mut state.writer, self.sink);
        let Some(records) = self.interrupts.race(repaired).await? else {
            return Ok(Flow::Break(()));
        };
        state.oldest_micros.get_or_insert(transaction.commit_micros);
        state.report.rows += records;
        tracing::info!(table = order.table, rows = order.rows.len(), records, "repaired");
        state.place = place;
        Ok(Flow::Continue(()))
    }
}
