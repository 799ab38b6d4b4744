//! Options of Spark's Kafka source that follow from `[kafka]`.

use std::collections::{BTreeMap, HashMap};

use kafka::KafkaConfig;
use kafka::config::SecurityProtocol;
use secrecy::ExposeSecret as _;

/// Of the source of this topic, beginning at these offsets.
pub(crate) fn options(
    kafka: &KafkaConfig,
    topic: &str,
    begin: &BTreeMap<i32, i64>,
) -> HashMap<String, String> {
    let begin: BTreeMap<String, i64> =
        begin.iter().map(|(partition, offset)| (partition.to_string(), *offset)).collect();
    let mut options = HashMap::new();
    let mut set = |key: &str, value: String| {
        options.insert(key.to_owned(), value);
    };
    set("subscribe", topic.to_owned());
    set("startingOffsets", serde_json::json!({ topic: begin }).to_string());
    set("includeHeaders", "true".to_owned());
    // A topic that lost what Spark has not read ends the query, and is not passed over.
    set("failOnDataLoss", "true".to_owned());
    set("kafka.isolation.level", "read_committed".to_owned());
    set("kafka.bootstrap.servers", kafka.bootstrap_servers.clone());
    let protocol = match kafka.security_protocol {
        SecurityProtocol::Plaintext => "PLAINTEXT",
        SecurityProtocol::Ssl => "SSL",
        SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
        SecurityProtocol::SaslSsl => "SASL_SSL",
    };
    set("kafka.security.protocol", protocol.to_owned());
    if let Some(mechanism) = &kafka.sasl_mechanism {
        set("kafka.sasl.mechanism", mechanism.clone());
        if let (Some(user), Some(password)) = (&kafka.sasl_username, &kafka.sasl_password) {
            set("kafka.sasl.jaas.config", jaas(mechanism, user, password.expose_secret()));
        }
    }
    if let Some(authorities) = &kafka.ssl_ca_location {
        set("kafka.ssl.truststore.type", "PEM".to_owned());
        set("kafka.ssl.truststore.location", authorities.display().to_string());
    }
    options
}

/// `sasl.jaas.config` of Java clients.
fn jaas(mechanism: &str, user: &str, password: &str) -> String {
    let module = if mechanism.starts_with("SCRAM") {
        "org.apache.kafka.common.security.scram.ScramLoginModule"
    } else {
        "org.apache.kafka.common.security.plain.PlainLoginModule"
    };
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{module} required username=\"{}\" password=\"{}\";", quoted(user), quoted(password))
}
