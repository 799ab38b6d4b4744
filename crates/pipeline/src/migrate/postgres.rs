//! Role, database and tables in PostgreSQL.

use std::time::Duration;

use operate::config::Settings;
use operate::wait::is_postgres_away;
use secrecy::ExposeSecret as _;
use service::BoxError;
use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};

use super::report::{Outcome, Report};
use crate::wait;

/// Number, name and text of every file of `migrations/postgres`, in order.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "tables", include_str!("../../../../migrations/postgres/0001_tables.sql")),
    (2, "publication", include_str!("../../../../migrations/postgres/0002_publication.sql")),
];

/// Key of the advisory lock that a whole migration holds: "pipeline" in ASCII.
const LOCK: i64 = 0x7069_7065_6c69_6e65;

/// A step that PostgreSQL did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    #[error("can't connect to PostgreSQL at {place}{hint}")]
    Connect { place: String, hint: &'static str, source: sqlx::Error },
    #[error("PostgreSQL did not {what}")]
    Statement { what: String, source: sqlx::Error },
    #[error(
        "the tables can't be brought up to date; if they are of a newer release, use that release's `pipeline`"
    )]
    Migration(#[from] MigrateError),
}

impl PostgresError {
    /// Whether the server is away or starting.
    fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => is_postgres_away(source),
            Self::Statement { .. } | Self::Migration(_) => false,
        }
    }
}

/// Keeps other migrations out until it is released, or this process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    connection: PgConnection,
}

