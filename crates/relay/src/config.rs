//! `[relay]`, and the sections it shares with other services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use events::RegistryConfig;
use kafka::KafkaConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::config::units::{DurationText, duration};
use service::config::{Config, ConfigError, PostgresConfig};

use crate::table::TableName;

/// Everything the relay is configured by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[relay]`.
    pub relay: RelayConfig,
    /// `[postgres]`: the database whose changes are relayed.
    pub postgres: PostgresConfig,
    /// `[kafka]`.
    pub kafka: KafkaConfig,
    /// `[registry]`.
    pub registry: RegistryConfig,
}

/// `[relay]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// Address of the admin port.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Name of the replication slot; also the key of the position in the offsets topic.
    pub slot: String,
    /// Publication whose tables are relayed.
    pub publication: String,
    /// Topic of a table that `tables` does not name; `{schema}` and `{table}` are replaced.
    #[serde(default = "default_topic_pattern")]
    pub topic_pattern: String,
    /// Settings by table, such as `"public.users"`.
    #[serde(default)]
    pub tables: BTreeMap<String, TableConfig>,
    /// Compacted topic, one partition, for the position.
    #[serde(default = "default_offsets_topic")]
    pub offsets_topic: String,
    /// The transactional id is this, followed by the slot's name.
    #[serde(default = "default_transactional_id_prefix")]
    pub transactional_id_prefix: String,
    /// First part of the namespace of the records' schemas.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Whether the first start publishes the rows that are there already.
    #[serde(default)]
    pub snapshot: SnapshotMode,
    /// How long a change waits for others of its Kafka transaction, from its commit in PostgreSQL on.
    #[serde(with = "duration", default = "default_linger")]
    #[schemars(with = "DurationText")]
    pub linger: Duration,
    /// Records of a Kafka transaction, after which it commits.
    #[serde(default = "default_max_transaction_records")]
    pub max_transaction_records: u64,
    /// Bytes of a Kafka transaction, after which it commits.
    #[serde(default = "default_max_transaction_bytes")]
    pub max_transaction_bytes: u64,
    /// When the broker aborts the transaction of a relay that died.
    #[serde(with = "duration", default = "default_transaction_timeout")]
    #[schemars(with = "DurationText")]
    pub transaction_timeout: Duration,
    /// How often a logical message is written into the WAL, so that an idle database next to a busy one does not
    /// hold WAL back; `0s` for never.
    #[serde(with = "duration", default = "default_heartbeat_interval")]
    #[schemars(with = "DurationText")]
    pub heartbeat_interval: Duration,
    /// When PostgreSQL gives the slot of a silent relay free (`wal_sender_timeout` of the session).
    #[serde(with = "duration", default = "default_session_timeout")]
    #[schemars(with = "DurationText")]
    pub session_timeout: Duration,
}

/// Settings of one table.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TableConfig {
    /// Its topic.
    pub topic: Option<String>,
    /// Its key columns, instead of the primary key.
    pub key: Option<Vec<String>>,
}

/// What the first start does with the rows that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// Publishes them, with the operation `r`.
    #[default]
    Initial,
    /// Leaves them out.
    Never,
}

impl Settings {
    /// Reads and checks the sections.
    ///
    /// # Errors
    /// The first thing that is wrong, with key, value and what is allowed.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let relay: RelayConfig = config.section("relay")?;
        relay.check()?;
        Ok(Self {
            relay,
            postgres: config.section("postgres")?,
            kafka: config.section("kafka")?,
            registry: config.section("registry")?,
        })
    }
}

impl RelayConfig {
    /// The topic of a table.
    #[must_use]
    pub fn topic(&self, table: &TableName) -> String {
        let configured = self.tables.get(&table.to_string()).and_then(|table| table.topic.clone());
        configured.unwrap_or_else(|| {
            self.topic_pattern.replace("{schema}", &table.schema).replace("{table}", &table.table)
        })
    }

    /// The key columns of a table, if they are not to be its primary key.
    #[must_use]
    pub fn key(&self, table: &TableName) -> Option<&[String]> {
        self.tables.get(&table.to_string())?.key.as_deref()
    }

    /// Fixed, so that a new relay fences a stalled one.
    #[must_use]
    pub fn transactional_id(&self) -> String {
        format!("{}{}", self.transactional_id_prefix, self.slot)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let slot_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.slot.is_empty() || self.slot.len() > 63 || !self.slot.chars().all(slot_letter) {
            let allowed = "PostgreSQL allows 1 to 63 lower-case letters, digits and underscores";
            return Err(ConfigError::invalid("relay.slot", &self.slot, allowed));
        }
        if self.publication.is_empty() || self.publication.contains([',', ' ', '"']) {
            let allowed = "one name, without commas, spaces and quotes";
            return Err(ConfigError::invalid("relay.publication", &self.publication, allowed));
        }
        if let Some(name) = self.tables.keys().find(|name| name.split('.').count() != 2) {
            return Err(ConfigError::invalid(
                "relay.tables",
                name,
                "write the schema too, such as public.users",
            ));
        }
        if self.max_transaction_records == 0 {
            return Err(ConfigError::invalid("relay.max_transaction_records", 0, "1 or more"));
        }
        if self.session_timeout < MIN_SESSION_TIMEOUT {
            let allowed = "5s or more: the relay reports to PostgreSQL every second";
            return Err(ConfigError::invalid("relay.session_timeout", self.session_timeout, allowed));
        }
        Ok(())
    }
}

const MIN_SESSION_TIMEOUT: Duration = Duration::from_secs(5);

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8001))
}

fn default_topic_pattern() -> String {
    "{table}.raw".to_owned()
}

fn default_offsets_topic() -> String {
    "relay.offsets".to_owned()
}

fn default_transactional_id_prefix() -> String {
    "relay-".to_owned()
}

fn default_namespace() -> String {
    "datastreaming".to_owned()
}

const fn default_linger() -> Duration {
    Duration::from_millis(5)
}

const fn default_max_transaction_records() -> u64 {
    20_000
}

const fn default_max_transaction_bytes() -> u64 {
    16 * 1024 * 1024
}

const fn default_transaction_timeout() -> Duration {
    Duration::from_secs(60)
}

const fn default_heartbeat_interval() -> Duration {
    Duration::from_secs(10)
}

const fn default_session_timeout() -> Duration {
    Duration::from_secs(10)
}
