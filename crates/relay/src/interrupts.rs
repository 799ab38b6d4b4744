//! What ends a wait before its time: the shutdown, and the loss of the slot.

use tokio_util::sync::CancellationToken;

use crate::error::RelayError;

/// Watched by everything that may wait while the slot is held.
#[derive(Debug, Clone, Copy)]
pub struct Interrupts<'a> {
    /// When to stop.
    pub shutdown: &'a CancellationToken,
    /// Cancelled when the slot is no longer held.
    pub slot_lost: &'a CancellationToken,
    /// Name of the slot.
    pub slot: &'a str,
}

impl Interrupts<'_> {
    /// What the work gives; `None` if the shutdown came first. Work that is broken off must not be gone on with.
    ///
    /// # Errors
    /// Those of the work, or that the slot was lost.
    pub async fn race<T, E: Into<RelayError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Option<T>, RelayError> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Ok(None),
            () = self.slot_lost.cancelled() => Err(self.taken()),
            done = work => done.map(Some).map_err(Into::into),
        }
    }

    /// The error of a lost slot.
    #[must_use]
    pub fn taken(&self) -> RelayError {
        RelayError::SlotTaken { slot: self.slot.to_owned() }
    }
}
