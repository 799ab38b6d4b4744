//! What the black-box tests share: real servers, started once, and an environment of its own for each test.
//!
//! [`servers`] starts PostgreSQL, ZooKeeper, Kafka, the Schema Registry and Cassandra on free ports the first time
//! it is called in a test run. [`TestEnv`] then gives a test its own database, slot, topics, subjects, consumer
//! groups and keyspace on them, and starts the real binaries against those. Nothing waits for a time: [`wait`]
//! polls for what must become true.

#![allow(clippy::expect_used, clippy::panic, reason = "a helper that fails stops its test")]

pub mod airflow;
pub mod env;
mod flow;
pub mod gate;
pub mod records;
pub mod service;
mod shared;
pub mod spark;
pub mod volume;
pub mod wait;

pub use env::TestEnv;
pub use flow::Flow;
pub use gate::Gate;
pub use records::Record;
pub use service::Service;
pub use shared::{binary, fresh_root, project_file, servers};
pub use volume::Volume;
