//! Avro on Kafka: the schemas that are ours, its binary encoding, Confluent's wire format, and the Schema Registry.
//!
//! The schema of `users.raw` is made by the relay from PostgreSQL's own description of the table; that of
//! `users.processed` is [`schemas::USERS_PROCESSED`]. Subjects follow TopicNameStrategy.

pub mod avro;
pub mod cache;
pub mod meta;
pub mod registry;
pub mod repair;
pub mod schemas;
pub mod wire;

pub use cache::SchemaCache;
pub use registry::{Registry, RegistryConfig, RegistryError};
