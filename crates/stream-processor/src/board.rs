//! What several workers wait for, as one component of the service's health.

use std::sync::{Mutex, PoisonError};

use service::health::Component;

/// Ready when every worker is; otherwise it shows the first worker's reason.
#[derive(Debug)]
pub(crate) struct Board {
    component: Component,
    reasons: Mutex<Vec<Option<String>>>,
}

impl Board {
    /// Nobody waits yet, which makes the component ready.
    pub(crate) fn ready(component: Component, workers: usize) -> Self {
        let board = Self { component, reasons: Mutex::new(vec![None; workers]) };
        board.update(0, None);
        board
    }

    /// Every worker waits for the same to begin with.
    pub(crate) fn waiting(component: Component, workers: usize, reason: &str) -> Self {
        component.waiting(reason);
        Self { component, reasons: Mutex::new(vec![Some(reason.to_owned()); workers]) }
    }

    /// `None`: the worker waits no longer.
    pub(crate) fn update(&self, worker: usize, reason: Option<String>) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = reasons.get_mut(worker) {
            *slot = reason;
        }
        match reasons.iter().flatten().next() {
            None => self.component.ready(),
            Some(reason) => self.component.waiting(reason),
        }
    }
}
