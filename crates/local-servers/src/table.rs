//! The table of a stack's processes: each with how to start it and how it does.

use std::{collections::BTreeMap, process::ExitStatus};

use serde::Serialize;

use crate::{
    process::{ProcessSpec, Running},
    state::{Phase, ProcessRecord},
};

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "how")]
pub enum ProcessState {
    /// It runs and has answered.
    Ready,
    /// It runs and has not answered yet.
    Starting,
    /// It was paused.
    Paused,
    /// It was stopped or killed through the stack.
    Stopped,
    /// It ended by itself.
    Exited(String),
}

/// A process and how it does.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    /// What is known of it.
    #[serde(flatten)]
    pub record: ProcessRecord,
    /// What it is doing.
    #[serde(flatten)]
    pub state: ProcessState,
    /// Resident memory of it and its descendants, in bytes.
    pub resident_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) phase: Phase,
    pub(crate) entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) spec: ProcessSpec,
    pub(crate) running: Option<Running>,
    pub(crate) ready: bool,
    /// How it ended, when it did so by itself.
    pub(crate) exit: Option<String>,
    /// Position in the order of the first starts.
    pub(crate) order: usize,
}

impl Entry {
    /// Notices the end of the process; returns its id if it has just ended.
    pub(crate) fn look(&mut self) -> Option<i32> {
        let running = self.running.as_mut()?;
        let status: ExitStatus = running.exit()?;
        let pid = running.id.pid;
        self.running = None;
        self.ready = false;
        self.exit = Some(status.to_string());
        Some(pid)
    }

    /// As others see it.
    pub(crate) fn record(&self) -> ProcessRecord {
        ProcessRecord {
            name: self.spec.name.clone(),
            version: self.spec.version.clone(),
            process: self.running.as_ref().map(|running| running.id),
            port: self.spec.port,
            log: self.spec.log.clone(),
            ready: self.ready,
            exit: self.exit.clone(),
        }
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> ProcessState {
        match (&self.running, &self.exit) {
            (Some(running), _) if running.paused => ProcessState::Paused,
            (Some(_), _) if self.ready => ProcessState::Ready,
            (Some(_), _) => ProcessState::Starting,
            (None, Some(how)) => ProcessState::Exited(how.clone()),
            (None, None) => ProcessState::Stopped,
        }
    }
}
