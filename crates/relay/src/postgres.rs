//! Connections to PostgreSQL: one for queries, and how the replication session is opened.

use std::time::Duration;

use pgwire_replication::{Lsn, ReplicationConfig, SslMode as WireSslMode, TlsConfig};
use secrecy::ExposeSecret as _;
use service::config::PostgresConfig;
use service::config::sections::SslMode;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

/// How values are written as text, in queries and in the stream, whatever the server's and the role's settings are.
const TEXT_FORMS: [(&str, &str); 5] = [
    ("datestyle", "ISO,MDY"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
];

/// How often the stream's client reports the confirmed position.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Events between the replication connection and the relay. They are counted, not weighed, so there are few: a row of
/// a megabyte, about the most that a Kafka record may have, is one. The sockets' own buffers carry the stream over a
/// commit.
const BUFFERED_EVENTS: usize = 64;

/// How long PostgreSQL may take to answer what it answers at once when it is well. A connection that is dead without
/// either side knowing never answers.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the work gives, unless it takes longer than [`PATIENCE`]; its connection must not be used again then.
///
/// # Errors
/// Those of the work, or that it took too long.
pub async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(silent()))
}

/// The error of a connection that does not answer.
#[must_use]
pub fn silent() -> sqlx::Error {
    let text = format!("no answer from PostgreSQL within {} s", PATIENCE.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

/// Opens a connection for queries.
///
/// # Errors
/// sqlx's, if the server is away, refuses, or does not answer.
pub async fn connect(config: &PostgresConfig, application_name: &str) -> Result<PgConnection, sqlx::Error> {
    let ssl_mode = match config.ssl_mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .database(&config.database)
        .username(&config.user)
        .password(config.password.expose_secret())
        .ssl_mode(ssl_mode)
        .application_name(application_name)
        .options(TEXT_FORMS)
        // A snapshot may take long, and may wait long for Kafka.
        .options([("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")])
        .disable_statement_logging();
    within(options.connect()).await
}

/// How the slot is streamed from where it stands.
#[must_use]
pub fn replication(
    config: &PostgresConfig,
    slot: &str,
    publication: &str,
    application_name: &str,
    session_timeout: Duration,
    binary: bool,
) -> ReplicationConfig {
    let mode = match config.ssl_mode {
        SslMode::Disable => WireSslMode::Disable,
        SslMode::Prefer => WireSslMode::Prefer,
        SslMode::Require => WireSslMode::Require,
        SslMode::VerifyFull => WireSslMode::VerifyFull,
    };
    let forms = TEXT_FORMS.map(|(name, value)| format!("-c {name}={value}")).join(" ");
    ReplicationConfig::new(
        &config.host,
        &config.user,
        config.password.expose_secret(),
        &config.database,
        slot,
        publication,
    )
    .with_port(config.port)
    .with_tls(TlsConfig { mode, ..TlsConfig::default() })
    .with_start_lsn(Lsn::ZERO)
    .with_status_interval(STATUS_INTERVAL)
    .with_wakeup_interval((session_timeout / 4).min(Duration::from_secs(10)))
    .with_buffer_size(BUFFERED_EVENTS)
    .with_binary(binary)
    .with_options(format!("{forms} -c wal_sender_timeout={}ms", session_timeout.as_millis()))
    .with_application_name(application_name)
}
