//! What is compared of a user and of its changes.

use std::collections::BTreeMap;

use uuid::Uuid;

/// What is compared of a user: every column that the load changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) run_id: String,
    pub(super) country: String,
    /// Microseconds since the epoch; of a table of Cassandra, milliseconds.
    pub(super) registered_at: i64,
    pub(super) email: Option<String>,
    /// This and what follows only where a stage has it.
    pub(super) username: Option<String>,
    pub(super) document_name: Option<String>,
    pub(super) document_value: Option<String>,
}

pub(super) type States = BTreeMap<Uuid, State>;

/// Kinds of a key's changes in their order, one letter each.
pub(super) type Ops = Vec<u8>;
