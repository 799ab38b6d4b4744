//! Profiles from an HTTP API into PostgreSQL.

use std::fmt;
use std::time::Instant;

use pipeline_tests::TestEnv;
use randomuser_sim::{SimConfig, Simulator};
use tokio::process::Command;

use super::Scenario;
use crate::Result;
use crate::clock::Clock;
use crate::measure::reaped_cpu_seconds;
use crate::report::{Bound, CPU, Goal, PEAK, PER_CPU, PER_CPU_STARTED, POSTGRES_CPU, RATE, Sample, WALL};
use crate::world::{self, World};

/// Profiles of a page, the API's own limit.
const PAGE: u64 = 5000;

/// The scenario.
pub(super) struct Fetch;

/// Who fetches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Fetcher,
    CurlAndCopy,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetcher => "fetcher",
            Self::CurlAndCopy => "curl, then COPY",
        })
    }
}

impl Scenario for Fetch {
    type Contender = Contender;
    const NAME: &'static str = "fetch";
    const TITLE: &'static str = "Profiles from the simulated API on the same two cores into PostgreSQL, pages of 5,000 without compression";
    const COLUMNS: &'static [&'static str] = &[RATE, WALL, CPU, PER_CPU, PER_CPU_STARTED, PEAK, POSTGRES_CPU];
    const GOALS: &'static [Goal] = &[
        Goal { ours: "fetcher", metric: PER_CPU_STARTED, peer: None, bound: Bound::AtLeast(100_000.0) },
        Goal { ours: "fetcher", metric: WALL, peer: Some("curl, then COPY"), bound: Bound::AtMost(1.3) },
    ];

    fn contenders(&self) -> Vec<Contender> {
        vec![Contender::Fetcher, Contender::CurlAndCopy]
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Fetcher => {
                "defaults of config/pipeline.toml, gzip=false, users_per_window=0; the service is up".to_owned()
            }
            Contender::CurlAndCopy => {
                "the same pages to /dev/null over one connection, then the same rows by COPY in transactions of \
                 10,000, parent row and indexes as ever"
                    .to_owned()
            }
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let sim = Simulator::bind(SimConfig::default()).await?;
        let mut env = Box::pin(TestEnv::on(world.stack, "fetch")).await;
        let sample = match contender {
            Contender::Fetcher => {
                world::point_at(&mut env, &sim, world.rows)?;
                let fetcher = env.start("fetcher").await;
                fetcher.ready().await;
                let pid = world.pid(fetcher.name())?;
                let clock = Clock::start(world)?;
                let first = clock.moment(pid, 0.0);
                world::fetch(&fetcher, world.rows).await?;
                let last = clock.moment(pid, world.rows as f64);
                fetcher.stop().await;
                clock.sample(world.rows as f64, &first, &last)
            }
            Contender::CurlAndCopy => {
                let reaped = reaped_cpu_seconds();
                let began = Instant::now();
                let pages = world.rows.div_ceil(PAGE);
                let url = format!("{}?results={PAGE}&seed=bench&page=[1-{pages}]", sim.url());
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--fail", "--noproxy", "*", "--output", "/dev/null"]);
                // curl's own ranges keep the connection.
                let status = curl.args([url.as_str()]).status().await?;
                if !status.success() {
                    return Err(format!("curl of {url}: {status}").into());
                }
                world.copy_rows(&env).await?;
                let seconds = began.elapsed().as_secs_f64();
                let (cpu, rows) = (reaped_cpu_seconds() - reaped, world.rows as f64);
                Sample::from([(RATE, rows / seconds), (WALL, seconds), (CPU, cpu)])
            }
        };
        world.discard(env).await?;
        Ok(sample)
    }
}
