//! The rows of PostgreSQL and of Cassandra.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use super::{Differences, Ops, Stage, State, States};
use crate::chaos::ChaosError;
use crate::config::Settings;

const TABLES: [&str; 3] = ["users_by_id", "users_by_country", "users_by_run"];

type Row = (Uuid, String, DateTime<Utc>, Option<String>);

fn state((id, country, registered_at, email): Row) -> (Uuid, State) {
    (id, (country, registered_at.timestamp_millis(), email))
}

/// The rows of PostgreSQL, and the kinds of the changes that each key has gone through, beginning with the snapshot.
pub(super) async fn expected(settings: &Settings) -> Result<(States, BTreeMap<Uuid, Ops>), ChaosError> {
    let failed = |source| ChaosError::Sql { what: "read the users", source };
    let mut connection = settings.postgres_options().connect().await.map_err(failed)?;
    let rows: Vec<Row> = sqlx::query_as("SELECT id, nat, registered_at, email FROM users")
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    let changes = "SELECT id, 'r' FROM known UNION ALL (SELECT id, op FROM changes ORDER BY n)";
    let mut found = sqlx::query_as::<_, (Uuid, String)>(changes).fetch(&mut connection);
    let mut by_key: BTreeMap<Uuid, Ops> = BTreeMap::new();
    while let Some((id, op)) = found.try_next().await.map_err(failed)? {
        by_key.entry(id).or_default().extend_from_slice(op.as_bytes());
    }
    drop(found);
    connection.close().await.map_err(failed)?;
    Ok((rows.into_iter().map(state).collect(), by_key))
}

/// All rows of each table.
pub(super) async fn found(settings: &Settings) -> Result<Vec<(String, Vec<(Uuid, State)>)>, ChaosError> {
    let session = cassandra::connect(&settings.cassandra).await?;
    let mut tables = Vec::new();
    for table in TABLES {
        let keyspace = &settings.cassandra.keyspace;
        let query = format!("SELECT id, country, registered_at, email FROM {keyspace}.{table}");
        let failed = |problem: String| ChaosError::Cassandra { table: table.to_owned(), problem };
        let pager = session.query_iter(query, ()).await.map_err(|error| failed(error.to_string()))?;
        let rows = pager.rows_stream::<Row>().map_err(|error| failed(error.to_string()))?;
        let rows: Vec<Row> = rows.try_collect().await.map_err(|error| failed(error.to_string()))?;
        tables.push((format!("cassandra.{table}"), rows.into_iter().map(state).collect()));
    }
    Ok(tables)
}

/// A table against the rows of PostgreSQL.
pub(super) fn compare(
    table: &str,
    rows: Vec<(Uuid, State)>,
    expected: &States,
    differences: &mut Differences,
) -> Stage {
    let mut stage = Stage { records: rows.len() as u64, ..Stage::named(table) };
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
