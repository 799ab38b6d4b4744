use service::config::ConfigError;
use tokio::task::JoinError;

use super::cassandra::CassandraError;
use super::postgres::PostgresError;
use super::topic::ScanError;

/// Says which stage can't be compared, and why.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// PostgreSQL does not answer or refuses, or does not know the run.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A topic can't be read.
    #[error(transparent)]
    Topic(#[from] ScanError),
    /// Cassandra does not answer or refuses.
    #[error(transparent)]
    Cassandra(#[from] CassandraError),
    /// The section of the Schema Registry can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The thread that read a topic panicked, or the runtime ended.
    #[error("reading a topic broke off")]
    BrokenOff(#[from] JoinError),
}

impl VerifyError {
    /// Returns whether the same question may be answered later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_transient(),
            Self::Topic(error) => error.is_transient(),
            Self::Cassandra(error) => error.is_transient(),
            Self::Config(_) | Self::BrokenOff(_) => false,
        }
    }
}
