//! The first start on a table that has rows already.

use std::fmt;

use super::Scenario;
use super::catch_up::{COLUMNS, RELAY, goal};
use crate::Result;
use crate::clock::{Clock, Keys};
use crate::peers::debezium::{self, Debezium, Tuning};
use crate::peers::postgres;
use crate::report::{Bound, Goal, PEAK, PER_CPU, PER_CPU_STARTED, RATE, Sample};
use crate::world::World;

/// The scenario.
#[derive(Default)]
pub(super) struct Snapshot;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Relay,
    Debezium(Tuning),
    Copy,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Debezium(Tuning::Default) => "Debezium",
            Self::Debezium(Tuning::Tuned) => "Debezium tuned",
            Self::Copy => "psql COPY",
        })
    }
}

impl Scenario for Snapshot {
    type Contender = Contender;
    const NAME: &'static str = "snapshot";
    const TITLE: &'static str = "Snapshot of a table at the first start";
    const COLUMNS: &'static [&'static str] = COLUMNS;
    const PLOTS: &'static [&'static str] = &[RATE, PER_CPU_STARTED, PEAK];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![
            goal(RATE, "Debezium tuned", Bound::AtLeast(2.0)),
            goal(PER_CPU, "Debezium tuned", Bound::AtLeast(5.0)),
            goal(PER_CPU_STARTED, "Debezium tuned", Bound::AtLeast(5.0)),
            goal(PEAK, "Debezium tuned", Bound::AtMost(1.0 / 15.0)),
        ]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        let debezium = [Tuning::Default, Tuning::Tuned].map(Contender::Debezium);
        [Contender::Relay].into_iter().chain(debezium).chain([Contender::Copy]).collect()
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
            Contender::Copy => {
                format!(
                    "COPY users TO STDOUT as text to /dev/null, {}",
                    crate::machine::version("psql", "--version")
                )
            }
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let env = Box::pin(world.filled("snapshot")).await?;
        let sample = match contender {
            Contender::Relay => {
                let clock = Clock::start(world)?;
                let relay = env.start("relay").await;
                let pid = world.pid(relay.name())?;
                let sample = clock.follow(world, pid, env.raw_topic(), world.rows, Keys::OneEach).await?;
                relay.stop().await;
                sample
            }
            Contender::Debezium(tuning) => {
                let debezium = Debezium::new(world, &env, tuning, debezium::Snapshot::Initial).await?;
                let clock = Clock::start(world)?;
                let pid = debezium.start().await?;
                let sample = clock.follow(world, pid, &debezium.topic, world.rows, Keys::OneEach).await;
                debezium.stop().await?;
                sample?
            }
            Contender::Copy => postgres::copy(world, &env).await?,
        };
        world.discard(env).await?;
        Ok(sample)
    }
}
