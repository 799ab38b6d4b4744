//! What can go wrong, and what follows from it.

use events::RegistryError;
use kafka::{Remedy, TransactionError};
use pgwire_replication::PgWireError;

use crate::offsets::OffsetsError;
use crate::pgoutput::Malformed;
use crate::plan::PlanError;
use crate::preflight::{NotYet, Unusable};
use crate::progress::NotComparable;
use crate::schema::NameClash;
use crate::snapshot::SnapshotError;
use crate::table::{TableError, TableName};

/// Why the relay stopped publishing.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No connection.
    #[error("PostgreSQL at {address} can't be reached")]
    Unreachable {
        /// Host and port.
        address: String,
        /// sqlx's error.
        source: sqlx::Error,
    },
    /// A query, or the connection while it ran.
    #[error("PostgreSQL failed a query of the relay")]
    Sql(#[from] sqlx::Error),
    /// The replication connection.
    #[error("the replication connection failed")]
    Replication(#[from] PgWireError),
    /// The server closed the stream.
    #[error("PostgreSQL ended the replication stream")]
    StreamEnded,
    /// Another session has the slot, or none has.
    #[error("slot {slot} is no longer held by this relay")]
    SlotTaken {
        /// The slot.
        slot: String,
    },
    /// The replication connection is dead, and neither side was told.
    #[error(
        "nothing came through the replication connection for {seconds} s, though PostgreSQL sent something or is away"
    )]
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// Something must be there first.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// Somebody must repair something.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A Kafka transaction.
    #[error(transparent)]
    Kafka(#[from] TransactionError),
    /// The position could not be read back.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// A record that Kafka does not take.
    #[error(
        "a record of {table} with {bytes} bytes is larger than message.max.bytes allows: raise it in \
         [kafka.properties] and max.message.bytes of the topic {topic}"
    )]
    TooLarge {
        /// The table.
        table: TableName,
        /// Its topic.
        topic: String,
        /// Bytes of the record's value.
        bytes: usize,
        /// Kafka's refusal.
        source: Box<TransactionError>,
    },
    /// The registry refuses the schema.
    #[error(
        "the Schema Registry refuses the schema of {table} for {topic} ({changes}). Nothing is lost: rows written since \
         the change wait in the slot. Set the compatibility of subject {topic}-value to NONE, start the relay, and set \
         it back when it is ready. To undo the change (ALTER TABLE) alone helps only if no row was written since"
    )]
    Schema {
        /// The table.
        table: TableName,
        /// Its topic.
        topic: String,
        /// What differs from the registered schema.
        changes: String,
        /// The registry's refusal.
        source: Box<RegistryError>,
    },
    /// A table that can't be relayed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table whose columns Avro can't tell apart.
    #[error(transparent)]
    NameClash(#[from] NameClash),
    /// A row that does not fit its table.
    #[error(transparent)]
    Row(#[from] PlanError),
    /// A message that is not of the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A change of a table that was not described.
    #[error("a change of the unknown relation {0}: PostgreSQL did not describe it first")]
    UnknownRelation(u32),
    /// A change outside of a transaction.
    #[error("PostgreSQL sent a change outside of a transaction")]
    NoTransaction,
    /// A key that the snapshot does not know the place of.
    #[error(transparent)]
    NotComparable(#[from] NotComparable),
    /// The rows that were there before could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A table got a column whose binary form can't be read.
    #[error("{table} has a type that is only known as text: streaming again in text form")]
    NeedsText {
        /// The table.
        table: TableName,
    },
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Begin again from the published position, after a pause; the named part is not ready.
    Retry(Part),
    /// Begin again at once, in text form.
    UseText,
    /// End the process: somebody must do something first, and beginning again would change nothing.
    Stop,
}

/// What an error makes the relay wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The server with the tables.
    Postgres,
    /// The brokers.
    Kafka,
    /// The replication slot.
    Slot,
}

impl RelayError {
    /// Decided here for every kind of error, so that a new one does not compile until it is.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self {
            Self::Unreachable { .. }
            | Self::Sql(_)
            | Self::Replication(_)
            | Self::StreamEnded
            | Self::Silent { .. }
            | Self::NotYet(_) => Policy::Retry(Part::Postgres),
            Self::SlotTaken { .. } => Policy::Retry(Part::Slot),
            Self::Kafka(error) => match error.remedy {
                // An aborted transaction begins again from the published position as well.
                Remedy::Abort | Remedy::Restart => Policy::Retry(Part::Kafka),
                Remedy::Fenced => Policy::Retry(Part::Slot),
            },
            Self::Offsets(error) => match error {
                OffsetsError::Kafka { .. } | OffsetsError::OpenTransaction { .. } => {
                    Policy::Retry(Part::Kafka)
                }
                OffsetsError::Unreadable { .. } => Policy::Stop,
            },
            Self::Snapshot(error) => match error {
                SnapshotError::Sql(_) => Policy::Retry(Part::Postgres),
                SnapshotError::Malformed { .. } => Policy::Stop,
            },
            Self::NeedsText { .. } => Policy::UseText,
            Self::Unusable(_)
            | Self::TooLarge { .. }
            | Self::Schema { .. }
            | Self::Table(_)
            | Self::NameClash(_)
            | Self::Row(_)
            | Self::Malformed(_)
            | Self::UnknownRelation(_)
            | Self::NoTransaction
            | Self::NotComparable(_) => Policy::Stop,
        }
    }
}
