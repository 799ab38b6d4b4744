//! Connections to PostgreSQL: how they are opened, what has to be there, and which of their errors pass.

use secrecy::ExposeSecret as _;
use service::config::PostgresConfig;
use service::config::sections::SslMode;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Row as _};

/// An error of PostgreSQL or of the way to it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// sqlx's or the server's own error.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A statement or a transaction did not end in time; its connection is given up.
    #[error("PostgreSQL did not answer within {} s", .0.as_secs_f32())]
    Timeout(std::time::Duration),
    /// The tables are not there yet.
    #[error("the tables {0} are missing: run `pipeline migrate`")]
    NotMigrated(String),
}

/// What an error says about the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server is away, restarting, full or standing by.
    Unavailable,
    /// Another transaction got in the way.
    Conflict,
    /// The statement will never succeed as it is.
    Permanent,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Wait, connect again, go on where the last commit ended.
    Reconnect,
    /// Give up and say why.
    Fail,
}

impl Kind {
    /// The one place that decides about another try.
    #[must_use]
    pub const fn policy(self) -> Policy {
        match self {
            Self::Unavailable | Self::Conflict => Policy::Reconnect,
            Self::Permanent => Policy::Fail,
        }
    }
}

impl DatabaseError {
    /// Sorts the error; SQLSTATE classes as in PostgreSQL's appendix A.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let error = match self {
            Self::Sql(error) => error,
            Self::Timeout(_) | Self::NotMigrated(_) => return Kind::Unavailable,
        };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::BeginFailed
            | sqlx::Error::WorkerCrashed => Kind::Unavailable,
            sqlx::Error::Database(error) => error.code().map_or(Kind::Permanent, |code| sqlstate(&code)),
            _ => Kind::Permanent,
        }
    }
}

/// Connection lost, read-only standby, wrong credentials for now, no resources, operator intervention, disk
/// trouble; and transactions that were rolled back for another's sake.
fn sqlstate(code: &str) -> Kind {
    match code {
        "25006" | "25P03" | "25P04" | "3D000" => Kind::Unavailable,
        "55P03" => Kind::Conflict,
        _ => match code.get(..2) {
            Some("08" | "28" | "53" | "57" | "58") => Kind::Unavailable,
            Some("40") => Kind::Conflict,
            _ => Kind::Permanent,
        },
    }
}

/// How every connection of the fetcher is opened.
#[must_use]
pub fn options(config: &PostgresConfig) -> PgConnectOptions {
    let ssl_mode = match config.ssl_mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .database(&config.database)
        .username(&config.user)
        .password(config.password.expose_secret())
        .ssl_mode(ssl_mode)
        .application_name("fetcher")
        .options([
            // The server must notice a fetcher whose machine is gone: it holds the lock of its run.
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
            // A fetcher that was stopped in mid-transaction must not hold WAL and row versions for ever.
            ("idle_in_transaction_session_timeout", "60s"),
        ])
        .disable_statement_logging()
}

/// Succeeds once the migrations were applied.
///
/// # Errors
/// [`DatabaseError::NotMigrated`] with the tables that are missing, or those of the query.
pub async fn check_migrated(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let missing = sqlx::query(
        "SELECT string_agg(name, ', ') FROM unnest(ARRAY['fetch_runs', 'users', 'fetch_rejects']) AS name \
         WHERE to_regclass(name) IS NULL",
    )
    .fetch_one(connection)
    .await?
    .try_get::<Option<String>, _>(0)?;
    missing.map_or(Ok(()), |tables| Err(DatabaseError::NotMigrated(tables)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again() {
        for code in ["08006", "57P01", "57P03", "53100", "53300", "28P01", "3D000", "40P01", "40001", "25006"]
        {
            assert_eq!(sqlstate(code).policy(), Policy::Reconnect, "{code}");
        }
        for code in ["23514", "22021", "42P01", "42501", "XX000", ""] {
            assert_eq!(sqlstate(code).policy(), Policy::Fail, "{code}");
        }
        let refused = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(DatabaseError::from(refused).kind().policy(), Policy::Reconnect);
    }
}
