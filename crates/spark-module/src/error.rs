//! What ends a task or the job, as Python sees it: one line with the whole chain.

use std::time::Duration;

use kafka::TransactionError;
use pyo3::PyErr;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use rdkafka::error::KafkaError;
use service::config::ConfigError;
use service::error_chain;
use stream_processor::SessionError;

/// Why it can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SparkError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Driver and executor are not of one release.
    #[error(
        "the module datastreaming_spark is version {ours} on {host}, the job expects {wanted}: install that wheel there"
    )]
    Version { ours: &'static str, wanted: String, host: String },
    /// They would write different bytes.
    #[error(
        "{host} has another configuration of [stream_processor] than the driver: give every worker the same files \
         (PIPELINE_CONFIG) and PIPELINE__STREAM_PROCESSOR__HMAC_KEY"
    )]
    OtherSettings { host: String },
    #[error(transparent)]
    Telemetry(service::BoxError),
    #[error("the admin port can't be opened")]
    Admin(#[from] service::admin::BindError),
    #[error("no runtime could be started")]
    Runtime(#[from] std::io::Error),
    #[error("{0}")]
    Held(String),
    #[error("this process is not a member of the group {group} after {} s", within.as_secs())]
    NoMember { group: String, within: Duration },
    /// Its membership ended while a transaction was open.
    #[error("the membership of the group changed during a transaction")]
    MembershipChanged,
    #[error("the group's positions in {topic} can't be read")]
    Positions { topic: String, source: KafkaError },
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Processor(#[from] stream_processor::ProcessorError),
    #[error("{reason}, for {} s now", within.as_secs())]
    Waited { reason: String, within: Duration },
    #[error("the rows are not those of Spark's Kafka source with includeHeaders: {0}")]
    Rows(String),
    #[error("the plan or a report is not of this release")]
    Json(#[from] serde_json::Error),
    #[error("partition {partition} of {topic} failed {attempts} times in a row")]
    GaveUp { topic: String, partition: i32, attempts: u32, source: Box<SparkError> },
    #[error("the job is stopped")]
    Stopped,
}

impl From<TransactionError> for SparkError {
    fn from(error: TransactionError) -> Self {
        Self::Session(error.into())
    }
}

impl From<SparkError> for PyErr {
    fn from(error: SparkError) -> Self {
        let text = error_chain(&error);
        match error {
            SparkError::Config(_) | SparkError::Version { .. } | SparkError::OtherSettings { .. } => {
                PyValueError::new_err(text)
            }
            _ => PyRuntimeError::new_err(text),
        }
    }
}
