use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::config::SecurityProtocol;

const TOPIC: &str = "t";

type Brokers = MockCluster<'static, DefaultProducerContext>;

fn kafka(brokers: &Brokers) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: brokers.bootstrap_servers(),
        security_protocol: SecurityProtocol::Plaintext,
        sasl_mechanism: None,
        sasl_username: None,
        sasl_password: None,
        ssl_ca_location: None,
        properties: BTreeMap::new(),
    }
}

/// The producer that follows one that was given up.
fn next_producer(brokers: &Brokers) -> TransactionalProducer {
    let producer = TransactionalProducer::new(&kafka(brokers), "id", Duration::from_secs(30), &[]).unwrap();
    producer.init().unwrap();
    producer.begin().unwrap();
    producer
}

/// Brokers, and a producer in the middle of a transaction with one record.
fn in_a_transaction() -> (Brokers, TransactionalProducer) {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic(TOPIC, 1, 1).unwrap();
    let producer = next_producer(&brokers);
    producer.send(BaseRecord::<str, str>::to(TOPIC).key("k").payload("v")).unwrap();
    producer.flush();
    (brokers, producer)
}

fn remedy_of(outcome: Result<(), TransactionError>) -> Remedy {
    outcome.expect_err("a failure").remedy
}

#[test]
fn what_is_not_of_the_transaction_leaves_its_outcome_open() {
    let code = RDKafkaErrorCode::OperationTimedOut;
    for error in [KafkaError::ConsumerCommit(code), KafkaError::MetadataFetch(code), KafkaError::Canceled] {
        assert_eq!(remedy(&error), Remedy::Restart, "{error}");
    }
    for code in
        [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced, RDKafkaErrorCode::InvalidProducerEpoch]
    {
        assert_eq!(remedy(&KafkaError::MessageProduction(code)), Remedy::Fenced, "{code}");
    }
    let too_large = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
    assert_eq!(remedy(&too_large), Remedy::Abort);
}

#[test]
fn a_record_that_is_too_large_leaves_the_transaction_as_it_was() {
    let (_brokers, producer) = in_a_transaction();
    let value = "v".repeat(2_000_000);
    let outcome = producer.send(BaseRecord::<str, str>::to(TOPIC).key("k").payload(&*value));
    assert_eq!(remedy_of(outcome), Remedy::Abort);
    producer.send(BaseRecord::<str, str>::to(TOPIC).key("k").payload("less")).unwrap();
    producer.commit().unwrap();
}

#[test]
fn a_record_that_the_brokers_refuse_fails_the_commit_at_once_whatever_else_is_queued() {
    let (brokers, producer) = in_a_transaction();
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    brokers.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let began = Instant::now();
    let value = "v".repeat(1_000);
    for _ in 0..20_000 {
        if let Err(error) = producer.send(BaseRecord::<str, str>::to(TOPIC).key("k").payload(&*value)) {
            assert_eq!(error.remedy, Remedy::Abort);
            break;
        }
    }
    assert_eq!(remedy_of(producer.commit()), Remedy::Abort);
    producer.abort().unwrap();
    assert!(began.elapsed() < CALL_TIMEOUT, "{:?}", began.elapsed());
    let producer = next_producer(&brokers);
    producer.send(BaseRecord::<str, str>::to(TOPIC).key("k").payload("v")).unwrap();
    producer.commit().unwrap();
}

#[test]
fn a_producer_whose_epoch_is_over_is_fenced() {
    let (brokers, producer) = in_a_transaction();
    let epoch = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    brokers.request_errors(RDKafkaApiKey::EndTxn, &[epoch]);
    assert_eq!(remedy_of(producer.commit()), Remedy::Fenced);
}

#[test]
fn a_commit_without_an_answer_makes_a_new_producer() {
    let (brokers, producer) = in_a_transaction();
    brokers.broker_round_trip_time(1, CALL_TIMEOUT * 2).unwrap();
    let began = Instant::now();
    assert_eq!(remedy_of(producer.commit()), Remedy::Restart);
    assert!(began.elapsed() < CALL_TIMEOUT + ANSWER_MARGIN * 2, "{:?}", began.elapsed());
}

#[test]
fn offsets_of_another_generation_abort_the_transaction() {
    let (brokers, producer) = in_a_transaction();
    let consumer: BaseConsumer = kafka(&brokers).client("c", &[("group.id", "g")]).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(TOPIC, 0, Offset::Offset(1)).unwrap();
    let generation = RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
    brokers.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[generation]);
    let outcome = producer.send_offsets(offsets.clone(), consumer.group_metadata().unwrap());
    assert_eq!(remedy_of(outcome), Remedy::Abort);
    producer.abort().unwrap();
    let producer = next_producer(&brokers);
    producer.send_offsets(offsets, consumer.group_metadata().unwrap()).unwrap();
    producer.commit().unwrap();
}
