use std::path::PathBuf;

use local_servers::{Phase, ProcessRecord, StackState};
use serde::Serialize;

use crate::local::{Manifest, Root, RootError};

/// Describes the stack on this machine.
#[derive(Debug, Serialize)]
pub struct StackStatus {
    /// Its folder.
    pub root: PathBuf,
    /// Says whether it starts, is ready, or stops.
    pub phase: Phase,
    /// Says how it was started, once it is ready.
    pub source: Option<Manifest>,
    /// The file of its passwords and tokens.
    pub secrets: PathBuf,
    /// Lists its processes in the order of their start.
    pub processes: Vec<ProcessStatus>,
}

/// Describes a process of the stack.
#[derive(Debug, Serialize)]
pub struct ProcessStatus {
    /// Has what the supervisor has written about it.
    #[serde(flatten)]
    pub record: ProcessRecord,
    /// Says whether it runs.
    pub alive: bool,
    /// Counts the bytes of memory that it holds.
    pub resident_bytes: u64,
}

impl StackStatus {
    /// Reads the state files. Returns `None` if no stack was started in this folder.
    ///
    /// # Errors
    /// Fails if a state file is there and can't be read.
    pub(super) fn read(root: &Root) -> Result<Option<Self>, RootError> {
        let Some(state) = StackState::load(root.path())? else { return Ok(None) };
        Ok(Some(Self {
            root: root.path().to_owned(),
            phase: state.phase,
            source: root.manifest()?,
            secrets: root.secrets_file(),
            processes: state.processes.into_iter().map(ProcessStatus::new).collect(),
        }))
    }

    /// Returns whether every process runs and is ready.
    pub(super) fn runs(&self) -> bool {
        self.phase == Phase::Ready
            && self.processes.iter().all(|process| process.alive && process.record.ready)
    }
}

impl ProcessStatus {
    fn new(record: ProcessRecord) -> Self {
        Self { alive: record.is_alive(), resident_bytes: record.resident_bytes(), record }
    }

    /// Describes its state in a few words for people, such as `ready`.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.alive, self.record.ready, &self.record.exit) {
            (true, true, _) => "ready".to_owned(),
            (true, false, _) => "starting".to_owned(),
            (false, _, Some(how)) => format!("ended ({how})"),
            (false, _, None) => "stopped".to_owned(),
        }
    }
}
