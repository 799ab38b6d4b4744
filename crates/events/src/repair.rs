//! What `pipeline repair` asks the relay for: a logical message in PostgreSQL's WAL.
//!
//! It has its place between the changes of the tables, so that what the relay reads for it is published before
//! every change that follows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Prefix of the messages, which must be transactional.
pub const PREFIX: &str = "pipeline.repair";

/// Rows to publish once more, as they are when the relay meets the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Schema and name of the table, such as `public.users`.
    pub table: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// What is repaired with these rows, if they are the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// Says that a repair has ended, in a record of its own behind those of the rows: a row may turn out to be no row of
/// the table, or become a dead letter on its way, and there may be none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The record's key, which no row has. It leads the record, a tombstone, to the partition that is repaired.
    pub key: String,
    /// The value of its header.
    pub repaired: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The values of its key as PostgreSQL's text, in the order of the key.
    pub key: Vec<String>,
    /// What the columns of the replica identity were in the last record of the key, as PostgreSQL's text: what was
    /// made of that record goes away. Empty if there is none, or if it was a delete.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub old: BTreeMap<String, String>,
}
