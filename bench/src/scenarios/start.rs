//! From exec to ready, with the servers up.

use std::fmt;
use std::time::{Duration, Instant};

use pipeline_tests::{Service, TestEnv};

use super::Scenario;
use crate::Result;
use crate::peers::debezium::{self, Debezium, Snapshot, Tuning};
use crate::report::{Bound, Goal, Sample};
use crate::world::World;

/// From exec to an answer that says ready.
const START: &str = "start s";

/// How often a service is asked.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// How long it may take.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The scenario.
#[derive(Default)]
pub(super) struct Start;

/// Who starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Service(&'static str),
    Debezium,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service(name) => name,
            Self::Debezium => "Debezium",
        })
    }
}

impl Scenario for Start {
    type Contender = Contender;
    const NAME: &'static str = "start";
    const TITLE: &'static str = "From exec to ready, servers up, nothing to do";
    const COLUMNS: &'static [&'static str] = &[START];
    const PLOTS: &'static [&'static str] = &[START];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![goal("fetcher"), goal("relay"), goal("stream-processor"), goal("cassandra-sink")]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        let services = ["fetcher", "relay", "stream-processor", "cassandra-sink"].map(Contender::Service);
        services.into_iter().chain([Contender::Debezium]).collect()
    }

    fn is_ours(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Service(_))
    }

    fn warms_up(&self, world: &World, _: Contender, _: bool) -> bool {
        world.warms_up
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Service(_) => "/readyz answers 200, asked every 2 ms".to_owned(),
            Contender::Debezium => {
                format!("its task is RUNNING, asked every 50 ms; {}", debezium::settings(Tuning::Default))
            }
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let env = Box::pin(TestEnv::on(world.stack, "start")).await;
        let seconds = match contender {
            Contender::Service(name) => {
                let began = Instant::now();
                let service = env.start(name).await;
                ready(&service, began).await?;
                let seconds = began.elapsed().as_secs_f64();
                service.stop().await;
                seconds
            }
            Contender::Debezium => {
                let debezium = Debezium::new(world, &env, Tuning::Default, Snapshot::Initial).await?;
                let began = Instant::now();
                debezium.start().await?;
                let seconds = debezium.runs().await?.duration_since(began).as_secs_f64();
                debezium.stop().await?;
                seconds
            }
        };
        world.discard(env).await?;
        Ok(Sample::from([(START, seconds)]))
    }
}

async fn ready(service: &Service, began: Instant) -> Result<()> {
    let client = local_servers::http_client()?;
    let url = service.url("/readyz");
    while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        if began.elapsed() > READY_WITHIN {
            return Err(format!("{} is not ready: {:?}", service.name(), service.waiting().await).into());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

fn goal(ours: &'static str) -> Goal {
    Goal::of(ours, START, Bound::AtMost(0.3))
}
