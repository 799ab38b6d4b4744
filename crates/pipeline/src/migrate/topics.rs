//! Topics in Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{LoggedContext, dead_letter};
use operate::config::{PipelineConfig, Settings};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use service::BoxError;

use super::report::{Outcome, Report};
use crate::wait;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the brokers may take to elect the leaders of new partitions.
const LEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Room that a dead letter needs beside its record, for the headers that say where it is from and what was wrong.
const DEAD_LETTER_ROOM_BYTES: u32 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error("no broker of {servers} answers")]
    Unreachable { servers: String, source: KafkaError },
    #[error("the brokers did not {what}")]
    Request { what: String, source: KafkaError },
    #[error("the brokers did not {what}: {code}")]
    Refused { what: String, code: RDKafkaErrorCode },
    #[error("partitions of {topic} have no leader yet")]
    Leaderless { topic: String },
}

impl TopicError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Leaderless { .. } => true,
            Self::Request { source: KafkaError::AdminOp(code), .. } => is_late(*code),
            Self::Request { .. } => false,
            Self::Refused { code, .. } => is_late(*code),
        }
    }
}

/// Whether the brokers are busy, or about to choose another controller.
fn is_late(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::NotController
    )
}

/// A topic as it is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Topic {
    name: String,
    partitions: i32,
    settings: BTreeMap<&'static str, String>,
}

fn topics(config: &PipelineConfig) -> Vec<Topic> {
    let replicas = config.replication_factor;
    let in_sync = config.min_insync_replicas.unwrap_or((replicas - 1).max(1));
    let common = [("min.insync.replicas", in_sync.to_string())];
    let kept = |retention: Duration, max_message_bytes: u32| {
        let own = [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention.as_millis().to_string()),
            ("max.message.bytes", max_message_bytes.to_string()),
        ];
        common.clone().into_iter().chain(own).collect::<BTreeMap<_, _>>()
    };
    let mut all = Vec::new();
    for name in config.data_topics() {
        let settings = kept(config.retention, config.max_message_bytes);
        all.push(Topic { name: name.to_owned(), partitions: config.partitions, settings });
        let limit = config.max_message_bytes.saturating_add(DEAD_LETTER_ROOM_BYTES);
        let settings = kept(config.dlq_retention, limit);
        all.push(Topic { name: dead_letter::topic(name), partitions: config.partitions, settings });
    }
    let compacted = [
        ("cleanup.policy", "compact".to_owned()),
        // The relay reads the whole topic when it starts: small segments are compacted soon.
        ("segment.bytes", (4 * 1024 * 1024).to_string()),
        ("min.cleanable.dirty.ratio", "0.1".to_owned()),
    ];
    let settings = common.into_iter().chain(compacted).collect();
    all.push(Topic { name: config.offsets_topic.clone(), partitions: 1, settings });
    all
}

pub(crate) async fn migrate(
    settings: &Settings,
    within: Duration,
    report: &mut Report<'_>,
) -> Result<(), BoxError> {
    let servers = &settings.kafka.bootstrap_servers;
    let admin = Admin::new(settings)?;
    let what = format!("Kafka at {servers}");
    let existing =
        wait::until(&what, within, report.output, TopicError::is_transient, || admin.partitions()).await?;

    let wanted = topics(&settings.pipeline);
    let (known, missing): (Vec<Topic>, Vec<Topic>) =
        wanted.into_iter().partition(|topic| existing.contains_key(&topic.name));
    // A topic that a request has created that was not answered in time is there at the next.
    let create = || admin.create(&missing, settings.pipeline.replication_factor);
    wait::until(&what, within, report.output, TopicError::is_transient, create).await?;
    if !missing.is_empty() {
        let lead = || admin.leaders(&missing);
        wait::until("new topics", LEADER_TIMEOUT, report.output, TopicError::is_transient, lead).await?;
    }
    for topic in &missing {
        report.add(format!("topic {}", topic.name), Outcome::Created, partitions(topic.partitions));
    }
    for topic in &known {
        let has = existing.get(&topic.name).copied().unwrap_or_default();
        compare(&admin, topic, has, report).await?;
    }
    Ok(())
}

async fn compare(admin: &Admin, topic: &Topic, has: i32, report: &mut Report<'_>) -> Result<(), TopicError> {
    let object = format!("topic {}", topic.name);
    let current = admin.settings(&topic.name).await?;
    let value = |name: &str| current.iter().find(|entry| entry.name == name).and_then(|e| e.value.clone());
    let differing: Vec<String> = topic
        .settings
        .iter()
        .filter(|(name, wanted)| value(name).as_ref() != Some(*wanted))
        .map(|(name, wanted)| format!("{name} {} -> {wanted}", value(name).unwrap_or_default()))
        .collect();
    if !differing.is_empty() {
        admin.alter(topic, &current).await?;
        report.add(&object, Outcome::Changed, differing.join(", "));
    }
    if has != topic.partitions {
        let detail = format!(
            "{}, configured are {}; keys would move, so they stay",
            partitions(has),
            topic.partitions
        );
        report.add(object, Outcome::Differs, detail);
    } else if differing.is_empty() {
        report.add(object, Outcome::Unchanged, partitions(has));
    }
    Ok(())
}

fn partitions(count: i32) -> String {
    format!("{count} partition{}", if count == 1 { "" } else { "s" })
}

