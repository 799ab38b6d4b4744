//! `[kafka]`: how to reach the brokers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// Connection settings of every client, and librdkafka's own properties for what is not named here.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Whether connections are encrypted and authenticated.
    #[serde(default)]
    pub security_protocol: SecurityProtocol,
    /// Such as `PLAIN` or `SCRAM-SHA-512`; for the `sasl_…` protocols.
    pub sasl_mechanism: Option<String>,
    /// For the `sasl_…` protocols.
    pub sasl_username: Option<String>,
    /// For the `sasl_…` protocols, usually from `PIPELINE__KAFKA__SASL_PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub sasl_password: Option<SecretString>,
    /// File with the certificate authorities to trust; the system's if not set.
    pub ssl_ca_location: Option<PathBuf>,
    /// Any property of librdkafka; it wins over what the pipeline sets.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// As Kafka's `security.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither.
    #[default]
    Plaintext,
    /// Encrypted.
    Ssl,
    /// Authenticated.
    SaslPlaintext,
    /// Both.
    SaslSsl,
}

impl KafkaConfig {
    /// A client's configuration: the connection, `settings` of its role, then [`KafkaConfig::properties`].
    ///
    /// `client_id` shows in the broker's logs, quotas and metrics.
    #[must_use]
    pub fn client(&self, client_id: &str, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", client_id)
            .set("security.protocol", self.security_protocol.as_str())
            // A broker that comes back is found within a second, not after librdkafka's ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        let optional = [
            ("sasl.mechanism", self.sasl_mechanism.clone()),
            ("sasl.username", self.sasl_username.clone()),
            ("sasl.password", self.sasl_password.as_ref().map(|secret| secret.expose_secret().to_owned())),
            ("ssl.ca.location", self.ssl_ca_location.as_ref().map(|path| path.display().to_string())),
        ];
        for (property, value) in optional {
            if let Some(value) = value {
                config.set(property, value);
            }
        }
        for (property, value) in settings {
            config.set(*property, *value);
        }
        for (property, value) in &self.properties {
            config.set(property, value);
        }
        config
    }
}

impl SecurityProtocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}
