//! The servers' programs: which versions, where they come from, and the cache they are kept in.

mod cache;
mod catalog;
mod prerequisites;

pub(crate) use cache::check;
pub use cache::{Cache, fetch};
pub use catalog::{AIRFLOW, Artifact, CASSANDRA, CQLSH, KAFKA, POSTGRES, REGISTRY, SPARK, SPARK_KAFKA};
pub(crate) use catalog::{Archive, KAFKA_KRAFT, REGISTRY_JAVA, Source, ZOOKEEPER_VERSION};
pub(crate) use prerequisites::find_program;
pub use prerequisites::java;
