//! Why the stages can't be compared.

use service::config::ConfigError;
use tokio::task::JoinError;

use super::cassandra::CassandraError;
use super::postgres::PostgresError;
use super::topic::ScanError;

/// What one stage did not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Topic(#[from] ScanError),
    #[error(transparent)]
    Cassandra(#[from] CassandraError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("reading a topic broke off")]
    BrokenOff(#[from] JoinError),
}

impl VerifyError {
    /// Whether the same question may be answered later without anybody's doing.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_transient(),
            Self::Topic(error) => error.is_transient(),
            Self::Cassandra(error) => error.is_transient(),
            Self::Config(_) | Self::BrokenOff(_) => false,
        }
    }
}
