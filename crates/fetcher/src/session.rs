//! The connection that works on one run at a time: it holds the run's lock and a staging table.
//!
//! The lock is PostgreSQL's own and lives as long as the connection, so a fetcher that dies lets go of its run, and
//! two fetchers never work on the same one.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::database::{self, DatabaseError};
use crate::runs::{self, Run};
use crate::store::STAGING;

/// For what takes PostgreSQL a moment: a connection that is dead without either side knowing never answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection, exclusively owned.
#[derive(Debug)]
pub struct Session {
    /// Dropping it in mid-transaction rolls back.
    pub connection: PgConnection,
}

impl Session {
    /// Connects, and makes sure that the migrations were applied.
    ///
    /// # Errors
    /// Those of the connection, or [`DatabaseError::NotMigrated`].
    pub async fn open(options: &PgConnectOptions) -> Result<Self, DatabaseError> {
        within(async {
            let mut connection = options.connect().await?;
            database::check_migrated(&mut connection).await?;
            sqlx::raw_sql(STAGING).execute(&mut connection).await?;
            Ok(Self { connection })
        })
        .await
    }

    /// Takes the run's lock if nobody has it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn try_lock(&mut self, run_id: &str) -> Result<bool, DatabaseError> {
        let row = sqlx::query("SELECT pg_try_advisory_lock(hashtextextended('fetch_runs:' || $1, 0))")
            .bind(run_id)
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Lets go of the run.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unlock(&mut self, run_id: &str) -> Result<(), DatabaseError> {
        sqlx::query("SELECT pg_advisory_unlock(hashtextextended('fetch_runs:' || $1, 0))")
            .bind(run_id)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Takes up the oldest run that nobody works on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_up_next(&mut self) -> Result<Option<Run>, DatabaseError> {
        within(async {
            for run_id in runs::unfinished(&mut self.connection).await? {
                if let Some(run) = self.take_up(&run_id).await? {
                    return Ok(Some(run));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Takes up one run; `None` if another fetcher works on it or it is finished.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_up(&mut self, run_id: &str) -> Result<Option<Run>, DatabaseError> {
        if !self.try_lock(run_id).await? {
            return Ok(None);
        }
        let run = runs::take_up(&mut self.connection, run_id).await?;
        if run.is_none() {
            self.unlock(run_id).await?;
        }
        Ok(run)
    }

    /// Says good-bye to the server.
    pub async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the connection was not closed in order");
        }
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(DatabaseError::Timeout(PATIENCE)))
}
