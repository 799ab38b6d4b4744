//! What the simulator has done so far.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::faults::Fault;
use crate::poison::Poison;

/// Counts since the start. `GET /_sim/stats` gives them as JSON under these names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests for users, whatever became of them.
    pub requests: u64,
    /// Complete pages.
    pub pages: u64,
    /// Users on them.
    pub users: u64,
    /// Bytes of their JSON before compression.
    pub json_bytes: u64,
    /// Requests over the rate limit.
    pub rate_limited: u64,
    /// Requests that the real server never answers.
    pub hangs: u64,
    /// Requests for an unknown version or a format that is not simulated.
    pub refused: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Damaged profiles on complete pages by kind.
    pub poisoned: BTreeMap<Poison, u64>,
}
