//! `[stream_processor]` of the configuration, and what follows from it.

use std::net::SocketAddr;
use std::time::Duration;

use domain::pii::{PiiError, PiiPolicy, Rules};
use events::RegistryConfig;
use kafka::KafkaConfig;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use service::config::units::{DurationText, duration};
use service::config::{Config, ConfigError};

/// Name of the section.
pub const SECTION: &str = "stream_processor";
/// Librdkafka's threads and buffers are per worker.
const MAX_WORKERS: usize = 64;

/// `[stream_processor]`. Every key has a default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessorConfig {
    /// Address of the admin routes.
    pub listen: SocketAddr,
    /// Part of the transactional ids; no two running processes may have the same. The host's name if empty.
    pub instance: String,
    /// Consumers, each with its own thread and transactional producer. More than the topic has partitions are idle.
    pub workers: usize,
    /// Consumer group; all processes that share the work have the same.
    pub group: String,
    /// Where the changes come from.
    pub source_topic: String,
    /// Where the processed users go.
    pub target_topic: String,
    /// Where what can't be processed goes; the source topic with `.dlq` if empty.
    pub dead_letter_topic: String,
    /// Start of the transactional ids, which instance and worker follow; the group if empty.
    pub transactional_id_prefix: String,
    /// When the broker aborts the transaction of a worker that died.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub transaction_timeout: Duration,
    /// When the group gives the partitions of a worker that died to others.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub session_timeout: Duration,
    /// How long a transaction waits for more records once it has one; it takes what is there already without waiting.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub linger: Duration,
    /// Records of one transaction at the most.
    pub max_batch_records: usize,
    /// Keys and values read for one transaction at the most.
    pub max_batch_bytes: usize,
    /// Size of a record that is written; larger ones are dead letters. A topic whose `max.message.bytes` is less wins.
    pub max_record_bytes: usize,
    /// Key of the PII rule `hmac`, of 16 bytes or more; only from the environment.
    #[schemars(with = "Option<String>")]
    pub hmac_key: Option<SecretString>,
    /// What is shown of personal data.
    pub pii: Rules,
}

impl Default for ProcessorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8002)),
            instance: String::new(),
            workers: 1,
            group: "stream-processor".to_owned(),
            source_topic: "users.raw".to_owned(),
            target_topic: "users.processed".to_owned(),
            dead_letter_topic: String::new(),
            transactional_id_prefix: String::new(),
            transaction_timeout: Duration::from_secs(15),
            session_timeout: Duration::from_secs(6),
            linger: Duration::from_millis(5),
            max_batch_records: 10_000,
            max_batch_bytes: 4 * 1024 * 1024,
            max_record_bytes: 1_040_000,
            hmac_key: None,
            pii: Rules::default(),
        }
    }
}

/// The configuration of a stream processor, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[stream_processor]`, with its empty names filled in.
    pub processor: ProcessorConfig,
    /// `[kafka]`.
    pub kafka: KafkaConfig,
    /// `[registry]`.
    pub registry: RegistryConfig,
    /// `stream_processor.pii` with its key.
    pub policy: PiiPolicy,
}

impl Settings {
    /// Reads and checks the sections.
    ///
    /// # Errors
    /// A key that is unknown, missing or has a value that can't be used.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let mut processor: ProcessorConfig = config.section(SECTION)?;
        if processor.instance.is_empty() {
            processor.instance = host_name();
        }
        if processor.dead_letter_topic.is_empty() {
            processor.dead_letter_topic = kafka::dead_letter::topic(&processor.source_topic);
        }
        if processor.transactional_id_prefix.is_empty() {
            processor.transactional_id_prefix.clone_from(&processor.group);
        }
        check(&processor)?;
        let policy = policy(&processor)?;
        Ok(Self { processor, kafka: config.section("kafka")?, registry: config.section("registry")?, policy })
    }
}

fn check(config: &ProcessorConfig) -> Result<(), ConfigError> {
    let numbers = [
        ("workers", config.workers, 1..=MAX_WORKERS),
        ("max_batch_records", config.max_batch_records, 1..=1_000_000),
        ("max_batch_bytes", config.max_batch_bytes, 1..=1 << 30),
        ("max_record_bytes", config.max_record_bytes, 10_000..=1 << 30),
    ];
    for (key, value, allowed) in numbers {
        if !allowed.contains(&value) {
            let range = format!("a number from {} to {} is allowed", allowed.start(), allowed.end());
            return Err(invalid(key, value, range));
        }
    }
    let times = [
        ("transaction_timeout", config.transaction_timeout, 1..=900),
        ("session_timeout", config.session_timeout, 1..=1800),
    ];
    for (key, value, allowed) in times {
        if !allowed.contains(&value.as_secs()) {
            let range = format!("{}s to {}s are allowed", allowed.start(), allowed.end());
            return Err(invalid(key, value, range));
        }
    }
    if config.linger > config.transaction_timeout / 3 {
        return Err(invalid(
            "linger",
            config.linger,
            "a third of transaction_timeout is allowed at the most",
        ));
    }
    let topics = [&config.source_topic, &config.target_topic, &config.dead_letter_topic];
    let names = [("source_topic", topics[0]), ("target_topic", topics[1]), ("group", &config.group)];
    for (key, name) in names {
        if name.is_empty() {
            return Err(invalid(key, name, "a name is needed"));
        }
    }
    if topics[0] == topics[1] || topics[0] == topics[2] {
        return Err(invalid("source_topic", topics[0], "it can't be a topic that is written to"));
    }
    Ok(())
}

fn policy(config: &ProcessorConfig) -> Result<PiiPolicy, ConfigError> {
    let key = config.hmac_key.as_ref().map(|key| key.expose_secret().as_bytes());
    PiiPolicy::new(config.pii, key).map_err(|error| match error {
        PiiError::NoKey => invalid("pii", "hmac", format!("{error} as PIPELINE__STREAM_PROCESSOR__HMAC_KEY")),
        PiiError::ShortKey(_) => invalid("hmac_key", "(secret)", error.to_string()),
    })
}

fn invalid(key: &str, value: impl std::fmt::Debug, allowed: impl Into<String>) -> ConfigError {
    ConfigError::invalid(&format!("{SECTION}.{key}"), value, allowed)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
