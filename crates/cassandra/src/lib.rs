//! How to reach Cassandra, for the sink and for the operator's command line: `[cassandra]` of the configuration and
//! the session made from it.

pub mod config;
pub mod session;

pub use config::CassandraConfig;
pub use session::{ConnectError, connect};
