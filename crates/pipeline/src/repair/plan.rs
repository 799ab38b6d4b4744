//! What is done about one gap.

use std::collections::BTreeSet;

use super::gaps::Gap;

/// What a repair is about.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) gap: Gap,
    /// Numbers that are in the topic: the reader passed them.
    pub(super) passed: u64,
    /// Keys of the rows to publish.
    pub(super) keys: BTreeSet<String>,
    /// Key of the record that says that it is repaired.
    pub(super) note_key: String,
}
