//! What is written for a record: made once per writer's schema, then followed for every record.

use std::hash::{DefaultHasher, Hasher as _};
use std::str::FromStr as _;

use events::avro::{Cell, Layout, Row};
use events::meta::Op;
use scylla::serialize::writers::CellWriter;
use scylla::statement::prepared::PreparedStatement;

use crate::convert::Nulls;
use crate::mapping::{Binding, Metadata};
use crate::poison::{Kind, Poison};
use crate::statement::{Bound, Statement, Statements};
use crate::table::Table;

/// Of a partition's key, enough for most.
const PARTITION_BYTES: usize = 64;

/// How records of one schema go to the tables.
#[derive(Debug)]
pub struct Plan {
    /// How to read them.
    pub layout: Layout,
    /// Where the change metadata is.
    pub metadata: Metadata,
    /// Every configured table, in the order of the configuration.
    pub tables: Vec<TablePlan>,
}

/// How records go to one table.
#[derive(Debug)]
pub struct TablePlan {
    /// The table as it was when the statements were prepared.
    pub table: Table,
    /// Its primary key.
    pub key: Vec<Binding>,
    /// Its primary key before an update, if the schema keeps it.
    pub old_key: Option<Vec<Binding>>,
    /// What is executed.
    pub statements: Statements,
}

/// What happened to the source's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Kind of change.
    pub op: Op,
    /// Its position, which is the write timestamp.
    pub lsn: i64,
    /// Time of the source's commit, microseconds since the epoch.
    pub commit_ts: i64,
}

/// One statement to execute for a record.
#[derive(Debug)]
pub struct Write<'a> {
    /// Number of the table in the plan.
    pub table: usize,
    /// A hash of its partition's key, where rows share partitions.
    pub partition: Option<u64>,
    /// Whether a row is removed.
    pub is_delete: bool,
    /// What is executed.
    pub statement: &'a PreparedStatement,
    /// Its values.
    pub values: Bound<'a>,
}

impl Plan {
    /// Reads the change metadata.
    ///
    /// # Errors
    /// An operation that does not exist, or a position or time that is missing.
    pub fn change(&self, row: &Row<'_>) -> Result<Change, Poison> {
        let invalid = |message: &str| Poison::new(Kind::InvalidChange, message);
        let Cell::String(op) = row.cell(self.metadata.op) else { return Err(invalid("__op is null")) };
        let op = Op::from_str(op).map_err(|error| invalid(&error.to_string()))?;
        // It is the write timestamp, which the smallest long can't be and no position in a log is below 0.
        let Cell::Long(lsn @ 0..) = row.cell(self.metadata.lsn) else {
            return Err(invalid("__lsn is null or negative"));
        };
        let Cell::Long(commit_ts) = row.cell(self.metadata.commit_ts) else {
            return Err(invalid("__commit_ts is null"));
        };
        Ok(Change { op, lsn, commit_ts })
    }

    /// The statements for a row. They touch different rows of Cassandra, so that their order does not matter.
    /// `is_new` says that no row can be there yet, so that a null has nothing to remove.
    ///
    /// # Errors
    /// A column of a primary key is null.
    pub fn writes<'a>(&'a self, row: &'a Row<'a>, op: Op, is_new: bool) -> Result<Vec<Write<'a>>, Poison> {
        let mut writes = Vec::with_capacity(self.tables.len());
        for (index, table) in self.tables.iter().enumerate() {
            table.check_key(&table.key, row)?;
            let write = |is_delete, statement: &'a Statement, key: &[Binding], nulls| Write {
                table: index,
                partition: table.partition(key, row),
                is_delete,
                statement: &statement.prepared,
                values: statement.bind(&row.cells, nulls),
            };
            if let Some(old) = table.moved_from(row) {
                table.check_key(old, row)?;
                let delete = table.statements.delete_old.as_ref();
                writes.extend(delete.map(|delete| write(true, delete, old, Nulls::Written)));
            }
            writes.push(match op {
                Op::Create | Op::Read | Op::Update => {
                    let nulls = if is_new { Nulls::Unset } else { Nulls::Written };
                    write(false, &table.statements.upsert, &table.key, nulls)
                }
                Op::Delete => write(true, &table.statements.delete, &table.key, Nulls::Written),
            });
        }
        Ok(writes)
    }
}

impl TablePlan {
    /// The old key, if the record has one and it differs as Cassandra keeps it: a row that has not moved must not be
    /// deleted with the timestamp of its own write, since a deletion wins over that.
    fn moved_from(&self, row: &Row<'_>) -> Option<&[Binding]> {
        let old_key = self.old_key.as_ref().filter(|_| row.has_before)?;
        let stays = |(new, old): (&Binding, &Binding)| {
            new.conversion.holds_same(row.cell(new.cell), old.conversion, row.cell(old.cell))
        };
        (!self.key.iter().zip(old_key).all(stays)).then_some(old_key)
    }

    /// A hash of the partition's key, unless each row has a partition of its own.
    fn partition(&self, key: &[Binding], row: &Row<'_>) -> Option<u64> {
        if self.table.partition == key.len() {
            return None;
        }
        let mut bytes = Vec::with_capacity(PARTITION_BYTES);
        for binding in key.iter().take(self.table.partition) {
            let cell = row.cell(binding.cell);
            // What does not fit is told by the write itself.
            binding.conversion.write(cell, Nulls::Written, CellWriter::new(&mut bytes)).ok()?;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Some(hasher.finish())
    }

    fn check_key(&self, key: &[Binding], row: &Row<'_>) -> Result<(), Poison> {
        match key.iter().find(|binding| row.cell(binding.cell) == Cell::Null) {
            None => Ok(()),
            Some(binding) => {
                let message =
                    format!("key column {} of table {} would be null", binding.column, self.table.name);
                Err(Poison::new(Kind::NullKey, message))
            }
        }
    }
}
