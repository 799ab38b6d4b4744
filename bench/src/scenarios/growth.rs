//! More rows and more partitions: what a record costs must not depend on them.

use std::fmt;

use pipeline_tests::TestEnv;
use toml::Value;

use super::Scenario;
use crate::Result;
use crate::clock::{Clock, Keys};
use crate::report::{Bound, Goal, PEAK, PER_CPU_STARTED, RATE, Sample};
use crate::world::{TRANSACTION_ROWS, World};

const RELAY_RATE: &str = "relay rows/s";
const RELAY_CPU: &str = "relay µs/row";
const RELAY_PEAK: &str = "relay MB";
const PROCESSOR_RATE: &str = "processor rows/s";
const PROCESSOR_CPU: &str = "processor µs/row";
const PROCESSOR_PEAK: &str = "processor MB";

/// Of the topics where only the rows change.
const PARTITIONS: u8 = 4;

/// The scenario.
#[derive(Default)]
pub(super) struct Growth;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contender {
    partitions: u8,
    rows: u64,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partitions, rows } = self;
        let plural = if *partitions == 1 { "" } else { "s" };
        match rows {
            1_000_000.. if rows % 100_000 == 0 => write!(f, "{} M", *rows as f64 / 1e6),
            1000.. if rows % 1000 == 0 => write!(f, "{} k", rows / 1000),
            _ => write!(f, "{rows}"),
        }?;
        write!(f, " rows, {partitions} partition{plural}")
    }
}

impl Scenario for Growth {
    type Contender = Contender;
    const NAME: &'static str = "growth";
    const TITLE: &'static str = "Rows that were inserted while the relay was down, then the same through stream-processor with one worker; CPU time and peak of memory";
    const COLUMNS: &'static [&'static str] =
        &[RELAY_RATE, RELAY_CPU, RELAY_PEAK, PROCESSOR_RATE, PROCESSOR_CPU, PROCESSOR_PEAK];
    const PLOTS: &'static [&'static str] = &[RELAY_CPU, RELAY_PEAK, PROCESSOR_CPU, PROCESSOR_PEAK];

    fn goals(&self, world: &World) -> Vec<Goal> {
        let (base, most) = (base(world), most(world));
        let flat =
            |metric, bound| Goal::beside(most.to_string(), metric, base.to_string(), Bound::AtMost(bound));
        vec![
            flat(RELAY_CPU, 1.1),
            flat(PROCESSOR_CPU, 1.1),
            // As far as an allocator lets it be.
            flat(RELAY_PEAK, 1.2),
            flat(PROCESSOR_PEAK, 1.2),
        ]
    }

    fn contenders(&self, world: &World) -> Vec<Contender> {
        let of = |partitions| Contender { partitions, rows: world.rows };
        let part = |divisor: u64| Contender { partitions: PARTITIONS, rows: (world.rows / divisor).max(1) };
        if world.quick {
            return vec![base(world), of(8), most(world)];
        }
        vec![part(50), part(5), base(world), of(1), of(2), of(8), most(world)]
    }

    fn is_ours(&self, _: Contender) -> bool {
        true
    }

    fn settings(&self, _: Contender) -> String {
        "defaults of config/pipeline.toml".to_owned()
    }

    fn runs(&self, world: &World, contender: Contender) -> u32 {
        if contender == most(world) {
            1
        } else if contender.partitions == PARTITIONS {
            world.runs
        } else {
            world.runs.min(2)
        }
    }

    /// The smallest alone, for the servers' sake.
    fn warms_up(&self, _: &World, _: Contender, is_first: bool) -> bool {
        is_first
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let Contender { partitions, rows } = contender;
        let settings = [("pipeline.partitions", Value::from(i64::from(partitions)))];
        let env = Box::pin(TestEnv::on_with(world.stack, "growth", &settings)).await;
        // Makes the slot, and has nothing else to do.
        let first = env.start("relay").await;
        first.ready().await;
        first.stop().await;
        drop(first);
        insert(world, &env, rows).await?;
        let mut sample = Sample::new();
        let parts = [
            ("relay", env.raw_topic(), [RELAY_RATE, RELAY_CPU, RELAY_PEAK]),
            ("stream-processor", env.processed_topic(), [PROCESSOR_RATE, PROCESSOR_CPU, PROCESSOR_PEAK]),
        ];
        for (service, topic, [rate, cpu, peak]) in parts {
            let clock = Clock::start(world)?;
            let service = env.start(service).await;
            let pid = world.pid(service.name())?;
            let found = clock.follow(world, pid, topic, rows, Keys::OneEach).await?;
            service.stop().await;
            let value = |metric| found.get(metric).copied().ok_or("a run without its figures");
            sample.extend([(rate, value(RATE)?), (cpu, 1e6 / value(PER_CPU_STARTED)?), (peak, value(PEAK)?)]);
        }
        world.discard(env).await?;
        Ok(sample)
    }
}

/// What the others are compared with.
fn base(world: &World) -> Contender {
    Contender { partitions: PARTITIONS, rows: world.rows }
}

/// The most rows.
fn most(world: &World) -> Contender {
    let times = if world.quick { 2 } else { 10 };
    Contender { partitions: PARTITIONS, rows: world.rows * times }
}

/// Inserts so many rows in transactions of 10,000: all there are, then those again under ids of their own.
async fn insert(world: &World, env: &TestEnv, rows: u64) -> Result<()> {
    if rows == world.rows {
        return world.insert(env).await;
    }
    let mut db = world.connect(env).await?;
    let columns = world.staging_table(&mut db, usize::try_from(rows)?).await?;
    // Ids of one copy are neighbours, so that the indexes grow at few places.
    let with_id =
        columns.replacen("id,", "(lpad(to_hex($3::bigint), 8, '0') || substr(id::text, 9))::uuid,", 1);
    let copy = format!(
        "INSERT INTO users ({columns}) SELECT {with_id} FROM staged WHERE number > $1 AND number <= $2"
    );
    let mut left = rows;
    for turn in 0_i64.. {
        let mut from = 0;
        while from < world.rows && left > 0 {
            let to = from + (TRANSACTION_ROWS as u64).min(left).min(world.rows - from);
            let insert = sqlx::query(sqlx::AssertSqlSafe(copy.clone()));
            let insert = insert.bind(i64::try_from(from)?).bind(i64::try_from(to)?).bind(turn);
            insert.execute(&mut db).await?;
            left -= to - from;
            from = to;
        }
        if left == 0 {
            break;
        }
    }
    sqlx::query("DROP TABLE staged").execute(&mut db).await?;
    world.settle(&mut db).await
}
