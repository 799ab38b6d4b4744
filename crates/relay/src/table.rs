//! A published table, with what its records need: types, key, and which columns old rows have.

use std::fmt;

use crate::pgoutput::{RelationMessage, ReplicaIdentity};
use crate::value::ColumnType;

/// A table's schema and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema, such as `public`.
    pub schema: String,
    /// Name.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in PostgreSQL.
    pub name: String,
    /// What its values are.
    pub ty: ColumnType,
    /// Whether old rows have it.
    pub identity: bool,
    /// Whether it is never null in a record, and so not a union in the schema.
    pub required: bool,
}

/// A published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema and name.
    pub name: TableName,
    /// The published columns, in the table's order.
    pub columns: Vec<Column>,
    /// Indexes of the key's columns, in the key's order.
    pub key: Vec<usize>,
}

/// A table whose changes can't be relayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is nothing to key its records by.
    #[error(
        "table {table} has no primary key, so its records would have no key: \
         ALTER TABLE {table} ADD PRIMARY KEY (…), or name its key columns in [relay.tables.\"{table}\"] key"
    )]
    NoKey {
        /// The table.
        table: TableName,
    },
    /// A column list of the publication leaves out a key column.
    #[error(
        "column {column} of {table} is part of the key and not published: \
         publish it (ALTER PUBLICATION … SET TABLE …), or set [relay.tables.\"{table}\"] key"
    )]
    KeyNotPublished {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Deletes and updates would not say which row they are about.
    #[error(
        "column {column} of {table} is part of the key and not of the replica identity, so a delete would not \
         say which row is gone: ALTER TABLE {table} REPLICA IDENTITY DEFAULT (or FULL)"
    )]
    KeyNotInIdentity {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
}

impl Table {
    /// From a relation's layout, the types of its columns (in order) and the names of its key columns.
    /// `has_old_rows` says whether the publication has updates or deletes.
    ///
    /// # Errors
    /// No key, or a key column that new or old rows do not have.
    pub fn new(
        relation: &RelationMessage,
        types: &[ColumnType],
        key: &[String],
        has_old_rows: bool,
    ) -> Result<Self, TableError> {
        let name = TableName { schema: relation.schema.clone(), table: relation.table.clone() };
        if key.is_empty() {
            return Err(TableError::NoKey { table: name });
        }
        let mut indexes = Vec::with_capacity(key.len());
        for column in key {
            let found = relation.columns.iter().position(|published| published.name == *column);
            let index = found
                .ok_or_else(|| TableError::KeyNotPublished { table: name.clone(), column: column.clone() })?;
            indexes.push(index);
        }
        let columns: Vec<Column> = relation
            .columns
            .iter()
            .zip(types)
            .enumerate()
            .map(|(index, (column, ty))| Column {
                name: column.name.clone(),
                ty: *ty,
                identity: column.identity,
                // A full identity flags every column, also those that may be null.
                required: match relation.replica_identity {
                    ReplicaIdentity::Default | ReplicaIdentity::Index => column.identity,
                    ReplicaIdentity::Full | ReplicaIdentity::Nothing => indexes.contains(&index),
                },
            })
            .collect();
        let table = Self { name, columns, key: indexes };
        let unknown = table.key_columns().find(|column| has_old_rows && !column.identity);
        if let Some(column) = unknown.map(|column| column.name.clone()) {
            return Err(TableError::KeyNotInIdentity { table: table.name, column });
        }
        Ok(table)
    }

    /// The columns of the key, in its order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|index| self.columns.get(*index))
    }

    /// Whether every value can be read in binary form, and the key written from it.
    #[must_use]
    pub fn reads_binary(&self) -> bool {
        self.columns.iter().all(|column| column.ty.reads_binary())
            && self.key_columns().all(|column| column.ty.key_from_binary())
    }
}
