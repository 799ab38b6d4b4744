use std::collections::BTreeMap;

use kafka::config::SecurityProtocol;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use service::health::Health;

use super::*;

const TOPIC: &str = "t";
const GROUP: &str = "sink";
const PATIENCE: Duration = Duration::from_secs(30);

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn committed(bootstrap: &str) -> Offset {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", GROUP).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, 0);
    consumer.committed_offsets(list, PATIENCE).unwrap().elements()[0].offset()
}

/// The sink is to end while it waits for what the group has seen, with a record in its hand. The record is not taken,
/// so nothing behind it may be, and no position passes it.
#[test]
fn a_record_that_the_shutdown_finds_in_hand_is_not_passed() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic(TOPIC, 1, 1).unwrap();
    let bootstrap = brokers.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
    producer.send(BaseRecord::<str, str>::to(TOPIC).key("k").payload("v")).unwrap();
    producer.flush(PATIENCE).unwrap();
    // The consumer asks first, where to begin; then the sink, what was seen: for as long as it takes.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    let mut answers = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR];
    answers.resize(1_000, refused);
    brokers.request_errors(RDKafkaApiKey::OffsetFetch, &answers);

    let health = Health::default();
    let shutdown = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (queue, mut batches) = mpsc::channel(4);
    let mut config: SinkConfig = serde_json::from_value(serde_json::json!({
        "source_topic": TOPIC, "group": GROUP, "tables": [], "drain_timeout": "1s",
    }))
    .unwrap();
    // So that whatever can be settled is.
    config.commit_interval = Duration::from_nanos(1);
    let poller = Poller {
        config,
        kafka: KafkaConfig {
            bootstrap_servers: bootstrap.clone(),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            ssl_ca_location: None,
            properties: BTreeMap::new(),
        },
        offsets: Arc::new(Offsets::new(TOPIC)),
        queue,
        component: health.component("kafka"),
        continuity: health.component("continuity"),
        shutdown: shutdown.clone(),
        runtime: runtime.handle().clone(),
    };
    let polling = std::thread::spawn(move || poller.run());
    until("the sink waits", || {
        health.waiting().get("kafka").is_some_and(|reason| reason.contains("positions can't be read"))
    });
    // Long enough for the record to come.
    std::thread::sleep(Duration::from_secs(2));
    shutdown.cancel();
    polling.join().unwrap().unwrap();
    brokers.clear_request_errors(RDKafkaApiKey::OffsetFetch);
    assert!(batches.try_recv().is_err(), "nothing was handed over");
    let position = committed(&bootstrap);
    assert!(matches!(position, Offset::Invalid | Offset::Offset(0)), "{position:?} is behind the record");
}
