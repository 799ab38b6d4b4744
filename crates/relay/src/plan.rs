//! From a row of `pgoutput` or `COPY` straight to a record's bytes: made once a schema version, run once a row.

use events::avro::{put_long, put_str};
use events::meta::Op;
use events::wire;

use crate::pgoutput::{Cell, Row};
use crate::table::{Table, TableName};
use crate::value::{ColumnType, ValueError};

/// How to write the records of one table under one schema.
#[derive(Debug, Clone)]
pub struct Plan {
    table: TableName,
    header: [u8; wire::HEADER_LEN],
    columns: Vec<Field>,
    /// Columns of `__before`.
    identity: Vec<usize>,
    key: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    ty: ColumnType,
    required: bool,
}

/// Where and when a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its own position in the WAL.
    pub lsn: u64,
    /// Commit time of its transaction, microseconds since 1970.
    pub commit_micros: i64,
}

/// A row that does not fit its table's description.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// The bytes are not of the column's type.
    #[error("column {column} of {table} has a value that is not of its type")]
    Value {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// What could not be read.
        source: ValueError,
    },
    /// A column that every row must have.
    #[error("column {column} of {table} belongs to the key or the replica identity and has no value")]
    Missing {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
}

impl Plan {
    /// For a table whose schema the registry knows as `schema_id`.
    #[must_use]
    pub fn new(table: &Table, schema_id: u32) -> Self {
        let columns = table.columns.iter();
        Self {
            table: table.name.clone(),
            header: wire::header(schema_id),
            columns: columns
                .clone()
                .map(|column| Field { name: column.name.clone(), ty: column.ty, required: column.required })
                .collect(),
            identity: columns.enumerate().filter(|(_, column)| column.identity).map(|(i, _)| i).collect(),
            key: table.key.clone(),
        }
    }

    /// Writes the record key: the key's values as text, joined with `|`.
    ///
    /// # Errors
    /// A value is missing or not of its type.
    pub fn write_key(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), PlanError> {
        out.clear();
        for (position, index) in self.key.iter().enumerate() {
            if position > 0 {
                out.push(b'|');
            }
            self.write_key_value(*index, row, out)?;
        }
        Ok(())
    }

    /// The key's values as text, one each.
    ///
    /// # Errors
    /// As [`Plan::write_key`].
    pub fn key_values(&self, row: Row<'_>) -> Result<Vec<Vec<u8>>, PlanError> {
        let value = |index: &usize| {
            let mut out = Vec::new();
            self.write_key_value(*index, row, &mut out).map(|()| out)
        };
        self.key.iter().map(value).collect()
    }

    fn write_key_value(&self, index: usize, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), PlanError> {
        let (Some(field), Some((format, bytes))) = (self.columns.get(index), row.value(index)) else {
            return Err(self.missing(index));
        };
        field.ty.write_text(format, bytes, out).map_err(|source| self.wrong(field, source))
    }

    /// Writes the record value: the wire format's header and the Avro datum.
    ///
    /// # Errors
    /// A value is missing or not of its type.
    pub fn write_value(
        &self,
        op: Op,
        row: Row<'_>,
        before: Option<Row<'_>>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> Result<(), PlanError> {
        out.clear();
        out.extend_from_slice(&self.header);
        for (index, field) in self.columns.iter().enumerate() {
            self.write_field(index, field, row, out)?;
        }
        match before {
            None => put_long(0, out),
            Some(before) => {
                put_long(1, out);
                for index in &self.identity {
                    if let Some(field) = self.columns.get(*index) {
                        self.write_field(*index, field, before, out)?;
                    }
                }
            }
        }
        put_str(op.as_str(), out);
        put_long(stamp.lsn.cast_signed(), out);
        put_long(stamp.commit_micros, out);
        Ok(())
    }

    #[inline]
    fn write_field(
        &self,
        index: usize,
        field: &Field,
        row: Row<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), PlanError> {
        match (row.value(index), field.required) {
            (Some((format, bytes)), required) => {
                if !required {
                    put_long(1, out);
                }
                field.ty.encode(format, bytes, out).map_err(|source| self.wrong(field, source))
            }
            (None, false) => {
                put_long(0, out);
                Ok(())
            }
            (None, true) => Err(self.missing(index)),
        }
    }

    /// Whether a column of the replica identity differs between two versions of a row.
    #[must_use]
    pub fn identity_changed(&self, old: Row<'_>, new: Row<'_>) -> bool {
        self.identity
            .iter()
            .any(|index| new.cell(*index) != Cell::Unchanged && old.value(*index) != new.value(*index))
    }

    fn missing(&self, index: usize) -> PlanError {
        let column = self.columns.get(index).map_or_else(String::new, |field| field.name.clone());
        PlanError::Missing { table: self.table.clone(), column }
    }

    fn wrong(&self, field: &Field, source: ValueError) -> PlanError {
        PlanError::Value { table: self.table.clone(), column: field.name.clone(), source }
    }
}

#[cfg(test)]
mod tests;
