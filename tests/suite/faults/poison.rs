//! Poison that no dead letter can carry whole, and ids that no registry gives: neither blocks a partition.

use events::wire;
use pipeline_tests::wait::SOON;
use pipeline_tests::{Record, Service, TestEnv, wait};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::processor::{Users, ids, until_arrived};

const LIMIT: &str = "20000";

/// From now on the topic takes records up to [`LIMIT`] only.
async fn shrink(env: &TestEnv, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", env.kafka_bootstrap()).create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", LIMIT);
    let answers = admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap();
    answers.into_iter().for_each(|answer| _ = answer.unwrap());
}

/// Waits until the brokers, whom ZooKeeper tells, take [`LIMIT`] and no more. What they take before is aborted.
async fn until_refused(env: &TestEnv, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", env.kafka_bootstrap()).set("transactional.id", topic);
    let producer: FutureProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let value: Vec<u8> = (0..30_000).map(|_| random.random()).collect();
    wait::until("the brokers refuse it", SOON, async || {
        producer.begin_transaction().unwrap();
        let sent = producer.send(FutureRecord::to(topic).key("key").payload(&value), SOON).await;
        producer.abort_transaction(SOON).unwrap();
        sent.is_err().then_some(())
    })
    .await;
}

/// Poison of these sizes, of bytes that do not compress.
fn produce(env: &TestEnv, topic: &str, sizes: &[usize]) {
    let mut random = StdRng::seed_from_u64(7);
    let values: Vec<(String, Vec<u8>)> = sizes
        .iter()
        .enumerate()
        .map(|(n, size)| (format!("key-{n}"), (0..*size).map(|_| random.random_range(1..=255)).collect()))
        .collect();
    let records: Vec<_> = values.iter().map(|(key, value)| (Some(&**key), Some(&**value))).collect();
    env.produce(topic, &records);
}

/// One letter for each record: the large ones without their value.
async fn assert_kept(env: &TestEnv, topic: &str, sizes: &[usize]) {
    let dead = format!("{topic}.dlq");
    wait::until_equal("dead letters", SOON, sizes.len(), async || env.records(&dead).await.len()).await;
    let letters: Vec<Record> = env.records(&dead).await;
    for (n, size) in sizes.iter().enumerate() {
        let key = format!("key-{n}");
        let letter = letters.iter().find(|letter| letter.key.as_deref() == Some(&*key)).unwrap();
        let left_out = letter.headers.get("dlq.value.left_out").map(String::as_str);
        let kept = letter.value.as_ref().map(Vec::len);
        let expected = if *size > 20_000 { (None, Some("true")) } else { (Some(*size), None) };
        assert_eq!((kept, left_out), expected, "{key} of {size} bytes");
        assert_eq!(letter.headers["dlq.error.kind"], "not_avro");
        assert_eq!(letter.headers["dlq.source.topic"], topic);
    }
}

fn was_one_session(service: &Service) {
    let log = service.log();
    assert_eq!(log.matches("partitions revoked").count(), 0, "{log}");
}

const SIZES: [usize; 6] = [100, 90_000, 200, 80_000, 300, 70_000];

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_its_topic_refuses_is_written_by_the_processor_without_its_value() {
    let env = TestEnv::new("processor_refused_letter").await;
    let mut users = Users::new(&env).await;
    shrink(&env, &format!("{}.dlq", env.raw_topic())).await;
    produce(&env, env.raw_topic(), &SIZES);
    users.produce(&env, &ids(20), 20);
    let processor = env.start("stream-processor").await;
    until_arrived(&env, 20).await;
    assert_kept(&env, env.raw_topic(), &SIZES).await;
    processor.ready().await;
    was_one_session(&processor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_its_topic_refuses_is_written_by_the_sink_without_its_value() {
    let env = TestEnv::new("sink_refused_letter").await;
    shrink(&env, &format!("{}.dlq", env.processed_topic())).await;
    produce(&env, env.processed_topic(), &SIZES);
    let sink = env.start("cassandra-sink").await;
    assert_kept(&env, env.processed_topic(), &SIZES).await;
    sink.ready().await;
    was_one_session(&sink);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processed_record_that_its_topic_does_not_take_is_a_dead_letter() {
    let env = TestEnv::new("processed_too_large").await;
    let mut users = Users::new(&env).await;
    let dead = format!("{}.dlq", env.raw_topic());
    // Of letters in no order, which do not compress.
    let mut random = StdRng::seed_from_u64(7);
    let mut one_too_large = async |expected: usize| {
        users.last_name = (0..30_000).map(|_| random.random_range('a'..='z')).collect();
        users.produce(&env, &ids(1), 1);
        users.last_name = "Dahl".to_owned();
        users.produce(&env, &ids(20), 20);
        until_arrived(&env, 20 * expected).await;
        wait::until_equal("dead letters", SOON, expected, async || env.records(&dead).await.len()).await;
        let letters: Vec<Record> = env.records(&dead).await;
        assert!(letters.iter().all(|letter| letter.headers["dlq.error.kind"] == "too_large"), "{letters:?}");
    };
    let altered_meanwhile = env.start("stream-processor").await;
    altered_meanwhile.ready().await;
    shrink(&env, env.processed_topic()).await;
    until_refused(&env, env.processed_topic()).await;
    one_too_large(1).await;
    was_one_session(&altered_meanwhile);
    altered_meanwhile.stop().await;
    let altered_before = env.start("stream-processor").await;
    one_too_large(2).await;
    let log = altered_before.log();
    assert!(log.contains("max.message.bytes") && !log.contains("transaction aborted"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_ids_that_nobody_knows_are_dead_letters_however_many() {
    const COUNT: u32 = 600;
    let env = TestEnv::new("processor_unknown_ids").await;
    let mut users = Users::new(&env).await;
    // Half of them are beyond the ids that a registry can give.
    let unknown = (0..COUNT).map(|n| wire::header(if n % 2 == 0 { 1_000_000_000 + n } else { u32::MAX - n }));
    let values: Vec<_> = unknown.map(|header| [&header[..], b"x"].concat()).collect();
    let records: Vec<_> = values.iter().map(|value| (Some("key"), Some(&**value))).collect();
    for topic in [env.raw_topic(), env.processed_topic()] {
        env.produce(topic, &records);
    }
    users.produce(&env, &ids(20), 20);
    let processor = env.start("stream-processor").await;
    let count = usize::try_from(COUNT).unwrap();
    until_arrived(&env, count + 20).await;
    let sink = env.start("cassandra-sink").await;
    for (service, topic) in [(&processor, env.raw_topic()), (&sink, env.processed_topic())] {
        let dead = format!("{topic}.dlq");
        wait::until(&dead, SOON, async || (env.records(&dead).await.len() >= count).then_some(())).await;
        let letters = env.records(&dead).await;
        let unknown = letters.iter().filter(|letter| letter.headers["dlq.error.kind"] == "unknown_schema");
        assert_eq!(unknown.count(), count, "{dead}");
        was_one_session(service);
    }
}
