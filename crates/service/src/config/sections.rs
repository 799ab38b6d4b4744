//! Sections that more than one service reads.

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// `[postgres]`: where the tables are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role; the relay's needs the replication right.
    pub user: String,
    /// Password of the role, usually from `PIPELINE__POSTGRES__PASSWORD`.
    #[schemars(with = "String")]
    pub password: SecretString,
    /// Whether the connection is encrypted and the server's certificate checked.
    #[serde(default)]
    pub ssl_mode: SslMode,
    /// Connections a process opens at the most.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
}

/// As `sslmode` of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can.
    #[default]
    Prefer,
    /// Encrypted, the certificate unchecked.
    Require,
    /// Encrypted, the certificate and the host name checked.
    VerifyFull,
}

/// `[telemetry]`: what is logged and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// For people or for machines.
    pub log_format: LogFormat,
    /// A filter as of `tracing`: a level, or `module=level,…`.
    pub log_level: String,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Human, log_level: "info".to_owned() }
    }
}

const fn default_port() -> u16 {
    5432
}

const fn default_max_connections() -> u32 {
    4
}
