//! What the driver tells its tasks. No secrets: every executor reads the pipeline's configuration itself, and its
//! fingerprint shows whether it is the driver's.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use service::cli::CommonArgs;
use service::config::{Config, TelemetryConfig};
use sha2::{Digest as _, Sha256};
use stream_processor::config::{ProcessorConfig, Settings};

use crate::error::SparkError;

/// This release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Handed to the tasks as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Of the driver's module.
    pub(crate) version: String,
    /// Of the driver's settings.
    pub(crate) fingerprint: String,
    /// Partitions of the target topic.
    pub(crate) target_partitions: i32,
    /// Id of the target's schema.
    pub(crate) target_id: u32,
}

impl Plan {
    /// Whether this process may work for that driver.
    pub(crate) fn check(&self, settings: &Settings) -> Result<(), SparkError> {
        let host = host();
        if self.version != VERSION {
            return Err(SparkError::Version { ours: VERSION, wanted: self.version.clone(), host });
        }
        if self.fingerprint != fingerprint(settings) {
            return Err(SparkError::OtherSettings { host });
        }
        Ok(())
    }
}

/// The processor's configuration, from the files that `PIPELINE_CONFIG` names and the environment.
pub(crate) fn load() -> Result<(Settings, TelemetryConfig), SparkError> {
    let files = std::env::var("PIPELINE_CONFIG").unwrap_or_default();
    let config = files.split(',').filter(|file| !file.is_empty()).map(PathBuf::from).collect();
    let config = Config::load(&CommonArgs { config })?;
    Ok((Settings::load(&config)?, config.section("telemetry")?))
}

/// Of everything that decides what is written and which positions count.
pub(crate) fn fingerprint(settings: &Settings) -> String {
    let ProcessorConfig { group, source_topic, target_topic, dead_letter_topic, .. } = &settings.processor;
    let ProcessorConfig { transactional_id_prefix, max_record_bytes, hmac_key, pii, .. } =
        &settings.processor;
    let key = hmac_key.as_ref().map(|key| key.expose_secret()).unwrap_or_default();
    let topics = (source_topic, target_topic, dead_letter_topic);
    let all = format!("{group:?} {topics:?} {transactional_id_prefix:?} {max_record_bytes} {pii:?} {key}");
    Sha256::digest(all).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The transactional id for a partition of the source: its next task fences the last.
pub(crate) fn transactional_id(settings: &Settings, partition: i32) -> String {
    format!("{}-spark-{partition}", settings.processor.transactional_id_prefix)
}

pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
