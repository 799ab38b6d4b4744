use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::Rebalance;
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;

const TOPIC: &str = "t";
const PATIENCE: Duration = Duration::from_secs(30);

struct Forgetting;

impl ClientContext for Forgetting {}

impl ConsumerContext for Forgetting {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            forget_pause(consumer, list);
        }
    }
}

fn member(bootstrap: &str) -> BaseConsumer<Forgetting> {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("group.id", "g"),
        ("auto.offset.reset", "earliest"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("heartbeat.interval.ms", "200"),
        ("session.timeout.ms", "6000"),
    ];
    let mut config = ClientConfig::new();
    config.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let consumer: BaseConsumer<Forgetting> = config.create_with_context(Forgetting).unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    consumer
}

/// Polls all of them until it is so; there are no records yet.
fn poll_until(members: &[&BaseConsumer<Forgetting>], is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        for member in members {
            assert!(!matches!(member.poll(Duration::from_millis(20)), Some(Ok(_))), "a record");
        }
    }
}

fn assigned(consumer: &BaseConsumer<Forgetting>) -> usize {
    consumer.assignment().unwrap().count()
}

#[test]
fn a_partition_that_was_paused_when_it_went_is_read_when_it_is_back() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic(TOPIC, 2, 1).unwrap();
    let bootstrap = brokers.bootstrap_servers();
    let first = member(&bootstrap);
    poll_until(&[&first], || assigned(&first) == 2);
    first.pause(&first.assignment().unwrap()).unwrap();
    let second = member(&bootstrap);
    poll_until(&[&first, &second], || assigned(&second) == 1 && assigned(&first) == 1);
    first.resume(&first.assignment().unwrap()).unwrap();
    drop(second);
    poll_until(&[&first], || assigned(&first) == 2);

    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
    for partition in 0..2 {
        let value = partition.to_string();
        producer.send(BaseRecord::<str, str>::to(TOPIC).partition(partition).payload(&value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let (began, mut values) = (Instant::now(), Vec::new());
    while values.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "only {values:?} came");
        if let Some(Ok(message)) = first.poll(Duration::from_millis(100)) {
            values.push(message.partition());
        }
    }
}
