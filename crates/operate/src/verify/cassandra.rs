use std::collections::BTreeSet;

use cassandra::{CassandraConfig, ConnectError};
use futures::{StreamExt as _, TryStreamExt as _};
use scylla::client::session::Session;
use scylla::errors::{
    DbError, NextPageError, NextRowError, PagerExecutionError, PrepareError, RequestAttemptError,
    RequestError, TypeCheckError,
};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use uuid::Uuid;

use super::ids::{ProfileId, ProfileIds};
use super::report::Stage;

/// Counts the buckets of a run in `users_by_run`.
const BUCKETS: i32 = 16;
/// Limits the requests under way at once: enough to hide the way to the nodes, few enough to leave them work for the sink.
const CONCURRENCY: usize = 32;
/// Limits the ids that one request looks up.
const LOOKUP: usize = 64;
const PAGE_ROWS: i32 = 5_000;

/// Says what Cassandra did not do.
#[derive(Debug, thiserror::Error)]
pub enum CassandraError {
    /// No node can be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A query can't be prepared.
    #[error("Cassandra can't run `{query}`; has `pipeline migrate` made its tables?")]
    Prepare {
        /// The query.
        query: String,
        /// Says why it can't be prepared.
        source: Box<PrepareError>,
    },
    /// A query was not answered.
    #[error("Cassandra did not answer `{query}`")]
    Execute {
        /// The query.
        query: String,
        /// Says why there is no answer.
        source: Box<PagerExecutionError>,
    },
    /// An answer ended before its last page.
    #[error("Cassandra's answer to `{query}` ended early")]
    Rows {
        /// The query.
        query: String,
        /// Says why no more rows came.
        source: Box<NextRowError>,
    },
    /// An answer has other columns than this release reads.
    #[error("Cassandra's answer to `{query}` has other columns than expected")]
    Columns {
        /// The query.
        query: String,
        /// Names the column that differs.
        source: Box<TypeCheckError>,
    },
}

impl CassandraError {
    /// Returns whether a node may answer later: anything but a refusal, or an answer that can't be read.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Unreachable { .. }) => true,
            Self::Connect(ConnectError::Certificates { .. }) | Self::Columns { .. } => false,
            Self::Prepare { source, .. } => is_prepared_later(source),
            Self::Execute { source, .. } => match source.as_ref() {
                PagerExecutionError::PrepareError(error) => is_prepared_later(error),
                PagerExecutionError::NextPageError(error) => is_answered_later(error),
                _ => false,
            },
            Self::Rows { source, .. } => match source.as_ref() {
                NextRowError::NextPageError(error) => is_answered_later(error),
                _ => false,
            },
        }
    }
}

const fn is_prepared_later(error: &PrepareError) -> bool {
    match error {
        PrepareError::ConnectionPoolError(_) => true,
        PrepareError::AllAttemptsFailed { first_attempt } => !is_refusal(first_attempt),
        _ => false,
    }
}

const fn is_answered_later(error: &NextPageError) -> bool {
    match error {
        NextPageError::RequestFailure(RequestError::LastAttemptError(attempt)) => !is_refusal(attempt),
        NextPageError::RequestFailure(_) => true,
        _ => false,
    }
}

const fn is_refusal(error: &RequestAttemptError) -> bool {
    matches!(
        error,
        RequestAttemptError::DbError(
            DbError::SyntaxError
                | DbError::Invalid
                | DbError::ConfigError
                | DbError::Unauthorized
                | DbError::AuthenticationError
                | DbError::ProtocolError,
            _
        )
    )
}

/// Reads the tables over one session.
pub(super) struct Tables {
    session: Session,
    keyspace: String,
}

impl Tables {
    pub(super) async fn connect(config: &CassandraConfig) -> Result<Self, CassandraError> {
        Ok(Self { session: cassandra::connect(config).await?, keyspace: config.keyspace.clone() })
    }

    /// Reads the run's own partitions.
    pub(super) async fn by_run(&self, run_id: &str) -> Result<Stage, CassandraError> {
        let query = "SELECT id, run_id FROM {}.users_by_run WHERE run_id = ? AND bucket = ?";
        let keys = (0..BUCKETS).map(|bucket| (run_id, bucket));
        self.stage("users_by_run", query, keys, run_id).await
    }

    /// Reads the rows of these ids.
    pub(super) async fn by_id(&self, run_id: &str, ids: &ProfileIds) -> Result<Stage, CassandraError> {
        let query = "SELECT id, run_id FROM {}.users_by_id WHERE id IN ?";
        let all: Vec<Uuid> = ids.iter().copied().map(Uuid::from_u128).collect();
        let keys = all.chunks(LOOKUP).map(|chunk| (chunk,));
        self.stage("users_by_id", query, keys, run_id).await
    }

    /// Reads these partitions, each a country and a month of registration.
    pub(super) async fn by_country(
        &self,
        run_id: &str,
        partitions: &BTreeSet<(String, String)>,
    ) -> Result<Stage, CassandraError> {
        let query = "SELECT id, run_id FROM {}.users_by_country WHERE country = ? AND registered_month = ?";
        self.stage("users_by_country", query, partitions.iter(), run_id).await
    }

    async fn stage<K: SerializeRow>(
        &self,
        table: &str,
        query: &str,
        keys: impl Iterator<Item = K>,
        run_id: &str,
    ) -> Result<Stage, CassandraError> {
        let query = query.replace("{}", &self.keyspace);
        let mut statement = self
            .session
            .prepare(query.as_str())
            .await
            .map_err(|source| CassandraError::Prepare { query: query.clone(), source: Box::new(source) })?;
        statement.set_page_size(PAGE_ROWS);
        statement.set_is_idempotent(true);
        let found: Vec<Vec<ProfileId>> = futures::stream::iter(keys)
            .map(|key| self.rows(&statement, &query, key, run_id))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let records = found.iter().map(|ids| ids.len() as u64).sum();
        let ids: ProfileIds = found.into_iter().flatten().collect();
        Ok(Stage::table(format!("cassandra.{table}"), ids, records))
    }

    /// Returns the ids of the rows that belong to the run.
    async fn rows(
        &self,
        statement: &PreparedStatement,
        query: &str,
        key: impl SerializeRow,
        run_id: &str,
    ) -> Result<Vec<ProfileId>, CassandraError> {
        let query = || query.to_owned();
        let pager = self
            .session
            .execute_iter(statement.clone(), key)
            .await
            .map_err(|source| CassandraError::Execute { query: query(), source: Box::new(source) })?;
        let mut rows = pager
            .rows_stream::<(Uuid, Option<String>)>()
            .map_err(|source| CassandraError::Columns { query: query(), source: Box::new(source) })?;
        let mut ids = Vec::new();
        while let Some((id, of)) = rows
            .try_next()
            .await
            .map_err(|source| CassandraError::Rows { query: query(), source: Box::new(source) })?
        {
            if of.as_deref() == Some(run_id) {
                ids.push(id.as_u128());
            }
        }
        Ok(ids)
    }
}
