//! What every Kafka client of the pipeline shares: connection settings, the transactional producer, dead letters,
//! sequence numbers, rebalances, reading a topic to its end, and waiting for topics.
//!
//! Everything here blocks its thread as librdkafka does, except [`topics::wait`]; call it from threads of its own.

pub mod config;
pub mod context;
pub mod dead_letter;
pub mod partitioner;
pub mod producer;
pub mod reader;
pub mod rebalance;
pub mod sequence;
pub mod topics;

pub use config::KafkaConfig;
pub use context::LoggedContext;
pub use producer::{Remedy, TransactionError, TransactionalProducer};
