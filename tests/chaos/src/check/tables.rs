//! The rows of PostgreSQL and of Cassandra.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use operate::config::Settings;
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use super::stage::{Differences, Stage};
use super::state::{Ops, State, States};
use crate::error::ChaosError;

/// A table, and whether it has the columns that not all have.
const TABLES: [(&str, bool); 3] =
    [("users_by_id", true), ("users_by_country", false), ("users_by_run", false)];
const COMMON: &str = "id, run_id, country, registered_at, email";
const FURTHER: &str = "username, document_name, document_value";

type Common = (Uuid, String, String, DateTime<Utc>, Option<String>);
type Text = Option<String>;
type Whole = (Uuid, String, String, DateTime<Utc>, Text, Text, Text, Text);
type Row = (Uuid, State);

fn whole((id, run_id, country, registered_at, email, username, document_name, document_value): Whole) -> Row {
    let registered_at = registered_at.timestamp_micros();
    (id, State { run_id, country, registered_at, email, username, document_name, document_value })
}

fn common((id, run_id, country, registered_at, email): Common) -> Row {
    whole((id, run_id, country, registered_at, email, None, None, None))
}

impl State {
    /// As a table of Cassandra has it.
    fn in_cassandra(&self, is_whole: bool) -> Self {
        const MICROS_OF_A_MILLI: i64 = 1_000;
        let registered_at = self.registered_at.div_euclid(MICROS_OF_A_MILLI) * MICROS_OF_A_MILLI;
        let state = Self { registered_at, ..self.clone() };
        if is_whole {
            state
        } else {
            Self { username: None, document_name: None, document_value: None, ..state }
        }
    }
}

/// The rows of PostgreSQL, and the kinds of the changes that each key has gone through, beginning with the snapshot.
pub(super) async fn expected(settings: &Settings) -> Result<(States, BTreeMap<Uuid, Ops>), ChaosError> {
    let failed = |source| ChaosError::Sql { what: "read the users", source };
    let mut connection = settings.postgres_options().connect().await.map_err(failed)?;
    let query =
        "SELECT id, run_id, nat, registered_at, email, username, document_name, document_value FROM users";
    let rows: Vec<Whole> = sqlx::query_as(query).fetch_all(&mut connection).await.map_err(failed)?;
    let changes = "SELECT id, 'r' FROM known UNION ALL (SELECT id, op FROM changes ORDER BY n)";
    let mut found = sqlx::query_as::<_, (Uuid, String)>(changes).fetch(&mut connection);
    let mut by_key: BTreeMap<Uuid, Ops> = BTreeMap::new();
    while let Some((id, op)) = found.try_next().await.map_err(failed)? {
        by_key.entry(id).or_default().extend_from_slice(op.as_bytes());
    }
    drop(found);
    connection.close().await.map_err(failed)?;
    Ok((rows.into_iter().map(whole).collect(), by_key))
}

/// All rows of each table, and whether it has all columns.
pub(super) async fn found(settings: &Settings) -> Result<Vec<(String, bool, Vec<Row>)>, ChaosError> {
    let session = cassandra::connect(&settings.cassandra).await?;
    let keyspace = &settings.cassandra.keyspace;
    let mut tables = Vec::new();
    for (table, is_whole) in TABLES {
        let columns = if is_whole { format!("{COMMON}, {FURTHER}") } else { COMMON.to_owned() };
        let query = format!("SELECT {columns} FROM {keyspace}.{table}");
        let failed = |problem: String| ChaosError::Cassandra { table: table.to_owned(), problem };
        let pager = session.query_iter(query, ()).await.map_err(|error| failed(error.to_string()))?;
        let rows: Result<Vec<Row>, _> = if is_whole {
            let rows = pager.rows_stream::<Whole>().map_err(|error| failed(error.to_string()))?;
            rows.map_ok(whole).try_collect().await
        } else {
            let rows = pager.rows_stream::<Common>().map_err(|error| failed(error.to_string()))?;
            rows.map_ok(common).try_collect().await
        };
        let rows = rows.map_err(|error| failed(error.to_string()))?;
        tables.push((format!("cassandra.{table}"), is_whole, rows));
    }
    Ok(tables)
}

/// A table against the rows of PostgreSQL.
pub(super) fn compare(
    table: &str,
    is_whole: bool,
    rows: Vec<Row>,
    expected: &States,
    differences: &mut Differences,
) -> Stage {
    let mut stage = Stage { records: rows.len() as u64, ..Stage::named(table) };
    let expected: States = expected.iter().map(|(id, state)| (*id, state.in_cassandra(is_whole))).collect();
    let mut missing: BTreeMap<&Uuid, &State> = expected.iter().collect();
    let mut unexpected = Vec::new();
    for (id, state) in rows {
        if missing.get(&id).is_some_and(|wanted| **wanted == state) {
            missing.remove(&id);
        } else {
            unexpected.push((id, state));
        }
    }
    stage.lost = missing.len() as u64;
    stage.unexpected = unexpected.len() as u64;
    for (id, wanted) in missing {
        differences.add(table, id, || format!("has no row {wanted:?}"));
    }
    for (id, state) in unexpected {
        differences.add(table, &id, || format!("has a row {state:?}, in PostgreSQL {:?}", expected.get(&id)));
    }
    stage
}
