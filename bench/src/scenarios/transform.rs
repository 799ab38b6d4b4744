//! The stream transform: raw records in, processed records out.

use std::fmt;

use pipeline_tests::TestEnv;

use super::Scenario;
use crate::Result;
use crate::clock::{Clock, Keys};
use crate::peers::java::{self, STREAMS};
use crate::peers::spark::{self, Job};
use crate::report::{Bound, CPU, Goal, KAFKA_CPU, PEAK, PER_CPU, PER_CPU_STARTED, RATE, Sample, WALL};
use crate::topics;
use crate::world::World;

/// The scenario.
#[derive(Default)]
pub(super) struct Transform;

/// Who transforms, with so many threads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Processor(u8),
    Streams(u8),
    /// Spark with the pipeline's module, with so many executors.
    Module(u8),
    Spark,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor(1) => f.write_str("stream-processor, 1 worker"),
            Self::Processor(workers) => write!(f, "stream-processor, {workers} workers"),
            Self::Streams(1) => f.write_str("Kafka Streams, 1 thread"),
            Self::Streams(threads) => write!(f, "Kafka Streams, {threads} threads"),
            Self::Module(1) => f.write_str("Spark with the module, 1 executor"),
            Self::Module(executors) => write!(f, "Spark with the module, {executors} executors"),
            Self::Spark => f.write_str("Spark, local[2]"),
        }
    }
}

impl Scenario for Transform {
    type Contender = Contender;
    const NAME: &'static str = "transform";
    const TITLE: &'static str =
        "Stream transform, exactly once, 4 partitions; the results of all engines are equal byte by byte";
    const COLUMNS: &'static [&'static str] = &[RATE, WALL, CPU, PER_CPU, PER_CPU_STARTED, PEAK, KAFKA_CPU];
    const PLOTS: &'static [&'static str] = &[RATE, PER_CPU_STARTED, PEAK];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![
            goal(1, RATE, Bound::AtLeast(2.0)),
            goal(2, RATE, Bound::AtLeast(2.0)),
            goal(1, PER_CPU, Bound::AtLeast(4.0)),
            goal(1, PER_CPU_STARTED, Bound::AtLeast(4.0)),
            goal(2, PER_CPU, Bound::AtLeast(4.0)),
            goal(1, PEAK, Bound::AtMost(0.1)),
            goal(2, PEAK, Bound::AtMost(0.1)),
            spark(1),
            spark(2),
        ]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        vec![
            Contender::Processor(1),
            Contender::Streams(1),
            Contender::Processor(2),
            Contender::Streams(2),
            Contender::Module(1),
            Contender::Module(2),
            Contender::Spark,
        ]
    }

    fn is_long(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Processor(2) | Contender::Streams(2) | Contender::Module(2))
    }

    fn is_ours(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Processor(_) | Contender::Module(_))
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Processor(workers) => {
                format!("defaults of config/pipeline.toml, workers={workers}")
            }
            Contender::Streams(threads) => format!(
                "Kafka Streams {} exactly_once_v2 (commit interval 100 ms), Avro 1.12.0 with its fast reader, \
                 num.stream.threads={threads}, max.poll.records=10000, max.partition.fetch.bytes=4 MiB, lz4, \
                 linger.ms=5, batch.size=262144, heap 1 GB",
                STREAMS.version
            ),
            Contender::Module(executors) => spark::module_settings(executors),
            Contender::Spark => spark::settings(false),
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let streamed = Box::pin(world.streamed()).await?;
        let mut env = Box::pin(TestEnv::on(world.stack, "transform")).await;
        let bootstrap = env.kafka_bootstrap().to_owned();
        let sample = match contender {
            Contender::Processor(workers) => {
                env.set("stream_processor.source_topic", streamed.raw_topic());
                env.set("stream_processor.workers", i64::from(workers));
                let clock = Clock::start(world)?;
                let processor = env.start("stream-processor").await;
                let pid = world.pid(processor.name())?;
                let sample = clock.follow(world, pid, env.processed_topic(), world.rows, Keys::OneEach).await;
                processor.stop().await;
                sample?
            }
            Contender::Streams(threads) => {
                let (_, raw) = java::schema(world, streamed.raw_topic()).await?;
                let (id, processed) = java::schema(world, env.processed_topic()).await?;
                let name = format!("{}.streams", env.name());
                let state = world.folder(&format!("peers/{name}"))?;
                let args = [
                    bootstrap.clone(),
                    streamed.raw_topic().to_owned(),
                    env.processed_topic().to_owned(),
                    raw.display().to_string(),
                    processed.display().to_string(),
                    id.to_string(),
                    threads.to_string(),
                    state.display().to_string(),
                ];
                let command = java::command(world, "TransformApp", STREAMS, "1G", args).await?;
                let clock = Clock::start(world)?;
                world.stack.start_service(java::lasting(&name, command), STREAMS.version).await?;
                let pid = world.pid(&name)?;
                let sample = clock.follow(world, pid, env.processed_topic(), world.rows, Keys::OneEach).await;
                world.stack.kill(&name).await?;
                sample?
            }
            Contender::Module(executors) => {
                env.set("stream_processor.source_topic", streamed.raw_topic());
                let submission = spark::module(world, executors).await?;
                let clock = Clock::start(world)?;
                let job = env.submit(&submission).await;
                let pid = world.pid(job.name())?;
                let sample = clock.follow(world, pid, env.processed_topic(), world.rows, Keys::OneEach).await;
                job.kill().await;
                sample?
            }
            Contender::Spark => {
                let spec = Job::Transform { source: streamed }.spec(world, &env).await?;
                let name = spec.name.clone();
                let clock = Clock::start(world)?;
                world.stack.start_service(spec, spark::VERSION).await?;
                let pid = world.pid(&name)?;
                let sample = clock.follow(world, pid, env.processed_topic(), world.rows, Keys::OneEach).await;
                world.stack.kill(&name).await?;
                sample?
            }
        };
        let expected = topics::digest(&bootstrap, streamed.processed_topic()).await?;
        let found = topics::digest(&bootstrap, env.processed_topic()).await?;
        if found != expected {
            return Err(
                format!("the results differ from stream-processor's ({found:x}, {expected:x})").into()
            );
        }
        world.discard(env).await?;
        Ok(sample)
    }
}

fn spark(threads: u8) -> Goal {
    let (ours, peer) = (Contender::Processor(threads), Contender::Spark);
    Goal::beside(ours.to_string(), RATE, peer.to_string(), Bound::AtLeast(5.0))
}

fn goal(threads: u8, metric: &'static str, bound: Bound) -> Goal {
    let (ours, peer) = (Contender::Processor(threads), Contender::Streams(threads));
    Goal::beside(ours.to_string(), metric, peer.to_string(), bound)
}
