//! Keyspace and tables in Cassandra.
//!
//! Cassandra has no transactions over its schema: a migration that was cut short is run again from its first
//! statement, so each statement must be one that can be repeated (`IF NOT EXISTS`). The table `schema_migrations` of
//! the keyspace has those that were completed.

use std::collections::HashMap;
use std::time::Duration;

use cassandra::ConnectError;
use operate::config::Settings;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Statement;
use service::BoxError;
use sha2::{Digest as _, Sha256};

use super::cql::statements;
use super::report::{Outcome, Report};
use crate::wait;

/// Number, name and text of every migration, in order.
const MIGRATIONS: [(i32, &str, &str); 1] =
    [(1, "0001_tables", include_str!("../../../../migrations/cassandra/0001_tables.cql"))];

/// A change of the schema has to reach every node.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum CassandraError {
    #[error("can't connect to Cassandra")]
    Connect(#[from] ConnectError),
    #[error("Cassandra did not run `{statement}`")]
    Statement { statement: String, source: Box<ExecutionError> },
    #[error("Cassandra's answer to `{statement}` can't be read")]
    Answer { statement: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "migration {name} of keyspace {keyspace} was changed after it was applied; restore its text, and put the \
         change into a new migration"
    )]
    Changed { keyspace: String, name: &'static str },
    #[error(
        "keyspace {keyspace} has migration {version}, which this release does not know; use the newer release's \
         `pipeline`"
    )]
    Newer { keyspace: String, version: i32 },
}

impl CassandraError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Unreachable { .. }) => true,
            Self::Connect(ConnectError::Certificates { .. })
            | Self::Statement { .. }
            | Self::Answer { .. }
            | Self::Changed { .. }
            | Self::Newer { .. } => false,
        }
    }
}

pub(crate) async fn migrate(
    settings: &Settings,
    within: Duration,
    report: &mut Report<'_>,
) -> Result<(), BoxError> {
    let what = format!("Cassandra at {}", settings.cassandra.contact_points.join(", "));
    let connect = async || Ok(cassandra::connect(&settings.cassandra).await?);
    let session = wait::until(&what, within, report.output, CassandraError::is_transient, connect).await?;
    prepare_keyspace(&session, settings, report).await?;
    let keyspace = &settings.cassandra.keyspace;
    let applied = applied(&session, keyspace).await?;
    if let Some(version) = applied.keys().copied().find(|known| !MIGRATIONS.iter().any(|(n, ..)| n == known))
    {
        return Err(CassandraError::Newer { keyspace: keyspace.clone(), version }.into());
    }
    session.use_keyspace(keyspace, false).await?;
    for (version, name, text) in MIGRATIONS {
        let checksum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        let object = format!("migration {name}");
        match applied.get(&version) {
            Some(known) if *known == checksum => report.add(object, Outcome::Unchanged, ""),
            Some(_) => return Err(CassandraError::Changed { keyspace: keyspace.clone(), name }.into()),
            None => {
                for statement in statements(text) {
                    execute(&session, &statement, ()).await?;
                }
                let record = format!(
                    "INSERT INTO {keyspace}.schema_migrations (version, name, checksum, applied_at) \
                     VALUES (?, ?, ?, toTimestamp(now()))"
                );
                execute(&session, &record, (version, name, checksum)).await?;
                report.add(object, Outcome::Created, "");
            }
        }
    }
    Ok(())
}

async fn prepare_keyspace(
    session: &Session,
    settings: &Settings,
    report: &mut Report<'_>,
) -> Result<(), CassandraError> {
    let keyspace = &settings.cassandra.keyspace;
    let object = format!("keyspace {keyspace}");
    let options = &settings.pipeline.keyspace_replication;
    let Some(found) = replication(session, keyspace).await? else {
        let create = if options.is_empty() {
            settings.cassandra.create_keyspace()
        } else {
            format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {}", map_literal(options))
        };
        execute(session, &create, ()).await?;
        report.add(object, Outcome::Created, "");
        return Ok(());
    };
    // Cassandra stores the full class name and, for the plain factor, what it expands to.
    let same = options.iter().all(|(key, wanted)| {
        found.get(key).is_some_and(|value| value == wanted || value.ends_with(&format!(".{wanted}")))
    });
    if same {
        report.add(object, Outcome::Unchanged, "");
    } else {
        let detail = format!(
            "replication is {found:?}, configured is {options:?}; change it with ALTER KEYSPACE and a repair"
        );
        report.add(object, Outcome::Differs, detail);
    }
    Ok(())
}

async fn replication(
    session: &Session,
    keyspace: &str,
) -> Result<Option<HashMap<String, String>>, CassandraError> {
    let query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows = execute(session, query, (keyspace,)).await?.into_rows_result().map_err(answer(query))?;
    let row = rows.maybe_first_row::<(HashMap<String, String>,)>().map_err(answer(query))?;
    Ok(row.map(|(replication,)| replication))
}

/// Checksums of the completed migrations by number; makes the table that has them.
async fn applied(session: &Session, keyspace: &str) -> Result<HashMap<i32, String>, CassandraError> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.schema_migrations \
         (version int PRIMARY KEY, name text, checksum text, applied_at timestamp)"
    );
    execute(session, &create, ()).await?;
    let query = format!("SELECT version, checksum FROM {keyspace}.schema_migrations");
    let rows = execute(session, &query, ()).await?.into_rows_result().map_err(answer(&query))?;
    let rows = rows.rows::<(i32, String)>().map_err(answer(&query))?;
    rows.collect::<Result<_, _>>().map_err(answer(&query))
}

async fn execute(
    session: &Session,
    text: &str,
    values: impl SerializeRow,
) -> Result<scylla::response::query_result::QueryResult, CassandraError> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(SCHEMA_TIMEOUT));
    session
        .query_unpaged(statement, values)
        .await
        .map_err(|source| CassandraError::Statement { statement: text.to_owned(), source: Box::new(source) })
}

fn answer<E: std::error::Error + Send + Sync + 'static>(statement: &str) -> impl FnOnce(E) -> CassandraError {
    let statement = statement.to_owned();
    move |source| CassandraError::Answer { statement, source: Box::new(source) }
}

fn map_literal(options: &std::collections::BTreeMap<String, String>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let entries: Vec<String> =
        options.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/cassandra");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS.iter().map(|(_, name, _)| format!("{name}.cql")).collect();
        assert_eq!(files, listed);
        assert!(MIGRATIONS.iter().all(|(n, name, _)| name.starts_with(&format!("{n:04}_"))));
    }
}
