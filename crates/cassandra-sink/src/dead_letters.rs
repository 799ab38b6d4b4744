//! The dead-letter topic: a record is there durably before its offset moves.

use std::cell::RefCell;

use kafka::context::{LoggedContext, Throttle};
use kafka::dead_letter::Kept;
use kafka::{KafkaConfig, dead_letter};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use service::health::Component;

use crate::cluster::{Cluster, backoff};
use crate::poison::Poison;
use crate::record::Record;

/// How long a full queue of the producer is waited for.
const QUEUE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// A producer for the dead-letter topic. Used on the writer's thread only.
pub struct DeadLetters {
    kafka: KafkaConfig,
    client_id: String,
    source_topic: String,
    topic: String,
    producer: RefCell<FutureProducer<LoggedContext>>,
    component: Component,
    log: Throttle,
}

impl DeadLetters {
    /// A producer; connects when it is first used.
    ///
    /// # Errors
    /// librdkafka does not take the configuration.
    pub fn new(
        kafka: &KafkaConfig,
        client_id: &str,
        source_topic: &str,
        topic: &str,
        component: Component,
    ) -> Result<Self, KafkaError> {
        component.ready();
        Ok(Self {
            producer: RefCell::new(producer(kafka, client_id)?),
            kafka: kafka.clone(),
            client_id: client_id.to_owned(),
            source_topic: source_topic.to_owned(),
            topic: topic.to_owned(),
            component,
            log: Throttle::default(),
        })
    }

    /// Writes the record's dead letter and returns when the brokers have it, however long that takes. `false` if the
    /// record stopped being wanted before.
    pub async fn keep(&self, record: &Record, poison: &Poison, cluster: &Cluster) -> bool {
        let message = record.to_message(&self.source_topic);
        let (mut backoff, mut kept) = (backoff(), Kept::default());
        if let Some(held_back) = self.log.pass() {
            tracing::warn!(
                partition = message.partition(),
                offset = message.offset(),
                kind = poison.kind.as_str(),
                problem = poison.message,
                held_back,
                "dead letter"
            );
        }
        loop {
            let kind = poison.kind.as_str();
            let headers = dead_letter::headers_with(&message, crate::SERVICE, kind, &poison.message, kept);
            let mut dead: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic).headers(headers);
            dead.key = kept.key(&message);
            dead.payload = kept.value(&message);
            dead.timestamp = message.timestamp().to_millis();
            let producer = self.producer.borrow().clone();
            match producer.send(dead, QUEUE_PATIENCE).await {
                Ok(_) => {
                    self.component.ready();
                    return true;
                }
                Err((error, _)) if dead_letter::is_too_large(&error) && kept.less().is_some() => {
                    kept = kept.less().unwrap_or(kept);
                    tracing::warn!(
                        topic = self.topic,
                        ?kept,
                        "a dead letter is too large: it is kept in part"
                    );
                    continue;
                }
                Err((error, _)) => {
                    self.component.waiting(format!("{} does not take dead letters: {error}", self.topic));
                    self.replace_if_fatal(&producer);
                }
            }
            if !cluster.offsets.is_wanted(&record.ticket) {
                return false;
            }
            cluster.availability.pause(&mut backoff, &cluster.offsets).await;
        }
    }

    /// An idempotent producer that lost its place in the sequence never sends again.
    fn replace_if_fatal(&self, failed: &FutureProducer<LoggedContext>) {
        if failed.client().fatal_error().is_some()
            && let Ok(fresh) = producer(&self.kafka, &self.client_id)
        {
            drop(self.producer.replace(fresh));
        }
    }
}

fn producer(kafka: &KafkaConfig, client_id: &str) -> Result<FutureProducer<LoggedContext>, KafkaError> {
    let largest = dead_letter::MAX_MESSAGE_BYTES.to_string();
    let settings = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("partitioner", "murmur2_random"),
        ("compression.type", "lz4"),
        // Each alone: a topic that refuses one for its size would refuse those beside it.
        ("batch.num.messages", "1"),
        ("message.max.bytes", largest.as_str()),
        ("message.timeout.ms", "30000"),
        ("queue.buffering.max.kbytes", "40960"),
    ];
    kafka.client(client_id, &settings).create_with_context(LoggedContext::default())
}
