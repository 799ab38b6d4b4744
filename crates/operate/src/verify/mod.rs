//! Compares the profiles of a run: are they the same set at every stage?
//!
//! PostgreSQL is the reference. Both topics are read from the run's start on as a `read_committed` consumer reads
//! them, and folded by key; of the Cassandra tables `users_by_run` is read by the run's partitions, `users_by_country`
//! by the partitions that PostgreSQL's rows belong to, and `users_by_id` by every id that any other stage has. So the
//! time it takes grows with the run and with what was written since, not with all that is stored.

mod cassandra;
mod error;
mod ids;
mod postgres;
mod report;
mod topic;
mod verifier;

pub use cassandra::CassandraError;
pub use error::VerifyError;
pub use postgres::{FetchRun, PostgresError};
pub use report::{Difference, StageSummary, TopicDeadLetters, Verification, VerificationSummary};
pub use topic::ScanError;
pub use verifier::until_equal;
