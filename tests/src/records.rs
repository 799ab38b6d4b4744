//! Records of a topic as a test sees them: read with `read_committed`, decoded by apache-avro, which none of the
//! services uses on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use events::{Registry, wire};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(60);

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it lies.
    pub partition: i32,
    /// Where in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// As text; the pipeline's keys are.
    pub key: Option<String>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// By name; the last one of a name.
    pub headers: BTreeMap<String, String>,
}

/// Every committed record of a topic up to now, partition by partition.
pub fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    read_each(bootstrap, topic, |record| records.push(record));
    records
}

/// The same one by one.
pub fn read_each(bootstrap: &str, topic: &str, mut take: impl FnMut(Record)) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "tests-read-all")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("metadata");
    let partitions = metadata.topics()[0].partitions();
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    let mut open = partitions.len();
    while open > 0 {
        match consumer.poll(TIMEOUT).expect("a record or the end of a partition") {
            Ok(message) => take(Record {
                partition: message.partition(),
                offset: message.offset(),
                timestamp: message.timestamp().to_millis(),
                key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message
                    .headers()
                    .into_iter()
                    .flat_map(|headers| headers.iter())
                    .map(|header| {
                        let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
                        (header.key.to_owned(), value)
                    })
                    .collect(),
            }),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => panic!("read {topic}: {error}"),
        }
    }
}

/// Writes records outside any transaction, as a foreign producer would.
pub fn produce(bootstrap: &str, topic: &str, records: &[(Option<&str>, Option<&[u8]>)]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a producer");
    for (key, value) in records {
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic);
        record.key = *key;
        record.payload = *value;
        producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
    }
    producer.flush(TIMEOUT).expect("delivery");
}

/// Writes records once more where they were: key, value, headers and partition.
pub fn copy(bootstrap: &str, topic: &str, records: &[Record]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a producer");
    for original in records {
        let headers = original.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut record: BaseRecord<'_, str, [u8]> =
            BaseRecord::to(topic).partition(original.partition).headers(headers);
        record.key = original.key.as_deref();
        record.payload = original.value.as_deref();
        producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
    }
    producer.flush(TIMEOUT).expect("delivery");
}

/// Commits the ends of a topic for a group that has no members, with what `metadata` makes of partition and metadata of
/// the offset before.
pub fn move_to_end(bootstrap: &str, group: &str, topic: &str, mut metadata: impl FnMut(i32, &str) -> String) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let partitions = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("metadata");
    let mut list = TopicPartitionList::new();
    for partition in partitions.topics()[0].partitions() {
        list.add_partition(topic, partition.id());
    }
    let committed = consumer.committed_offsets(list, TIMEOUT).expect("the group's offsets");
    let mut moved = TopicPartitionList::new();
    for element in committed.elements() {
        let (_, high) = consumer.fetch_watermarks(topic, element.partition(), TIMEOUT).expect("the end");
        let mut at_end = moved.add_partition(topic, element.partition());
        at_end.set_offset(Offset::Offset(high)).expect("an offset");
        at_end.set_metadata(metadata(element.partition(), element.metadata()));
    }
    consumer.commit(&moved, CommitMode::Sync).expect("a commit");
}

/// Decodes values by the schema that each names.
#[derive(Debug)]
pub struct Decoder {
    registry: Registry,
    schemas: BTreeMap<u32, apache_avro::Schema>,
}

impl Decoder {
    /// Asks this registry.
    pub fn new(registry: Registry) -> Self {
        Self { registry, schemas: BTreeMap::new() }
    }

    /// The fields by name.
    pub async fn decode(&mut self, value: &[u8]) -> BTreeMap<String, Value> {
        let (id, mut datum) = wire::split(value).expect("the wire format");
        if !self.schemas.contains_key(&id) {
            let text = self.registry.schema_by_id(id).await.expect("a registered schema");
            self.schemas.insert(id, apache_avro::Schema::parse_str(&text).expect("an Avro schema"));
        }
        let reader = GenericDatumReader::builder(&self.schemas[&id]).build().expect("a reader");
        let decoded = reader.read_value(&mut datum).expect("a datum");
        assert!(datum.is_empty(), "{} bytes are left behind the datum", datum.len());
        let Value::Record(fields) = decoded else { panic!("not a record: {decoded:?}") };
        fields.into_iter().map(|(name, value)| (name, unwrap(value))).collect()
    }
}

/// A union's value without the union.
fn unwrap(value: Value) -> Value {
    match value {
        Value::Union(_, inner) => unwrap(*inner),
        other => other,
    }
}
