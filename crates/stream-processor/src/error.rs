//! What ends a worker's session, and what follows from it.

use kafka::{Remedy, TransactionError};
use rdkafka::error::KafkaError;

use crate::engine::UnknownSchema;

/// Why a worker can't go on with its consumer and producer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A step of a transaction failed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The consumer can't be made, or has failed for good.
    #[error("the consumer of {topic} failed")]
    Consumer {
        /// What it reads.
        topic: String,
        /// librdkafka's reason.
        #[source]
        source: KafkaError,
    },
    /// Spark's job works on the group.
    #[error("{0}")]
    Held(String),
    /// Offsets can't be committed without it.
    #[error("the consumer has no group metadata; its group.id is missing")]
    NoGroup,
    /// A record's schema went missing between two looks.
    #[error(transparent)]
    Schema(#[from] UnknownSchema),
}

/// What follows from a failed session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Make a new producer, which settles the last transaction, and a new consumer, which reads back what was
    /// committed.
    Restart,
    /// The same, unless it happens again and again: somebody else has the same transactional id.
    RestartUnlessFencedOften,
    /// Only whoever started the other engine can repair it.
    GiveIn,
}

impl SessionError {
    pub(crate) const fn policy(&self) -> Policy {
        match self {
            Self::Transaction(error) => match error.remedy {
                Remedy::Abort | Remedy::Restart => Policy::Restart,
                // Also what a producer is told whose process stood still for longer than its transaction may take.
                Remedy::Fenced => Policy::RestartUnlessFencedOften,
            },
            Self::Held(_) => Policy::GiveIn,
            Self::Consumer { .. } | Self::NoGroup | Self::Schema(_) => Policy::Restart,
        }
    }
}

/// Why the service stops.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// Two processes fight for one transactional id.
    #[error(
        "the transactional id {id} is taken over by another process again and again; \
         give each process its own `stream_processor.instance`"
    )]
    Fenced {
        /// The contested id.
        id: String,
    },
    /// Spark's job works on the group.
    #[error("{0}")]
    Held(String),
    /// The registry does not take the schema of the processed users.
    #[error("the schema of {subject} can't be registered")]
    Schema {
        /// The subject.
        subject: String,
        /// The registry's answer.
        source: Box<events::RegistryError>,
    },
}
