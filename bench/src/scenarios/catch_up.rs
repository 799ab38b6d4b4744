//! The change stream: rows that were inserted while the reader was down.

use std::fmt;

use super::Scenario;
use crate::Result;
use crate::clock::{Clock, Keys};
use crate::peers::debezium::{self, Debezium, Snapshot, Tuning};
use crate::peers::postgres;
use crate::report::{
    Bound, CPU, Goal, KAFKA_CPU, PEAK, PER_CPU, PER_CPU_STARTED, POSTGRES_CPU, RATE, Sample, WALL,
};
use crate::world::World;
use pipeline_tests::TestEnv;

/// The scenario.
#[derive(Default)]
pub(super) struct CatchUp;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Relay,
    Debezium(Tuning),
    Recvlogical,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Debezium(Tuning::Default) => "Debezium",
            Self::Debezium(Tuning::Tuned) => "Debezium tuned",
            Self::Recvlogical => "pg_recvlogical",
        })
    }
}

/// What both of the relay's scenarios show.
pub(super) const COLUMNS: &[&str] =
    &[RATE, WALL, CPU, PER_CPU, PER_CPU_STARTED, PEAK, POSTGRES_CPU, KAFKA_CPU];

impl Scenario for CatchUp {
    type Contender = Contender;
    const NAME: &'static str = "catch-up";
    const TITLE: &'static str =
        "Change stream: rows inserted in transactions of 10,000 while the reader was down";
    const COLUMNS: &'static [&'static str] = COLUMNS;
    const PLOTS: &'static [&'static str] = &[RATE, PER_CPU_STARTED, PEAK];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![
            goal(RATE, "Debezium tuned", Bound::AtLeast(2.0)),
            goal(PER_CPU, "Debezium tuned", Bound::AtLeast(8.0)),
            goal(PER_CPU_STARTED, "Debezium tuned", Bound::AtLeast(8.0)),
            goal(RATE, "pg_recvlogical", Bound::AtLeast(1.0)),
            goal(PEAK, "Debezium tuned", Bound::AtMost(1.0 / 15.0)),
        ]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        let debezium = [Tuning::Default, Tuning::Tuned].map(Contender::Debezium);
        [Contender::Relay].into_iter().chain(debezium).chain([Contender::Recvlogical]).collect()
    }

    fn is_long(&self, contender: Contender) -> bool {
        contender == Contender::Debezium(Tuning::Default)
    }

    fn is_ours(&self, contender: Contender) -> bool {
        contender == Contender::Relay
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Relay => RELAY.to_owned(),
            Contender::Debezium(tuning) => debezium::settings(tuning),
            Contender::Recvlogical => {
                format!(
                    "pgoutput as text to /dev/null, {}",
                    crate::machine::version("pg_recvlogical", "--version")
                )
            }
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let env = Box::pin(TestEnv::on(world.stack, "catch_up")).await;
        let sample = match contender {
            Contender::Relay => {
                // Makes the slot, and has nothing else to do.
                let first = env.start("relay").await;
                first.ready().await;
                first.stop().await;
                drop(first);
                world.insert(&env).await?;
                let clock = Clock::start(world)?;
                let relay = env.start("relay").await;
                let pid = world.pid(relay.name())?;
                let sample = clock.follow(world, pid, env.raw_topic(), world.rows, Keys::OneEach).await?;
                relay.stop().await;
                sample
            }
            Contender::Debezium(tuning) => {
                let debezium = Debezium::new(world, &env, tuning, Snapshot::NoData).await?;
                debezium.start().await?;
                debezium.streams(&env).await?;
                debezium.stop().await?;
                world.insert(&env).await?;
                let clock = Clock::start(world)?;
                let pid = debezium.start().await?;
                let sample = clock.follow(world, pid, &debezium.topic, world.rows, Keys::OneEach).await;
                debezium.stop().await?;
                sample?
            }
            Contender::Recvlogical => {
                let slot = format!("{}_limit", env.name());
                postgres::create_slot(&env, &slot).await?;
                world.insert(&env).await?;
                postgres::recvlogical(world, &env, &slot).await?
            }
        };
        world.discard(env).await?;
        Ok(sample)
    }
}

/// How the relay is set.
pub(super) const RELAY: &str =
    "defaults of config/pipeline.toml: exactly once, Avro, lz4, transactions of up to 20,000 records";

/// A goal of the relay.
pub(super) fn goal(metric: &'static str, peer: &'static str, bound: Bound) -> Goal {
    Goal::beside("relay", metric, peer, bound)
}
