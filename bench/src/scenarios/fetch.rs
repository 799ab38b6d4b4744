//! Profiles from an HTTP API into PostgreSQL.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use pipeline_tests::TestEnv;
use randomuser_sim::{SimConfig, Simulator};
use tokio::process::Command;

use super::Scenario;
use crate::Result;
use crate::clock::Clock;
use crate::measure::reaped_cpu_seconds;
use crate::report::{Bound, CPU, Goal, PEAK, PER_CPU, PER_CPU_STARTED, POSTGRES_CPU, RATE, Sample, WALL};
use crate::static_pages::{self, StaticPages};
use crate::world::{self, PAGE, SEED, World};

/// The scenario.
#[derive(Default)]
pub(super) struct Fetch;

/// Who fetches, from where.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Fetcher(Source),
    CurlAndCopy(Source),
}

/// Where the profiles come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// Rendered when asked for, on the same cores.
    Simulator,
    /// Files.
    Static,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simulator => "simulated API",
            Self::Static => "static pages",
        })
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetcher(source) => write!(f, "fetcher, {source}"),
            Self::CurlAndCopy(source) => write!(f, "curl, COPY, {source}"),
        }
    }
}

impl Scenario for Fetch {
    type Contender = Contender;
    const NAME: &'static str = "fetch";
    const TITLE: &'static str = "Profiles by HTTP into PostgreSQL, pages of 5,000 without compression; the server runs on the same cores";
    const COLUMNS: &'static [&'static str] = &[RATE, WALL, CPU, PER_CPU, PER_CPU_STARTED, PEAK, POSTGRES_CPU];
    const PLOTS: &'static [&'static str] = &[RATE, WALL, PER_CPU_STARTED];

    fn goals(&self, _: &World) -> Vec<Goal> {
        let fetcher = |source| Contender::Fetcher(source).to_string();
        let wall = |source| {
            let limit = Contender::CurlAndCopy(source).to_string();
            Goal::beside(fetcher(source), WALL, limit, Bound::AtMost(1.3))
        };
        vec![
            Goal::of(fetcher(Source::Static), PER_CPU_STARTED, Bound::AtLeast(100_000.0)),
            wall(Source::Static),
            wall(Source::Simulator),
        ]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        let of = |source| [Contender::Fetcher(source), Contender::CurlAndCopy(source)];
        [Source::Static, Source::Simulator].into_iter().flat_map(of).collect()
    }

    fn is_ours(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Fetcher(_))
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Fetcher(_) => {
                "defaults of config/pipeline.toml, gzip=false, users_per_window=0; the service is up".to_owned()
            }
            Contender::CurlAndCopy(_) => {
                "the same pages to /dev/null over one connection, then the same rows by COPY in transactions of \
                 10,000, parent row and indexes as ever; CPU is that of curl"
                    .to_owned()
            }
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let (Contender::Fetcher(source) | Contender::CurlAndCopy(source)) = contender;
        let sim = Simulator::bind(SimConfig::default()).await?;
        let pages = match source {
            Source::Simulator => None,
            Source::Static => Some(StaticPages::serve(pages(world, &sim).await?).await?),
        };
        let url = pages.as_ref().map_or_else(|| sim.url(), |pages| pages.url().to_owned());
        let mut env = Box::pin(TestEnv::on(world.stack, "fetch")).await;
        let sample = match contender {
            Contender::Fetcher(_) => {
                world::point_at(&mut env, &url, world.rows)?;
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
            Contender::CurlAndCopy(_) => {
                let reaped = reaped_cpu_seconds();
                let began = Instant::now();
                let count = world.rows.div_ceil(PAGE);
                // curl's own ranges keep the connection.
                let url = format!("{url}?results={PAGE}&seed={SEED}&page=[1-{count}]");
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--fail", "--noproxy", "*", "--output", "/dev/null"]);
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

/// The folder with all rows as pages for the static server, which are made once.
async fn pages(world: &World, sim: &Simulator) -> Result<PathBuf> {
    let folder = world.folder("pages")?.join(world.rows.to_string());
    if !folder.exists() {
        // Under its name only when all of them are there.
        let part = world.folder("pages/part")?;
        static_pages::render(&sim.url(), world.rows, &part).await?;
        tokio::fs::rename(part, &folder).await?;
    }
    Ok(folder)
}
