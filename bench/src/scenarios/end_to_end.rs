//! All four services: from the commit in PostgreSQL to the row that can be read in Cassandra.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline_tests::{Service, TestEnv};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Scenario;
use crate::Result;
use crate::histogram::Histogram;
use crate::load::{self, Load};
use crate::measure::{Usage, quantile};
use crate::peers::debezium::{self, Debezium, Snapshot, Tuning};
use crate::peers::spark::{self, Job};
use crate::report::{Bound, COMMITTED, CORES, Goal, MAX, P50, P99, PEAK, Sample};
use crate::topics;
use crate::world::{STAGED_INSERT, World};

/// The same latency as the sink's own histogram has it.
const OWN_P50: &str = "own p50 ms";
const OWN_P99: &str = "own p99 ms";
/// Rows that were looked for.
const LOOKED_FOR: &str = "rows looked for";

/// Seconds of writing, as far as there are rows, and in the short form.
const SECONDS: usize = 180;
const QUICK_SECONDS: usize = 24;

/// What is not counted at the beginning.
const WARM_UP: Duration = Duration::from_secs(20);

/// One row of so many is looked for: five a second, as reads take from what Cassandra has for writes. No multiple of
/// the writers' number, so that all of them have some.
const EVERY: usize = 211;

/// When a row is first looked for. None is there sooner.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// The shortest pause between two looks; longer ones are a tenth of what the row has taken already, so that late rows
/// are not what keeps Cassandra busy.
const PAUSE: Duration = Duration::from_millis(1);

const SELECT: &str = "SELECT id FROM users_by_id WHERE id = ?";

/// Of Debezium's topic, as the pipeline's have.
const PARTITIONS: i32 = 4;

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The scenario.
#[derive(Default)]
pub(super) struct EndToEnd;

/// Who brings the rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Pipeline,
    Classic,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipeline => OURS,
            Self::Classic => CLASSIC,
        })
    }
}

const OURS: &str = "all four services";
const CLASSIC: &str = "Debezium and Spark";

impl Scenario for EndToEnd {
    type Contender = Contender;
    const NAME: &'static str = "end-to-end";
    const TITLE: &'static str =
        "1,000 single-row transactions a second, from the commit's answer to the row in Cassandra";
    const COLUMNS: &'static [&'static str] =
        &[P50, P99, MAX, OWN_P50, OWN_P99, CORES, PEAK, COMMITTED, LOOKED_FOR];
    const PLOTS: &'static [&'static str] = &[P50, P99, CORES, PEAK];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![
            Goal::of(OURS, P50, Bound::AtMost(25.0)),
            Goal::of(OURS, P99, Bound::AtMost(100.0)),
            Goal::of(OURS, PEAK, Bound::AtMost(100.0)),
            Goal::beside(OURS, P99, CLASSIC, Bound::AtMost(0.1)),
        ]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        vec![Contender::Pipeline, Contender::Classic]
    }

    fn is_ours(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Pipeline)
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Pipeline => "fetcher (idle), relay, stream-processor, cassandra-sink: defaults of \
                                    config/pipeline.toml, all three tables; MB is the sum of the four peaks"
                .to_owned(),
            Contender::Classic => format!(
                "{}; then {}; into one table; MB is the sum of both",
                debezium::settings(Tuning::Tuned),
                spark::settings(true)
            ),
        }
    }

    /// For the servers' sake: their compilers are busy for a minute after they have started. What the contenders have
    /// to warm up the load does.
    fn warms_up(&self, _: &World, _: Contender, is_first: bool) -> bool {
        is_first
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let env = Box::pin(TestEnv::on(world.stack, "end_to_end")).await;
        let seconds = if world.quick { QUICK_SECONDS } else { SECONDS };
        let rows = world.stage(&env, seconds * load::RATE as usize).await?;
        let sample = match contender {
            Contender::Pipeline => pipeline(world, &env, &rows).await?,
            Contender::Classic => classic(world, &env, &rows).await?,
        };
        world.discard(env).await?;
        Ok(sample)
    }
}

