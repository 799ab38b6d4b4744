//! The reference: the run and its rows in PostgreSQL.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, FromRow};
use uuid::Uuid;

use super::Ids;
use crate::config::Settings;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    #[error("PostgreSQL at {host}:{port} can't be asked for the run")]
    Sql { host: String, port: u16, source: sqlx::Error },
    #[error("PostgreSQL has no run {wanted:?}; the latest are: {latest}")]
    UnknownRun { wanted: String, latest: String },
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

pub(super) struct Reference {
    connection: PgConnection,
    host: String,
    port: u16,
}

impl Reference {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, PostgresError> {
        let (host, port) = (settings.postgres.host.clone(), settings.postgres.port);
        match settings.postgres_options().connect().await {
            Ok(connection) => Ok(Self { connection, host, port }),
            Err(source) => Err(PostgresError::Sql { host, port, source }),
        }
    }

    pub(super) async fn run(&mut self, run_id: &str) -> Result<Run, PostgresError> {
        let query = "SELECT run_id, status, requested, fetched, stored, rejected, duplicates, simulated, \
                     created_at, finished_at FROM fetch_runs WHERE run_id = $1";
        let run = sqlx::query_as(query).bind(run_id).fetch_optional(&mut self.connection).await;
        if let Some(run) = run.map_err(|source| self.error(source))? {
            return Ok(run);
        }
        let query = "SELECT run_id FROM fetch_runs ORDER BY created_at DESC LIMIT 5";
        let latest: Result<Vec<String>, _> = sqlx::query_scalar(query).fetch_all(&mut self.connection).await;
        let latest = latest.map_err(|source| self.error(source))?;
        let latest = if latest.is_empty() { "none".to_owned() } else { latest.join(", ") };
        Err(PostgresError::UnknownRun { wanted: run_id.to_owned(), latest })
    }

    pub(super) async fn profiles(mut self, run_id: &str) -> Result<Profiles, PostgresError> {
        let query = "SELECT id, nat, to_char(registered_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM users WHERE run_id = $1";
        let mut profiles = Profiles { ids: Ids::new(), partitions: BTreeSet::new() };
        let mut rows = sqlx::query_as(query).bind(run_id).fetch(&mut self.connection);
        let failure = loop {
            match rows.try_next().await {
                Ok(Some((id, country, month))) => {
                    let id: Uuid = id;
                    profiles.ids.insert(id.as_u128());
                    profiles.partitions.insert((country, month));
                }
                Ok(None) => return Ok(profiles),
                Err(source) => break source,
            }
        };
        drop(rows);
        Err(self.error(failure))
    }

    fn error(&self, source: sqlx::Error) -> PostgresError {
        PostgresError::Sql { host: self.host.clone(), port: self.port, source }
    }
}
