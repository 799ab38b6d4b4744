use kafka::TransactionError;
use kafka::reader::ReadError;
use tokio::task::JoinError;

use super::dead_letter::DeadLetterName;

/// Says why dead letters could not be read or dealt with.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// A dead-letter topic can't be read.
    #[error(transparent)]
    Topic(#[from] ReadError),
    /// No dead letter of this name is open.
    #[error("{0} is no open dead letter; `pipeline dlq list` has those that are")]
    NotOpen(DeadLetterName),
    /// A redrive or purge stopped before its end.
    #[error("stopped after {done} dead letters; run it again, it goes on with those that are still open")]
    Transaction {
        /// Counts the dead letters that are dealt with.
        done: u64,
        /// Says why it stopped.
        source: TransactionError,
    },
    /// The thread that read a topic panicked, or the runtime ended.
    #[error(transparent)]
    BrokenOff(#[from] JoinError),
}
