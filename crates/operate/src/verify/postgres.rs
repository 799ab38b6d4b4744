use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions as _, FromRow, Row as _};
use uuid::Uuid;

use super::ids::ProfileIds;
use crate::config::Settings;
use crate::wait;

/// Limits the time without an answer, or without another row of one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Says what PostgreSQL did not do.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// It can't be connected to, or refuses a query.
    #[error("PostgreSQL at {host}:{port} can't be asked for the run")]
    Sql {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Says why it can't be asked.
        source: sqlx::Error,
    },
    /// It says nothing for 15 s.
    #[error("PostgreSQL at {host}:{port} says nothing for {} s", PATIENCE.as_secs())]
    Silent {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// It has no run of this id.
    #[error("PostgreSQL has no run {wanted:?}; the latest are: {latest}")]
    UnknownRun {
        /// The id that was asked for.
        wanted: String,
        /// Lists the ids of the latest five runs.
        latest: String,
    },
}

impl PostgresError {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Sql { source, .. } => wait::is_postgres_away(source),
            Self::Silent { .. } => true,
            Self::UnknownRun { .. } => false,
        }
    }
}

/// Describes a run as the fetcher left it.
#[derive(Debug, Clone, Serialize)]
pub struct FetchRun {
    /// The run's id.
    pub run_id: String,
    /// Says how far it is, such as `succeeded`.
    pub status: String,
    /// Counts the profiles that were asked for.
    pub requested: i64,
    /// Counts those that the API gave.
    pub fetched: i64,
    /// Counts those that are in PostgreSQL.
    pub stored: i64,
    /// Counts those that break a rule.
    pub rejected: i64,
    /// Counts those that the API gave again.
    pub duplicates: i64,
    /// Says whether they come from the simulator.
    pub simulated: bool,
    /// When the run was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended; `None` until then.
    pub finished_at: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for FetchRun {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            run_id: row.try_get("run_id")?,
            status: row.try_get("status")?,
            requested: row.try_get("requested")?,
            fetched: row.try_get("fetched")?,
            stored: row.try_get("stored")?,
            rejected: row.try_get("rejected")?,
            duplicates: row.try_get("duplicates")?,
            simulated: row.try_get("simulated")?,
            created_at: row.try_get("created_at")?,
            finished_at: row.try_get("finished_at")?,
        })
    }
}

/// Has the run's rows in `users`.
#[derive(Debug)]
pub(super) struct Profiles {
    pub(super) ids: ProfileIds,
    /// Has country and month (as YYYY-MM) of the partitions of `users_by_country` that they belong to.
    pub(super) partitions: BTreeSet<(String, String)>,
}

/// Says where the server is, for errors.
#[derive(Clone)]
struct Address {
    host: String,
    port: u16,
}

impl Address {
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, PostgresError> {
        let Self { host, port } = self.clone();
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|source| PostgresError::Sql { host, port, source }),
            Err(_) => Err(PostgresError::Silent { host, port }),
        }
    }
}

/// Asks PostgreSQL, which the other stages are compared with.
pub(super) struct Reference {
    connection: PgConnection,
    address: Address,
}

impl Reference {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, PostgresError> {
        let address = Address { host: settings.postgres.host.clone(), port: settings.postgres.port };
        let connection = address.answer(settings.postgres_options().connect()).await?;
        Ok(Self { connection, address })
    }

    pub(super) async fn run(&mut self, run_id: &str) -> Result<FetchRun, PostgresError> {
        let query = "SELECT run_id, status, requested, fetched, stored, rejected, duplicates, simulated, \
                     created_at, finished_at FROM fetch_runs WHERE run_id = $1";
        let run = sqlx::query_as(query).bind(run_id).fetch_optional(&mut self.connection);
        if let Some(run) = self.address.answer(run).await? {
            return Ok(run);
        }
        let query = "SELECT run_id FROM fetch_runs ORDER BY created_at DESC LIMIT 5";
        let latest = sqlx::query_scalar(query).fetch_all(&mut self.connection);
        let latest: Vec<String> = self.address.answer(latest).await?;
        let latest = if latest.is_empty() { "none".to_owned() } else { latest.join(", ") };
        Err(PostgresError::UnknownRun { wanted: run_id.to_owned(), latest })
    }

    pub(super) async fn profiles(mut self, run_id: &str) -> Result<Profiles, PostgresError> {
        let query = "SELECT id, nat, to_char(registered_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM users WHERE run_id = $1";
        let mut profiles = Profiles { ids: ProfileIds::new(), partitions: BTreeSet::new() };
        let mut rows = sqlx::query_as(query).bind(run_id).fetch(&mut self.connection);
        while let Some((id, country, month)) = self.address.answer(rows.try_next()).await? {
            let id: Uuid = id;
            profiles.ids.insert(id.as_u128());
            profiles.partitions.insert((country, month));
        }
        Ok(profiles)
    }
}
