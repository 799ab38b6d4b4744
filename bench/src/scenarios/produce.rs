//! The Kafka side alone: records of one size from memory into a topic.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kafka::sequence::{self, Sent};
use kafka::{KafkaConfig, TransactionalProducer, partitioner};
use local_servers::KAFKA;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;

use super::Scenario;
use crate::Result;
use crate::clock::{Clock, Keys};
use crate::peers::java;
use crate::report::{Bound, CPU, Goal, KAFKA_CPU, PEAK, PER_CPU, PER_CPU_STARTED, RATE, Sample, WALL};
use crate::topics;
use crate::world::World;

/// The scenario.
#[derive(Default)]
pub(super) struct Produce;

/// Who produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Relay,
    ProducerPerformance,
    ProducerPerformanceTransactional,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay's producer",
            Self::ProducerPerformance => "ProducerPerformance",
            Self::ProducerPerformanceTransactional => "ProducerPerformance, transactions",
        })
    }
}

/// Records of one of the relay's transactions.
const TRANSACTION_RECORDS: u64 = 20_000;

/// Fewer are over before they can be measured.
const LEAST_ROWS: u64 = 500_000;

impl Scenario for Produce {
    type Contender = Contender;
    const NAME: &'static str = "produce";
    const TITLE: &'static str =
        "Producing rows as text, about 0.6 KB each, to 4 partitions, 500,000 at the least";
    const COLUMNS: &'static [&'static str] = &[RATE, WALL, CPU, PER_CPU, PER_CPU_STARTED, PEAK, KAFKA_CPU];
    const PLOTS: &'static [&'static str] = &[RATE, PER_CPU, PEAK];

    fn goals(&self, _: &World) -> Vec<Goal> {
        [RATE, PER_CPU]
            .map(|metric| {
                Goal::beside("relay's producer", metric, "ProducerPerformance", Bound::AtLeast(1.0))
            })
            .to_vec()
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        vec![Contender::Relay, Contender::ProducerPerformance, Contender::ProducerPerformanceTransactional]
    }

    fn is_long(&self, contender: Contender) -> bool {
        contender == Contender::ProducerPerformanceTransactional
    }

    fn is_ours(&self, contender: Contender) -> bool {
        contender == Contender::Relay
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Relay => format!(
                "librdkafka as the relay sets it: transactions of {TRANSACTION_RECORDS} records, lz4, keys placed by \
                 murmur2, sequence headers"
            ),
            Contender::ProducerPerformance => {
                format!("Kafka {}, {}, no keys", KAFKA.version, properties("").join(", "))
            }
            Contender::ProducerPerformanceTransactional => "the same in transactions of 250 ms".to_owned(),
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let topic = format!("produce-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let bootstrap = world.stack.kafka_bootstrap();
        topics::create(&bootstrap, &topic, 4).await?;
        let name = format!("{topic}.producer");
        let payload = world.some_rows().ok_or("there are no rows")?;
        let rows = world.rows.max(LEAST_ROWS);
        let command: Vec<String> = match contender {
            Contender::Relay => {
                let own = std::env::current_exe()?.display().to_string();
                let file = payload.display().to_string();
                [own, "produce".into(), bootstrap, topic.clone(), rows.to_string(), file].to_vec()
            }
            Contender::ProducerPerformance | Contender::ProducerPerformanceTransactional => {
                let mut command = vec![local_servers::java()?.display().to_string(), "-Xmx512M".to_owned()];
                command.extend(["-cp".to_owned(), world.class_path(KAFKA).await?]);
                command.push("org.apache.kafka.tools.ProducerPerformance".to_owned());
                command.extend([
                    "--topic".to_owned(),
                    topic.clone(),
                    "--num-records".to_owned(),
                    rows.to_string(),
                ]);
                command.extend(["--payload-file".to_owned(), payload.display().to_string()]);
                command.extend(["--throughput", "-1", "--producer-props"].map(str::to_owned));
                command.extend(properties(&bootstrap));
                if contender == Contender::ProducerPerformanceTransactional {
                    command.extend(["--transactional-id".to_owned(), name.clone()]);
                    command.extend(["--transaction-duration-ms", "250"].map(str::to_owned));
                }
                command
            }
        };
        let clock = Clock::start(world)?;
        world.stack.start_service(java::lasting(&name, command), KAFKA.version).await?;
        let sample = clock.follow(world, world.pid(&name)?, &topic, rows, Keys::Any).await;
        world.stack.kill(&name).await?;
        topics::delete(&world.stack.kafka_bootstrap(), &[topic]).await?;
        sample
    }
}

fn properties(bootstrap: &str) -> Vec<String> {
    let mut properties: Vec<String> =
        ["acks=all", "enable.idempotence=true", "compression.type=lz4", "linger.ms=5"]
            .into_iter()
            .chain(["batch.size=262144", "buffer.memory=67108864"])
            .map(str::to_owned)
            .collect();
    if !bootstrap.is_empty() {
        properties.push(format!("bootstrap.servers={bootstrap}"));
    }
    properties
}

/// What the relay's side runs: `bench produce BOOTSTRAP TOPIC ROWS FILE`.
pub(crate) fn produce(bootstrap: &str, topic: &str, rows: u64, file: &std::path::Path) -> Result<()> {
    let kafka = KafkaConfig {
        bootstrap_servers: bootstrap.to_owned(),
        security_protocol: kafka::config::SecurityProtocol::Plaintext,
        sasl_mechanism: None,
        sasl_username: None,
        sasl_password: None,
        ssl_ca_location: None,
        properties: std::collections::BTreeMap::new(),
    };
    let text = std::fs::read(file)?;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| line.len() > 36).collect();
    let producer = TransactionalProducer::new(&kafka, topic, Duration::from_secs(60), &[])?;
    producer.connect()?;
    producer.init()?;
    let partitions = producer.partitions(topic)?;
    let mut sent = Sent::begin();
    let mut lines = lines.iter().cycle();
    for row in 0..rows {
        let Some(line) = lines.next() else { return Err("the file has no rows".into()) };
        if row % TRANSACTION_RECORDS == 0 {
            if row > 0 {
                producer.commit()?;
            }
            producer.begin()?;
        }
        // The id comes first.
        let key = &line[..36];
        let partition = partitioner::partition(key, partitions);
        let headers = sequence::stamped::<OwnedHeaders>(None, sent.next(0, partition));
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key).payload(line);
        producer.send(record.headers(headers))?;
        if row % 256 == 0 {
            producer.poll();
        }
    }
    Ok(producer.commit()?)
}