struct Admin {
    client: std::sync::Arc<AdminClient<LoggedContext>>,
    servers: String,
}

impl Admin {
    fn new(settings: &Settings) -> Result<Self, TopicError> {
        let servers = settings.kafka.bootstrap_servers.clone();
        let client = settings.kafka.client("pipeline-migrate", &[]);
        match client.create_with_context(LoggedContext::default()) {
            Ok(client) => Ok(Self { client: std::sync::Arc::new(client), servers }),
            Err(source) => Err(TopicError::Request { what: "take the client's settings".to_owned(), source }),
        }
    }

    /// Partitions of every topic there is.
    async fn partitions(&self) -> Result<BTreeMap<String, i32>, TopicError> {
        let metadata = self.metadata().await?;
        Ok(metadata
            .topics()
            .iter()
            .map(|topic| {
                (topic.name().to_owned(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))
            })
            .collect())
    }

    async fn leaders(&self, wanted: &[Topic]) -> Result<(), TopicError> {
        let metadata = self.metadata().await?;
        let led = |topic: &Topic| {
            metadata.topics().iter().any(|found| {
                let count = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
                let all_led = found.partitions().iter().all(|partition| partition.leader() >= 0);
                found.name() == topic.name && count == topic.partitions && all_led
            })
        };
        match wanted.iter().find(|topic| !led(topic)) {
            None => Ok(()),
            Some(topic) => Err(TopicError::Leaderless { topic: topic.name.clone() }),
        }
    }

    async fn metadata(&self) -> Result<Metadata, TopicError> {
        let client = std::sync::Arc::clone(&self.client);
        let fetch = move || client.inner().fetch_metadata(None, Duration::from_secs(3));
        let fetched = tokio::task::spawn_blocking(fetch).await.unwrap_or(Err(KafkaError::Canceled));
        fetched.map_err(|source| TopicError::Unreachable { servers: self.servers.clone(), source })
    }

    async fn create(&self, topics: &[Topic], replicas: i32) -> Result<(), TopicError> {
        if topics.is_empty() {
            return Ok(());
        }
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(replicas);
                let new = NewTopic::new(&topic.name, topic.partitions, replication);
                topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let results = self
            .client
            .create_topics(&new, &options())
            .await
            .map_err(|source| TopicError::Request { what: "create topics".to_owned(), source })?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(TopicError::Refused { what: format!("create topic {topic}"), code });
                }
            }
        }
        Ok(())
    }

    async fn settings(&self, topic: &str) -> Result<Vec<ConfigEntry>, TopicError> {
        let what = || format!("describe topic {topic}");
        let results = self
            .client
            .describe_configs(&[ResourceSpecifier::Topic(topic)], &options())
            .await
            .map_err(|source| TopicError::Request { what: what(), source })?;
        match results.into_iter().next() {
            Some(Ok(resource)) => Ok(resource.entries),
            Some(Err(code)) => Err(TopicError::Refused { what: what(), code }),
            None => Err(TopicError::Refused { what: what(), code: RDKafkaErrorCode::Unknown }),
        }
    }

    /// The request replaces all settings of the topic, so those that were made by others are sent again.
    async fn alter(&self, topic: &Topic, current: &[ConfigEntry]) -> Result<(), TopicError> {
        let what = || format!("change topic {}", topic.name);
        let kept = current
            .iter()
            .filter(|entry| entry.source == ConfigSource::DynamicTopic)
            .filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
        let wanted = topic.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let request = kept
            .chain(wanted)
            .fold(AlterConfig::new(ResourceSpecifier::Topic(&topic.name)), |all, (name, value)| {
                all.set(name, value)
            });
        let results = self
            .client
            .alter_configs(&[request], &options())
            .await
            .map_err(|source| TopicError::Request { what: what(), source })?;
        match results.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some((_, code)) => Err(TopicError::Refused { what: what(), code }),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL_TIMEOUT)).operation_timeout(Some(CALL_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_has_room_for_its_headers() {
        let all = topics(&PipelineConfig::default());
        let limit = |name: &str| -> u32 {
            let topic = all.iter().find(|topic| topic.name == name).unwrap();
            topic.settings["max.message.bytes"].parse().unwrap()
        };
        assert!(limit("users.raw.dlq") > limit("users.raw"));
        assert!(limit("users.processed.dlq") > limit("users.processed"));
    }

    #[test]
    fn a_busy_broker_is_waited_for_and_a_refusal_is_not() {
        let request =
            |code| TopicError::Request { what: "create".to_owned(), source: KafkaError::AdminOp(code) };
        assert!(request(RDKafkaErrorCode::OperationTimedOut).is_transient());
        assert!(!request(RDKafkaErrorCode::ClusterAuthorizationFailed).is_transient());
        let refused = |code| TopicError::Refused { what: "create".to_owned(), code };
        assert!(refused(RDKafkaErrorCode::NotController).is_transient());
        assert!(!refused(RDKafkaErrorCode::InvalidReplicationFactor).is_transient());
    }

    #[test]
    fn one_replica_may_be_missing() {
        let min = |replication_factor| {
            let config = PipelineConfig { replication_factor, ..PipelineConfig::default() };
            topics(&config)[0].settings["min.insync.replicas"].clone()
        };
        assert_eq!([min(1), min(2), min(3)], ["1", "1", "2"]);
    }
}
