//! Rows of `fetch_runs`: made once per run id, taken up by one fetcher at a time, kept with their outcome.
//!
//! The table is the queue. Who works on a run holds an advisory lock on it for as long as its connection lives;
//! `attempts` counts how often it was taken up and fences one that lost its lock without noticing.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgExecutor, PgRow};
use sqlx::{Connection as _, FromRow, Row as _};

use crate::database::DatabaseError;
use crate::request::{FieldError, RunRequest};

/// A run as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The caller's name for it.
    pub run_id: String,
    /// Where it stands.
    pub status: Status,
    /// Users wanted.
    pub requested: i64,
    /// Codes asked for; empty for all.
    pub nationalities: Vec<String>,
    /// As sent to the API.
    pub seed: String,
    /// Users a page.
    pub page_size: i32,
    /// The page that comes next, from 1; all pages before it are committed.
    pub next_page: i32,
    /// Profiles received in committed pages: the sum of the next three.
    pub fetched: i64,
    /// Rows written to `users`.
    pub stored: i64,
    /// Rows written to `fetch_rejects`.
    pub rejected: i64,
    /// Profiles whose uuid this run had already.
    pub duplicates: i64,
    /// How often it was taken up.
    pub attempts: i32,
    /// Whether the users came from a simulator and not from the real API.
    pub simulated: bool,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was first taken up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it succeeded or failed.
    pub finished_at: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for Run {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let status = row.try_get::<String, _>("status")?;
        let status = Status::try_from(status).map_err(|source| sqlx::Error::ColumnDecode {
            index: "status".to_owned(),
            source: source.into(),
        })?;
        Ok(Self {
            run_id: row.try_get("run_id")?,
            status,
            requested: row.try_get("requested")?,
            nationalities: row.try_get("nationalities")?,
            seed: row.try_get("seed")?,
            page_size: row.try_get("page_size")?,
            next_page: row.try_get("next_page")?,
            fetched: row.try_get("fetched")?,
            stored: row.try_get("stored")?,
            rejected: row.try_get("rejected")?,
            duplicates: row.try_get("duplicates")?,
            attempts: row.try_get("attempts")?,
            simulated: row.try_get("simulated")?,
            reason: row.try_get("reason")?,
            created_at: row.try_get("created_at")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
        })
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for a fetcher.
    Pending,
    /// A fetcher works on it, or died while it did.
    Running,
    /// All pages are stored.
    Succeeded,
    /// Given up, with a reason; the same run id asked for again goes on from the next page.
    Failed,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Succeeded, Self::Failed];

    /// As the table stores it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A text that names no [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no status; there are: pending, running, succeeded, failed")]
pub struct UnknownStatus(String);

impl TryFrom<String> for Status {
    type Error = UnknownStatus;

    fn try_from(text: String) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus(text))
    }
}

impl Run {
    /// Number of the last page.
    #[must_use]
    pub fn pages(&self) -> i32 {
        let size = i64::from(self.page_size.max(1));
        i32::try_from((self.requested + size - 1) / size).unwrap_or(i32::MAX)
    }

    /// Users of one page: all have the run's page size, the last one has what is left.
    #[must_use]
    pub fn users_of_page(&self, page: i32) -> i32 {
        let before = i64::from(page - 1) * i64::from(self.page_size);
        i32::try_from((self.requested - before).clamp(0, i64::from(self.page_size))).unwrap_or(self.page_size)
    }
}

/// What came of asking for a run.
#[derive(Debug)]
pub enum Submission {
    /// It is new, or was failed and is pending again.
    Accepted(Run),
    /// It was there already, with the same parameters.
    Known(Run),
    /// It was there already, with other parameters.
    Differs(Vec<FieldError>),
}

const COLUMNS: &str = "run_id, status, requested, nationalities, seed, page_size, next_page, fetched, stored, \
     rejected, duplicates, attempts, simulated, reason, created_at, started_at, finished_at";

/// A statement with [`COLUMNS`] in place of `{}`; no value is ever part of it.
fn sql(text: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.replace("{}", COLUMNS))
}

/// Makes the run unless it is there; a failed one becomes pending again.
///
/// # Errors
/// Those of the database; then nothing was changed.
pub async fn submit(
    connection: &mut PgConnection,
    request: &RunRequest,
) -> Result<Submission, DatabaseError> {
    let mut transaction = connection.begin().await?;
    let made = sqlx::query_as::<_, Run>(sql(
        "INSERT INTO fetch_runs (run_id, requested, nationalities, seed, page_size) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (run_id) DO NOTHING RETURNING {}",
    ))
    .bind(&request.run_id)
    .bind(i64::try_from(request.count).unwrap_or(i64::MAX))
    .bind(&request.nationalities)
    .bind(&request.seed)
    .bind(i32::try_from(request.page_size).unwrap_or(i32::MAX))
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(run) = made {
        transaction.commit().await?;
        return Ok(Submission::Accepted(run));
    }
    // NO KEY: the pages of a run that is being worked on may go on committing.
    let run = sqlx::query_as::<_, Run>(sql("SELECT {} FROM fetch_runs WHERE run_id = $1 FOR NO KEY UPDATE"))
        .bind(&request.run_id)
        .fetch_one(&mut *transaction)
        .await?;
    let differences = differences(&run, request);
    if !differences.is_empty() {
        return Ok(Submission::Differs(differences));
    }
    if run.status != Status::Failed {
        return Ok(Submission::Known(run));
    }
    let run = sqlx::query_as::<_, Run>(sql(
        "UPDATE fetch_runs SET status = 'pending', reason = NULL, finished_at = NULL WHERE run_id = $1 \
         RETURNING {}",
    ))
    .bind(&request.run_id)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Submission::Accepted(run))
}