impl Lock {
    /// Lets the next migration begin.
    pub(crate) async fn release(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

pub(crate) async fn migrate(
    settings: &Settings,
    within: Duration,
    report: &mut Report<'_>,
) -> Result<Lock, BoxError> {
    let own = settings.postgres_options();
    if let Some(admin) = settings.postgres_admin_options() {
        let mut admin = reach(&admin, within, report).await?;
        prepare_role(&mut admin, settings, report).await?;
        prepare_database(&mut admin, settings, report).await?;
        prepare_password(&mut admin, settings, &own, report).await?;
        admin.close().await?;
    }
    let mut connection = reach(&own, within, report).await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut connection)
        .await
        .map_err(statement("take the lock of migrations"))?;
    apply(&mut connection, report).await?;
    Ok(Lock { connection })
}

async fn apply(connection: &mut PgConnection, report: &mut Report<'_>) -> Result<(), PostgresError> {
    let migrator = migrator();
    let table = migrator.table_name.as_ref();
    connection.ensure_migrations_table(table).await?;
    let before = connection.list_applied_migrations(table).await?;
    migrator.run(&mut *connection).await?;
    for migration in migrator.iter() {
        let known = before.iter().any(|applied| applied.version == migration.version);
        let outcome = if known { Outcome::Unchanged } else { Outcome::Created };
        report.add(format!("migration {:04} {}", migration.version, migration.description), outcome, "");
    }
    Ok(())
}

/// The macro that reads the folder would have all of sqlx compiled a second time, for itself.
fn migrator() -> Migrator {
    let migration = |(version, name, text): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}

async fn prepare_role(
    admin: &mut PgConnection,
    settings: &Settings,
    report: &mut Report<'_>,
) -> Result<(), PostgresError> {
    let name = &settings.postgres.user;
    let object = format!("role {name}");
    let rights: Option<(bool, bool)> =
        sqlx::query_as("SELECT rolcanlogin, rolreplication OR rolsuper FROM pg_roles WHERE rolname = $1")
            .bind(name)
            .fetch_optional(&mut *admin)
            .await
            .map_err(statement(format!("look for {object}")))?;
    match rights {
        Some((true, true)) => report.add(object, Outcome::Unchanged, ""),
        Some(_) => {
            let sql = format!("ALTER ROLE {} LOGIN REPLICATION", identifier(name));
            execute(admin, sql, format!("change {object}")).await?;
            report.add(object, Outcome::Changed, "may log in and replicate");
        }
        None => {
            let sql = format!("CREATE ROLE {} LOGIN REPLICATION", identifier(name));
            execute(admin, sql, format!("create {object}")).await?;
            set_password(admin, settings).await?;
            report.add(object, Outcome::Created, "may log in and replicate");
        }
    }
    Ok(())
}

async fn prepare_database(
    admin: &mut PgConnection,
    settings: &Settings,
    report: &mut Report<'_>,
) -> Result<(), PostgresError> {
    let name = &settings.postgres.database;
    let object = format!("database {name}");
    let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(&mut *admin)
        .await
        .map_err(statement(format!("look for {object}")))?;
    if known.is_some() {
        report.add(object, Outcome::Unchanged, "");
        return Ok(());
    }
    let owner = identifier(&settings.postgres.user);
    let sql = format!("CREATE DATABASE {} OWNER {owner}", identifier(name));
    execute(admin, sql, format!("create {object}")).await?;
    report.add(object, Outcome::Created, "");
    Ok(())
}

/// The configured password is made to work if it does not.
async fn prepare_password(
    admin: &mut PgConnection,
    settings: &Settings,
    own: &PgConnectOptions,
    report: &mut Report<'_>,
) -> Result<(), PostgresError> {
    match own.connect().await {
        Ok(connection) => connection.close().await.map_err(statement("close a connection")),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("28P01") => {
            set_password(admin, settings).await?;
            report.add(format!("password of {}", settings.postgres.user), Outcome::Changed, "");
            Ok(())
        }
        Err(source) => Err(connect_error(own, source)),
    }
}

async fn set_password(admin: &mut PgConnection, settings: &Settings) -> Result<(), PostgresError> {
    // A password in a statement must not reach the server's log, whatever it is told to log.
    for setting in
        ["log_statement = 'none'", "log_min_duration_statement = -1", "log_min_error_statement = 'panic'"]
    {
        execute(admin, format!("SET {setting}"), format!("set {setting} for one session")).await?;
    }
    let name = &settings.postgres.user;
    let password = literal(settings.postgres.password.expose_secret());
    let sql = format!("ALTER ROLE {} PASSWORD {password}", identifier(name));
    execute(admin, sql, format!("set the password of {name}")).await
}

async fn reach(
    options: &PgConnectOptions,
    within: Duration,
    report: &Report<'_>,
) -> Result<PgConnection, BoxError> {
    let what = format!("PostgreSQL at {}", place(options));
    let connect = async || options.connect().await.map_err(|source| connect_error(options, source));
    Ok(wait::until(&what, within, report.output, PostgresError::is_transient, connect).await?)
}

fn connect_error(options: &PgConnectOptions, source: sqlx::Error) -> PostgresError {
    let code = source.as_database_error().and_then(|error| error.code());
    let hint = match code.as_deref() {
        Some("3D000") => "; create the database, or set pipeline.postgres_admin_user so that this does",
        Some("28P01" | "28000") => {
            "; correct the role's password, or set pipeline.postgres_admin_user so that this does"
        }
        _ => "",
    };
    PostgresError::Connect { place: place(options), hint, source }
}

fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("{}:{}/{database} as {}", options.get_host(), options.get_port(), options.get_username())
}

async fn execute(connection: &mut PgConnection, sql: String, what: String) -> Result<(), PostgresError> {
    // Identifiers and literals in it are quoted: utility statements take no parameters.
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(statement(what))?;
    Ok(())
}

fn statement(what: impl Into<String>) -> impl FnOnce(sqlx::Error) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Statement { what, source }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// In the form whose meaning does not depend on `standard_conforming_strings`.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_migration() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/postgres");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let named = MIGRATIONS.map(|(version, name, _)| format!("{version:04}_{name}.sql"));
        assert_eq!(files, named);
    }

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(identifier(r#"a"; DROP"#), r#""a""; DROP""#);
        assert_eq!(literal(r"it's \ "), r"E'it''s \\ '");
    }
}
