//! One change of a row into its records.
//!
//! An insert or update is one record; a delete is a record with the old identity and a tombstone. An update of the
//! key is a delete under the old key and a create under the new one, since the records of a key stay in order only
//! within the key's partition.

use events::meta::Op;
use events::repair::Note;

use crate::error::RelayError;
use crate::pgoutput::{ChangeKind, Row};
use crate::plan::Stamp;
use crate::progress::{Coverage, NotComparable};
use crate::relations::Active;
use crate::sink::{Record, Sink};

/// Buffers for keys and values, kept from change to change.
#[derive(Debug, Default)]
pub struct Writer {
    key: Vec<u8>,
    old_key: Vec<u8>,
    value: Vec<u8>,
}

/// A change and the rows it is about.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What happened.
    pub kind: ChangeKind,
    /// The row after it; of no meaning for a delete.
    pub new: Row<'a>,
    /// The row before it, as far as the change has it.
    pub old: Row<'a>,
    /// Where and when.
    pub stamp: Stamp,
}

/// Which changes were published by the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// What the snapshot published, while it may matter.
    pub coverage: Option<&'a Coverage>,
    /// The change's transaction.
    pub xid: u32,
}

/// A row that is published once more, see [`crate::repair`].
#[derive(Debug, Clone, Copy)]
pub struct Repaired<'a> {
    /// The row as it is, if it is there.
    pub new: Option<Row<'a>>,
    /// The identity that the last record of the key had, if that was no delete.
    pub old: Option<Row<'a>>,
}

impl Published<'_> {
    fn contains(&self, table: &Active, row: Row<'_>) -> Result<bool, RelayError> {
        let Some(coverage) = self.coverage else { return Ok(false) };
        let key = table.plan.key_values(row)?;
        let contained: Result<bool, NotComparable> =
            coverage.contains(&table.name, &table.order, &key, self.xid);
        Ok(contained?)
    }
}

impl Writer {
    /// Writes the records of a change, except those that the snapshot published. `false` if that was all of them.
    ///
    /// # Errors
    /// A row that does not fit its table, or Kafka's errors.
    pub fn write(
        &mut self,
        table: &mut Active,
        change: Change<'_>,
        published: Published<'_>,
        sink: &mut Sink,
    ) -> Result<bool, RelayError> {
        match change.kind {
            ChangeKind::Insert => self.put(table, Op::Create, change, None, published, sink),
            ChangeKind::Delete => self.delete(table, change, published, sink),
            ChangeKind::Update { has_old: false } => {
                self.put(table, Op::Update, change, None, published, sink)
            }
            ChangeKind::Update { has_old: true } => {
                table.plan.write_key(change.old, &mut self.old_key)?;
                table.plan.write_key(change.new, &mut self.key)?;
                if self.key == self.old_key {
                    let changed = table.plan.identity_changed(change.old, change.new);
                    let before = changed.then_some(change.old);
                    return self.put(table, Op::Update, change, before, published, sink);
                }
                let deleted = self.delete(table, change, published, sink)?;
                let created = self.put(table, Op::Create, change, None, published, sink)?;
                Ok(deleted || created)
            }
        }
    }

    /// Writes a row that was there before the stream began.
    ///
    /// # Errors
    /// A row that does not fit its table, or Kafka's errors.
    pub fn write_read(
        &mut self,
        table: &mut Active,
        row: Row<'_>,
        stamp: Stamp,
        sink: &mut Sink,
    ) -> Result<(), RelayError> {
        let change = Change { kind: ChangeKind::Insert, new: row, old: row, stamp };
        self.put(table, Op::Read, change, None, Published { coverage: None, xid: 0 }, sink)?;
        Ok(())
    }

    /// Writes a row as it is now: an update that takes what was made of the last record away, or a delete. How many
    /// records that were.
    ///
    /// # Errors
    /// As [`Self::write_read`].
    pub fn write_repaired(
        &mut self,
        table: &mut Active,
        row: Repaired<'_>,
        stamp: Stamp,
        sink: &mut Sink,
    ) -> Result<u64, RelayError> {
        const EVERYTHING: Published<'_> = Published { coverage: None, xid: 0 };
        let change = |new, old| Change { kind: ChangeKind::Delete, new, old, stamp };
        match (row.new, row.old) {
            (Some(new), old) => {
                let before = old.filter(|old| table.plan.identity_changed(*old, new));
                self.put(table, Op::Update, change(new, new), before, EVERYTHING, sink)?;
                Ok(1)
            }
            (None, Some(old)) => {
                self.delete(table, change(old, old), EVERYTHING, sink)?;
                Ok(2)
            }
            (None, None) => Ok(0),
        }
    }

    /// Writes the record that ends a repair: a tombstone of a key that no row has, which passes every service and of
    /// which nothing is made.
    ///
    /// # Errors
    /// Kafka's.
    pub fn write_note(
        &mut self,
        table: &Active,
        note: &Note,
        stamp: Stamp,
        sink: &mut Sink,
    ) -> Result<(), RelayError> {
        sink.send(Record {
            table: &table.table.name,
            topic: &table.topic,
            key: note.key.as_bytes(),
            value: None,
            timestamp_ms: stamp.commit_micros.div_euclid(1000),
            repaired: Some(&note.repaired),
        })?;
        Ok(())
    }

    fn put(
        &mut self,
        table: &mut Active,
        op: Op,
        change: Change<'_>,
        before: Option<Row<'_>>,
        published: Published<'_>,
        sink: &mut Sink,
    ) -> Result<bool, RelayError> {
        if published.contains(table, change.new)? {
            return Ok(false);
        }
        table.plan.write_key(change.new, &mut self.key)?;
        table.plan.write_value(op, change.new, before, change.stamp, &mut self.value)?;
        self.send(table, change.stamp, Some(op), sink)?;
        Ok(true)
    }

    fn delete(
        &mut self,
        table: &mut Active,
        change: Change<'_>,
        published: Published<'_>,
        sink: &mut Sink,
    ) -> Result<bool, RelayError> {
        if published.contains(table, change.old)? {
            return Ok(false);
        }
        table.plan.write_key(change.old, &mut self.key)?;
        table.plan.write_value(Op::Delete, change.old, None, change.stamp, &mut self.value)?;
        self.send(table, change.stamp, Some(Op::Delete), sink)?;
        self.send(table, change.stamp, None, sink)?;
        Ok(true)
    }

    /// Sends the key with the value, or with none as a tombstone.
    fn send(
        &self,
        table: &mut Active,
        stamp: Stamp,
        op: Option<Op>,
        sink: &mut Sink,
    ) -> Result<(), RelayError> {
        sink.send(Record {
            table: &table.table.name,
            topic: &table.topic,
            key: &self.key,
            value: op.is_some().then_some(&self.value),
            timestamp_ms: stamp.commit_micros.div_euclid(1000),
            repaired: None,
        })?;
        if let Some(op) = op {
            table.metrics.add(op);
        }
        Ok(())
    }
}
