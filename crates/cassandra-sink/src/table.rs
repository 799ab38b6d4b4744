//! The tables as Cassandra describes them.

use std::collections::BTreeMap;

use scylla::client::session::Session;
use scylla::cluster::metadata::ColumnType;

use crate::config::TableConfig;

/// A table's columns and its primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Name, without the keyspace.
    pub name: String,
    /// Every column and its type.
    pub columns: BTreeMap<String, ColumnType<'static>>,
    /// Columns of the partition key, then those of the clustering key.
    pub key: Vec<String>,
    /// How many of them are the partition key.
    pub partition: usize,
}

/// What a migration has to make first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Or the driver could not read it yet.
    #[error("there is no keyspace {0}; `pipeline migrate` makes it")]
    NoKeyspace(String),
    /// A table of the configuration.
    #[error("there is no table {keyspace}.{table}; `pipeline migrate` makes it")]
    NoTable {
        /// The keyspace.
        keyspace: String,
        /// The table.
        table: String,
    },
    /// A column that the configuration maps.
    #[error(
        "table {table} has no column {column}, which cassandra_sink.tables maps to the field {field}; run \
         `pipeline migrate` or correct the mapping"
    )]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The field it is mapped to.
        field: String,
    },
}

/// The configured tables, from what the session knows of the cluster's schema.
///
/// # Errors
/// The first thing that is missing.
pub fn read(session: &Session, keyspace: &str, tables: &[TableConfig]) -> Result<Vec<Table>, TableError> {
    let cluster = session.get_cluster_state();
    let known = cluster.get_keyspace(keyspace).ok_or_else(|| TableError::NoKeyspace(keyspace.to_owned()))?;
    tables
        .iter()
        .map(|config| {
            let table = known.tables.get(&config.name).ok_or_else(|| TableError::NoTable {
                keyspace: keyspace.to_owned(),
                table: config.name.clone(),
            })?;
            if let Some((column, field)) =
                config.columns.iter().find(|(column, _)| !table.columns.contains_key(*column))
            {
                return Err(TableError::NoColumn {
                    table: config.name.clone(),
                    column: column.clone(),
                    field: field.clone(),
                });
            }
            Ok(Table {
                name: config.name.clone(),
                columns: table
                    .columns
                    .iter()
                    .map(|(name, column)| (name.clone(), column.typ.clone()))
                    .collect(),
                key: table.partition_key.iter().chain(&table.clustering_key).cloned().collect(),
                partition: table.partition_key.len(),
            })
        })
        .collect()
}