async fn pipeline(world: &World, env: &TestEnv, rows: &[(i64, String)]) -> Result<Sample> {
    let mut services: Vec<Service> = Vec::new();
    for name in ["fetcher", "relay", "stream-processor", "cassandra-sink"] {
        services.push(env.start(name).await);
    }
    let mut pids = Vec::new();
    for service in &services {
        pids.push(world.pid(service.ready().await.name())?);
    }
    let sink = services.last().ok_or("there is no sink")?;
    let own = async || Histogram::of(&sink.url("/metrics"), "pipeline_end_to_end_seconds", "cassandra").await;
    let mut before = Histogram::default();
    let mut sample = stream(world, env, rows, &pids, async || {
        before = own().await?;
        Ok(())
    })
    .await?;
    let own = own().await?.since(&before);
    for (metric, share) in [(OWN_P50, 0.5), (OWN_P99, 0.99)] {
        sample.insert(metric, own.quantile(share).ok_or("the sink has observed nothing")? * 1000.0);
    }
    for service in &services {
        service.stop().await;
    }
    Ok(sample)
}

async fn classic(world: &World, env: &TestEnv, rows: &[(i64, String)]) -> Result<Sample> {
    let debezium = Debezium::new(world, env, Tuning::Tuned, Snapshot::NoData).await?;
    topics::create(env.kafka_bootstrap(), &debezium.topic, PARTITIONS).await?;
    let connect = debezium.start().await?;
    debezium.streams(env).await?;
    let spec = Job::Classic { topic: &debezium.topic }.spec(world, env).await?;
    let spark = spec.name.clone();
    world.stack.start_service(spec, spark::VERSION).await?;
    // It is there when it has brought a first row.
    let ((number, id), rows) = rows.split_first().ok_or("there are no rows")?;
    sqlx::query(STAGED_INSERT).bind(number).execute(&env.db).await?;
    let session = Arc::new(env.cassandra().await);
    let select = session.prepare(SELECT).await?;
    readable(session, select, id.parse()?, Instant::now()).await?;
    let pids = [connect, world.pid(&spark)?];
    let sample = stream(world, env, rows, &pids, async || Ok(())).await;
    world.stack.kill(&spark).await?;
    debezium.stop().await?;
    sample
}

/// Writes the rows at their rate, and looks for some of them in Cassandra. `warmed_up` is called when it begins to
/// count.
async fn stream(
    world: &World,
    env: &TestEnv,
    rows: &[(i64, String)],
    pids: &[u32],
    warmed_up: impl AsyncFnOnce() -> Result<()>,
) -> Result<Sample> {
    let ids: Vec<String> = rows.iter().map(|(_, id)| id.clone()).collect();
    let session = Arc::new(env.cassandra().await);
    let select = session.prepare(SELECT).await?;
    let total = || {
        let each = Usage::of_each(pids);
        let peak: u64 = each.iter().map(|usage| usage.peak_bytes).sum();
        (each.iter().map(|usage| usage.cpu_seconds).sum::<f64>(), peak as f64 / 1e6)
    };
    let mut load = Load::start(world, env, rows, WARM_UP).await?;
    load.warmed_up().await;
    warmed_up().await?;
    let ((cpu, _), since) = (total(), Instant::now());
    let mut looks = JoinSet::new();
    let mut committed = 0_u32;
    while let Some((number, at)) = load.next().await {
        committed += 1;
        if number % EVERY == 0 {
            let id: Uuid = ids.get(number).ok_or("a commit of no row")?.parse()?;
            looks.spawn(readable(Arc::clone(&session), select.clone(), id, at));
        }
    }
    load.ended().await?;
    let seconds = since.elapsed().as_secs_f64();
    let (cpu_after, _) = total();
    let mut latencies = Vec::new();
    while let Some(latency) = looks.join_next().await {
        latencies.push(latency??.as_secs_f64() * 1000.0);
    }
    latencies.sort_by(f64::total_cmp);
    let at = |share| quantile(&latencies, share).ok_or("no latency was measured");
    Ok(Sample::from([
        (P50, at(0.5)?),
        (P99, at(0.99)?),
        (MAX, at(1.0)?),
        (CORES, (cpu_after - cpu) / seconds),
        (PEAK, total().1),
        (COMMITTED, f64::from(committed) / seconds),
        (LOOKED_FOR, latencies.len() as f64),
    ]))
}

/// Looks for a row until it is there: how long that took since it was committed.
async fn readable(
    session: Arc<Session>,
    select: PreparedStatement,
    id: Uuid,
    committed: Instant,
) -> Result<Duration> {
    tokio::time::sleep(FIRST_LOOK).await;
    loop {
        let found = session.execute_unpaged(&select, (id,)).await?.into_rows_result()?.rows_num() > 0;
        let waited = committed.elapsed();
        if found {
            return Ok(waited);
        }
        if waited > PATIENCE {
            return Err(format!("the row {id} is not in Cassandra after {PATIENCE:?}").into());
        }
        tokio::time::sleep(PAUSE.max(waited / 10)).await;
    }
}
