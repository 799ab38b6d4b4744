//! The stream processor inside Spark: a Python module for `spark/users_job.py`.
//!
//! Spark brings the records, one task for each partition of the source topic; what becomes of them is decided and
//! written by the processor's own code ([`stream_processor::write`]). A [`task::Task`] runs on an executor and commits
//! results, dead letters and the group's position in the processor's own Kafka transactions, so that what Spark
//! repeats is skipped. A [`job::Job`] is the driver's part: it waits for what must be there, holds the group
//! ([`lease`]), says where Spark begins, and serves the processor's health and metrics.

mod error;
mod job;
mod lease;
mod partition;
mod plan;
mod rows;
mod session;
mod source;
mod task;
mod watch;

use pyo3::prelude::*;

/// See the crate.
#[pymodule]
mod datastreaming_spark {
    #[pymodule_export]
    use super::job::Job;
    #[pymodule_export]
    use super::task::Task;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
