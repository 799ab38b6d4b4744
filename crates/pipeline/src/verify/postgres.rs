//! The reference: the run and its rows in PostgreSQL.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, FromRow};
use uuid::Uuid;

use super::Ids;
use crate::config::Settings;
use crate::wait;

/// Bound of the time without an answer, or without another row of one.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    #[error("PostgreSQL at {host}:{port} can't be asked for the run")]
    Sql { host: String, port: u16, source: sqlx::Error },
    #[error("PostgreSQL at {host}:{port} says nothing for {} s", PATIENCE.as_secs())]
    Silent { host: String, port: u16 },
    #[error("PostgreSQL has no run {wanted:?}; the latest are: {latest}")]
    UnknownRun { wanted: String, latest: String },
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

/// A run as the fetcher left it.
#[derive(Debug, Clone, Serialize, FromRow)]
pub(crate) struct Run {
    pub(crate) run_id: String,
    pub(crate) status: String,
    pub(crate) requested: i64,
    pub(crate) fetched: i64,
    pub(crate) stored: i64,
    pub(crate) rejected: i64,
    pub(crate) duplicates: i64,
    pub(crate) simulated: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

/// The run's rows in `users`.
#[derive(Debug)]
pub(super) struct Profiles {
    pub(super) ids: Ids,
    /// Country and month (as YYYY-MM) of the partitions of `users_by_country` that they belong to.
    pub(super) partitions: BTreeSet<(String, String)>,
}

/// Where the server is, for what is said of it.
#[derive(Clone)]
struct Place {
    host: String,
    port: u16,
}

impl Place {
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

pub(super) struct Reference {
    connection: PgConnection,
    place: Place,
}

impl Reference {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, PostgresError> {
        let place = Place { host: settings.postgres.host.clone(), port: settings.postgres.port };
        let connection = place.answer(settings.postgres_options().connect()).await?;
        Ok(Self { connection, place })
    }

    pub(super) async fn run(&mut self, run_id: &str) -> Result<Run, PostgresError> {
        let query = "SELECT run_id, status, requested, fetched, stored, rejected, duplicates, simulated, \
                     created_at, finished_at FROM fetch_runs WHERE run_id = $1";
        let run = sqlx::query_as(query).bind(run_id).fetch_optional(&mut self.connection);
        if let Some(run) = self.place.answer(run).await? {
            return Ok(run);
        }
        let query = "SELECT run_id FROM fetch_runs ORDER BY created_at DESC LIMIT 5";
        let latest = sqlx::query_scalar(query).fetch_all(&mut self.connection);
        let latest: Vec<String> = self.place.answer(latest).await?;
        let latest = if latest.is_empty() { "none".to_owned() } else { latest.join(", ") };
        Err(PostgresError::UnknownRun { wanted: run_id.to_owned(), latest })
    }

    pub(super) async fn profiles(mut self, run_id: &str) -> Result<Profiles, PostgresError> {
        let query = "SELECT id, nat, to_char(registered_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM users WHERE run_id = $1";
        let mut profiles = Profiles { ids: Ids::new(), partitions: BTreeSet::new() };
        let mut rows = sqlx::query_as(query).bind(run_id).fetch(&mut self.connection);
        while let Some((id, country, month)) = self.place.answer(rows.try_next()).await? {
            let id: Uuid = id;
            profiles.ids.insert(id.as_u128());
            profiles.partitions.insert((country, month));
        }
        Ok(profiles)
    }
}