fn differences(run: &Run, request: &RunRequest) -> Vec<FieldError> {
    let mut fields = Vec::new();
    let mut compare = |field: &str, has: String, wants: String| {
        if has != wants {
            fields.push(FieldError::new(field, format!("the run has {has}, the request has {wants}")));
        }
    };
    compare("count", run.requested.to_string(), request.count.to_string());
    compare("nationalities", format!("{:?}", run.nationalities), format!("{:?}", request.nationalities));
    compare("seed", format!("{:?}", run.seed), format!("{:?}", request.seed));
    fields
}

/// The run of that id.
///
/// # Errors
/// Those of the database.
pub async fn get(executor: impl PgExecutor<'_>, run_id: &str) -> Result<Option<Run>, DatabaseError> {
    let query = sqlx::query_as(sql("SELECT {} FROM fetch_runs WHERE run_id = $1"));
    Ok(query.bind(run_id).fetch_optional(executor).await?)
}

/// The newest runs first.
///
/// # Errors
/// Those of the database.
pub async fn list(
    executor: impl PgExecutor<'_>,
    status: Option<Status>,
    limit: u16,
) -> Result<Vec<Run>, DatabaseError> {
    let query = sqlx::query_as(sql(
        "SELECT {} FROM fetch_runs WHERE $1::text IS NULL OR status = $1 ORDER BY created_at DESC, run_id LIMIT $2",
    ));
    Ok(query.bind(status.map(Status::as_str)).bind(i64::from(limit)).fetch_all(executor).await?)
}

/// How many runs have each status.
///
/// # Errors
/// Those of the database.
pub async fn count_by_status(executor: impl PgExecutor<'_>) -> Result<Vec<(Status, i64)>, DatabaseError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, count(*) FROM fetch_runs GROUP BY status").fetch_all(executor).await?;
    let count = |status: Status| rows.iter().find(|(name, _)| name == status.as_str()).map_or(0, |(_, n)| *n);
    Ok(Status::ALL.into_iter().map(|status| (status, count(status))).collect())
}

/// Run ids that wait for a fetcher or whose fetcher may have died, oldest first, 100 at the most.
///
/// # Errors
/// Those of the database.
pub async fn unfinished(executor: impl PgExecutor<'_>) -> Result<Vec<String>, DatabaseError> {
    let query = sqlx::query_scalar(
        "SELECT run_id FROM fetch_runs WHERE status IN ('pending', 'running') ORDER BY created_at LIMIT 100",
    );
    Ok(query.fetch_all(executor).await?)
}

/// Takes up a run whose lock is held; `None` if it is finished by now.
///
/// # Errors
/// Those of the database.
pub async fn take_up(executor: impl PgExecutor<'_>, run_id: &str) -> Result<Option<Run>, DatabaseError> {
    let query = sqlx::query_as(sql("UPDATE fetch_runs SET status = 'running', attempts = attempts + 1, \
         started_at = coalesce(started_at, now()) \
         WHERE run_id = $1 AND status IN ('pending', 'running') RETURNING {}"));
    Ok(query.bind(run_id).fetch_optional(executor).await?)
}

/// Gives a run up, unless another fetcher has taken it up since.
///
/// # Errors
/// Those of the database.
pub async fn fail(executor: impl PgExecutor<'_>, run: &Run, reason: &str) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE fetch_runs SET status = 'failed', reason = $3, finished_at = now() \
         WHERE run_id = $1 AND attempts = $2 AND status = 'running'",
    )
    .bind(&run.run_id)
    .bind(run.attempts)
    // PostgreSQL's text can't hold it, and an error of the API may.
    .bind(reason.replace('\0', "\u{fffd}"))
    .execute(executor)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(requested: i64, page_size: i32) -> Run {
        Run {
            run_id: "a".to_owned(),
            status: Status::Running,
            requested,
            nationalities: Vec::new(),
            seed: "s".to_owned(),
            page_size,
            next_page: 1,
            fetched: 0,
            stored: 0,
            rejected: 0,
            duplicates: 0,
            attempts: 1,
            simulated: false,
            reason: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        }
    }

    #[test]
    fn pages_add_up_to_what_was_asked_for() {
        for (requested, size, pages, last) in
            [(1, 1, 1, 1), (5_000, 5_000, 1, 5_000), (5_001, 5_000, 2, 1), (12_345, 5_000, 3, 2_345)]
        {
            let run = run(requested, size);
            assert_eq!((run.pages(), run.users_of_page(pages)), (pages, last));
            assert_eq!((1..=pages).map(|page| i64::from(run.users_of_page(page))).sum::<i64>(), requested);
        }
    }

    #[test]
    fn a_status_reads_as_it_is_written() {
        for status in Status::ALL {
            assert_eq!(Status::try_from(status.as_str().to_owned()), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!(Status::try_from("done".to_owned()).is_err());
    }
}
