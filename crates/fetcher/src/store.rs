//! One page into PostgreSQL, in one transaction with the progress of its run.
//!
//! Rows go by binary COPY into a temporary table and from there into `users`, which COPY alone can't do, as a
//! profile may be there already. The last statement moves the run's `next_page` on, only from this page and only
//! for the fetcher that has the run: a page that was committed already, or whose run another fetcher took up, is
//! rolled back.

use service::crash::{self, CrashPoint};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::database::DatabaseError;
use crate::page::{Page, Reject};
use crate::runs::Run;

/// The staging table of a connection; [`crate::copy::COLUMNS`] lists the same columns.
pub const STAGING: &str = "CREATE TEMPORARY TABLE fetched_page (\
     id uuid, nat text, gender text, title text, first_name text, last_name text, street_number integer, \
     street_name text, city text, state text, country text, postcode text, latitude double precision, \
     longitude double precision, timezone_offset text, timezone_description text, email text, username text, \
     date_of_birth timestamptz, registered_at timestamptz, phone text, cell text, document_name text, \
     document_value text, picture_large text, picture_medium text, picture_thumbnail text\
     ) ON COMMIT DELETE ROWS";

const COPY: &str = "COPY fetched_page FROM STDIN (FORMAT binary)";

/// The latest run owns a profile; the same run again changes nothing.
const UPSERT: &str = "INSERT INTO users (\
     id, run_id, fetched_at, nat, gender, title, first_name, last_name, street_number, street_name, city, state, \
     country, postcode, latitude, longitude, timezone_offset, timezone_description, email, username, \
     date_of_birth, registered_at, phone, cell, document_name, document_value, picture_large, picture_medium, \
     picture_thumbnail) \
     SELECT id, $1, $2, nat, gender, title, first_name, last_name, street_number, street_name, city, state, \
     country, postcode, latitude, longitude, timezone_offset, timezone_description, email, username, \
     date_of_birth, registered_at, phone, cell, document_name, document_value, picture_large, picture_medium, \
     picture_thumbnail FROM fetched_page \
     ON CONFLICT (id) DO UPDATE SET \
     run_id = excluded.run_id, fetched_at = excluded.fetched_at, nat = excluded.nat, gender = excluded.gender, \
     title = excluded.title, first_name = excluded.first_name, last_name = excluded.last_name, \
     street_number = excluded.street_number, street_name = excluded.street_name, city = excluded.city, \
     state = excluded.state, country = excluded.country, postcode = excluded.postcode, \
     latitude = excluded.latitude, longitude = excluded.longitude, timezone_offset = excluded.timezone_offset, \
     timezone_description = excluded.timezone_description, email = excluded.email, \
     username = excluded.username, date_of_birth = excluded.date_of_birth, \
     registered_at = excluded.registered_at, phone = excluded.phone, cell = excluded.cell, \
     document_name = excluded.document_name, document_value = excluded.document_value, \
     picture_large = excluded.picture_large, picture_medium = excluded.picture_medium, \
     picture_thumbnail = excluded.picture_thumbnail \
     WHERE users.run_id IS DISTINCT FROM excluded.run_id";

const REJECT: &str = "INSERT INTO fetch_rejects (run_id, page, position, reason, message, profile) \
     SELECT $1, $2, position, reason, message, profile::json \
     FROM unnest($3::integer[], $4::text[], $5::text[], $6::text[]) AS r (position, reason, message, profile) \
     ON CONFLICT DO NOTHING";

const PROGRESS: &str = "UPDATE fetch_runs SET next_page = next_page + 1, fetched = fetched + $4, \
     stored = stored + $5, rejected = rejected + $6, duplicates = duplicates + $7, simulated = simulated OR $8, \
     status = CASE WHEN $9 THEN 'succeeded' ELSE status END, \
     finished_at = CASE WHEN $9 THEN now() ELSE finished_at END \
     WHERE run_id = $1 AND attempts = $2 AND next_page = $3 AND status = 'running'";

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Committed.
    Page {
        /// Rows written to `users`.
        stored: u64,
        /// Profiles whose uuid the run had already.
        duplicates: u64,
        /// Rows written to `fetch_rejects`.
        rejected: u64,
    },
    /// Rolled back: the run is no longer at this page, or no longer this fetcher's.
    Elsewhere,
}

/// Stores a page of `run`. On any error, and when dropped, the connection must not be used again.
///
/// # Errors
/// Those of the database. Whether the transaction was committed is then unknown; the run's `next_page` tells.
pub async fn page(connection: &mut PgConnection, run: &Run, page: &Page) -> Result<Stored, DatabaseError> {
    let mut transaction = connection.begin().await?;
    let stored = if page.row_count == 0 { 0 } else { upsert(&mut transaction, run, page).await? };
    if !page.rejects.is_empty() {
        reject(&mut transaction, run, page).await?;
    }
    let rejected = page.rejects.len() as u64;
    let duplicates = (page.fetched as u64).saturating_sub(stored + rejected);
    let moved = sqlx::query(PROGRESS)
        .bind(&run.run_id)
        .bind(run.attempts)
        .bind(page.number)
        .bind(bigint(page.fetched as u64))
        .bind(bigint(stored))
        .bind(bigint(rejected))
        .bind(bigint(duplicates))
        .bind(page.simulated)
        .bind(page.number == run.pages())
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(Stored::Elsewhere);
    }
    crash::here(CrashPoint::FetcherBeforePageCommit);
    transaction.commit().await?;
    crash::here(CrashPoint::FetcherAfterPageCommit);
    Ok(Stored::Page { stored, duplicates, rejected })
}

async fn upsert(connection: &mut PgConnection, run: &Run, page: &Page) -> Result<u64, DatabaseError> {
    let mut copy = connection.copy_in_raw(COPY).await?;
    copy.send(page.rows.as_slice()).await?;
    copy.finish().await?;
    let written = sqlx::query(UPSERT).bind(&run.run_id).bind(page.fetched_at).execute(connection).await?;
    Ok(written.rows_affected())
}

async fn reject(connection: &mut PgConnection, run: &Run, page: &Page) -> Result<(), DatabaseError> {
    let column = |value: fn(&Reject) -> &str| page.rejects.iter().map(value).collect::<Vec<_>>();
    sqlx::query(REJECT)
        .bind(&run.run_id)
        .bind(page.number)
        .bind(page.rejects.iter().map(|reject| reject.position).collect::<Vec<_>>())
        .bind(column(|reject| reject.reason))
        .bind(column(|reject| &reject.message))
        .bind(column(|reject| &reject.profile))
        .execute(connection)
        .await?;
    Ok(())
}

fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_staging_table_has_the_encoded_columns_in_order() {
        let columns = crate::copy::COLUMNS.map(|(name, of)| format!("{name} {of}")).join(", ");
        assert!(STAGING.contains(&format!("({columns})")), "{STAGING}");
        let names = crate::copy::COLUMNS.map(|(name, _)| name).join(", ");
        assert!(UPSERT.contains(&format!("SELECT id, $1, $2, {} FROM", names.trim_start_matches("id, "))));
        for (name, _) in crate::copy::COLUMNS.into_iter().skip(1) {
            assert!(UPSERT.contains(&format!(" {name} = excluded.{name}")), "{name}");
        }
    }
}
