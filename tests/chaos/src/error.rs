//! Why a run could not be carried out.

use std::path::PathBuf;

use kafka::reader::ReadError;
use operate::local::RootError;
use operate::stamp::SchemaFailure;
use rdkafka::error::KafkaError;
use service::BoxError;
use tokio::task::JoinError;

/// A run that could not be carried out, which says nothing about the pipeline.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    #[error(transparent)]
    Server(#[from] local_servers::Error),
    #[error(transparent)]
    Local(#[from] RootError),
    #[error(transparent)]
    Config(#[from] service::config::ConfigError),
    #[error(transparent)]
    Topic(#[from] ReadError),
    #[error(transparent)]
    CassandraConnection(#[from] cassandra::ConnectError),
    #[error("{0} is set, which would lead to other servers than the run's own; unset it")]
    Overridden(String),
    #[error("the folder of an earlier run can't be removed")]
    Purge(#[source] RootError),
    #[error("a proxy can't be started")]
    Proxy(#[source] std::io::Error),
    #[error("the servers can't be made ready")]
    Migrate(#[source] BoxError),
    #[error("not ready in time: {0}")]
    NotReady(String),
    #[error("PostgreSQL failed to {what}")]
    Sql { what: &'static str, source: sqlx::Error },
    #[error("poison records can't be written")]
    Poison(#[source] KafkaError),
    #[error("the schemas of poison records can't be had or used")]
    PoisonSchema(#[source] BoxError),
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
    #[error("a schema can't be had")]
    Schema(#[source] Box<SchemaFailure>),
    #[error("Cassandra's table {table} can't be read: {problem}")]
    Cassandra { table: String, problem: String },
    #[error("{path} can't be read")]
    Log { path: PathBuf, source: std::io::Error },
    #[error("a task of the run was broken off")]
    Cancelled(#[source] JoinError),
}
