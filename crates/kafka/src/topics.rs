//! Waiting until the brokers and the topics are there, and what a topic takes.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use service::health::Component;
use service::retry;
use tokio_util::sync::CancellationToken;

use crate::config::KafkaConfig;
use crate::context::LoggedContext;

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the topics can't be used yet.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No broker answered.
    #[error("no broker of {servers} answers ({problem})")]
    Unreachable {
        /// The bootstrap servers.
        servers: String,
        /// librdkafka's words.
        problem: String,
    },
    /// The brokers are there, a topic is not.
    #[error("topic {0} does not exist; `pipeline migrate` makes it")]
    Missing(String),
}

/// Waits until every topic exists and says which one it waits for; partitions by topic, in the order asked.
/// `None` if the shutdown came first.
pub async fn wait(
    kafka: &KafkaConfig,
    topics: &[&str],
    component: &Component,
    shutdown: &CancellationToken,
) -> Option<Vec<usize>> {
    let names: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
    retry::until_ready(component, shutdown, "Kafka", async || {
        let (client, names) = (kafka.clone(), names.clone());
        tokio::task::spawn_blocking(move || partitions(&client, &names))
            .await
            .unwrap_or_else(|panicked| Err(unreachable_brokers(&kafka.bootstrap_servers, &panicked)))
    })
    .await
}

fn partitions(kafka: &KafkaConfig, topics: &[String]) -> Result<Vec<usize>, TopicError> {
    let servers = &kafka.bootstrap_servers;
    let client: BaseConsumer<LoggedContext> = kafka
        .client("pipeline-topics", &[])
        .create_with_context(LoggedContext::default())
        .map_err(|error| unreachable_brokers(servers, &error))?;
    topics.iter().map(|topic| count(&client, servers, topic)).collect()
}

fn count(client: &BaseConsumer<LoggedContext>, servers: &str, topic: &str) -> Result<usize, TopicError> {
    let metadata = client.fetch_metadata(Some(topic), METADATA_TIMEOUT).map_err(|error| match error {
        KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            TopicError::Missing(topic.to_owned())
        }
        error => unreachable_brokers(servers, &error),
    })?;
    let found = metadata.topics().first().filter(|found| found.error().is_none());
    match found.map(|found| found.partitions().len()) {
        Some(partitions) if partitions > 0 => Ok(partitions),
        _ => Err(TopicError::Missing(topic.to_owned())),
    }
}

/// `max.message.bytes` of a topic: the largest batch of records, compressed, that its brokers take. `None` if they do
/// not tell. Blocks 5 s at the most.
#[must_use]
pub fn max_message_bytes(kafka: &KafkaConfig, topic: &str) -> Option<usize> {
    let client = kafka.client("pipeline-topics", &[]);
    let admin: AdminClient<LoggedContext> = client.create_with_context(LoggedContext::default()).ok()?;
    let options = AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT));
    let answer = block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options));
    let described = answer.ok()?.into_iter().next()?.ok()?;
    described.get("max.message.bytes")?.value.as_deref()?.parse().ok()
}

fn unreachable_brokers(servers: &str, error: &dyn std::fmt::Display) -> TopicError {
    TopicError::Unreachable { servers: servers.to_owned(), problem: error.to_string() }
}
