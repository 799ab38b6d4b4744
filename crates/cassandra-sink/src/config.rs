//! `[cassandra_sink]`, and the sections it shares with other services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use cassandra::CassandraConfig;
use events::RegistryConfig;
use kafka::KafkaConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::units::{DurationText, duration};
use service::config::{Config, ConfigError};

/// Name of the section.
pub const SECTION: &str = "cassandra_sink";

/// Everything the sink is configured by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[cassandra_sink]`.
    pub sink: SinkConfig,
    /// `[cassandra]`.
    pub cassandra: CassandraConfig,
    /// `[kafka]`.
    pub kafka: KafkaConfig,
    /// `[registry]`.
    pub registry: RegistryConfig,
}

/// `[cassandra_sink]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// Address of the admin port.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Topic that is written to Cassandra.
    pub source_topic: String,
    /// Topic of the records that can't be; the source's name and `.dlq` if not set.
    pub dead_letter_topic: Option<String>,
    /// Consumer group; processes of the same group share the partitions.
    #[serde(default = "default_group")]
    pub group: String,
    /// Records that are being written at once.
    #[serde(default = "default_in_flight")]
    pub in_flight: usize,
    /// Bytes of the records that are being written at once.
    #[serde(default = "default_in_flight_bytes")]
    pub in_flight_bytes: usize,
    /// Bytes that wait between the consumer and the writer; partitions are paused while there are more.
    #[serde(default = "default_queue_bytes")]
    pub queue_bytes: usize,
    /// Larger records are dead letters: a node drops the connection on frames that it finds too large, so that a
    /// try would never end.
    #[serde(default = "default_max_record_bytes")]
    pub max_record_bytes: usize,
    /// How often the position reached is committed.
    #[serde(with = "duration", default = "default_commit_interval")]
    #[schemars(with = "DurationText")]
    pub commit_interval: Duration,
    /// How long writes may take to end when partitions are given up or the sink stops. What has not ended by then is
    /// written again by whoever is next.
    #[serde(with = "duration", default = "default_drain_timeout")]
    #[schemars(with = "DurationText")]
    pub drain_timeout: Duration,
    /// When a write that has no answer is sent to another replica as well; `0s` for never.
    #[serde(with = "duration", default)]
    #[schemars(with = "DurationText")]
    pub speculative_after: Duration,
    /// Tables that every record goes to.
    pub tables: Vec<TableConfig>,
}

/// A table that records go to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// Name, without the keyspace.
    pub name: String,
    /// Field of a column, where it has another name than the column.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the sections and checks what their types can't.
    ///
    /// # Errors
    /// A key that is missing, unknown or out of range.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let sink: SinkConfig = config.section(SECTION)?;
        sink.check()?;
        Ok(Self {
            sink,
            cassandra: CassandraConfig::load(config)?,
            kafka: config.section("kafka")?,
            registry: config.section("registry")?,
        })
    }
}

impl SinkConfig {
    /// Topic of the records that can't be written.
    #[must_use]
    pub fn dead_letter_topic(&self) -> String {
        self.dead_letter_topic.clone().unwrap_or_else(|| kafka::dead_letter::topic(&self.source_topic))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("cassandra_sink.in_flight", self.in_flight),
            ("cassandra_sink.in_flight_bytes", self.in_flight_bytes),
            ("cassandra_sink.queue_bytes", self.queue_bytes),
            ("cassandra_sink.max_record_bytes", self.max_record_bytes),
        ];
        if let Some((key, value)) = sizes.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::invalid(key, value, "a whole number from 1 on"));
        }
        // A protocol stream each, and a connection has 32,768 of them.
        if self.in_flight * self.tables.len().max(1) > 32_000 {
            let allowed =
                format!("at most {} with {} tables", 32_000 / self.tables.len().max(1), self.tables.len());
            return Err(ConfigError::invalid("cassandra_sink.in_flight", self.in_flight, allowed));
        }
        if self.commit_interval.is_zero() {
            let allowed = "more than 0, such as 1s";
            return Err(ConfigError::invalid(
                "cassandra_sink.commit_interval",
                self.commit_interval,
                allowed,
            ));
        }
        if self.drain_timeout > Duration::from_secs(6) {
            let allowed = "6s at the most, so that a shutdown ends within its 10 s";
            return Err(ConfigError::invalid("cassandra_sink.drain_timeout", self.drain_timeout, allowed));
        }
        let names: BTreeSet<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
        if names.len() != self.tables.len() || names.is_empty() {
            let given: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
            return Err(ConfigError::invalid(
                "cassandra_sink.tables",
                given,
                "one table or more, each of them once",
            ));
        }
        Ok(())
    }
}

impl TableConfig {
    /// The field that fills a column: the one that is named for it, or the one of its own name.
    #[must_use]
    pub fn field_of<'a>(&'a self, column: &'a str) -> &'a str {
        self.columns.get(column).map_or(column, String::as_str)
    }
}

const fn default_listen() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8003)
}

fn default_group() -> String {
    "cassandra-sink".to_owned()
}

const fn default_in_flight() -> usize {
    256
}

const fn default_in_flight_bytes() -> usize {
    8 << 20
}

const fn default_queue_bytes() -> usize {
    1 << 20
}

const fn default_max_record_bytes() -> usize {
    8 << 20
}

const fn default_commit_interval() -> Duration {
    Duration::from_secs(1)
}

const fn default_drain_timeout() -> Duration {
    Duration::from_secs(5)
}
