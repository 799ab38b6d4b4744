//! Upserts into Cassandra: from the processed topic into one table, and into all three.

use std::fmt;

use futures::TryStreamExt as _;
use pipeline_tests::TestEnv;
use toml::{Table, Value};

use super::Scenario;
use crate::Result;
use crate::clock::Clock;
use crate::peers::java::{self, DRIVER};
use crate::peers::spark::{self, Job};
use crate::report::{
    Bound, CASSANDRA_CPU, CPU, Goal, KAFKA_CPU, PEAK, PER_CPU, PER_CPU_STARTED, RATE, Sample, WALL,
};
use crate::world::World;

/// The tables, the first one alone or all.
const TABLES: [&str; 3] = ["users_by_id", "users_by_country", "users_by_run"];

/// The scenario.
#[derive(Default)]
pub(super) struct Sink;

/// Who writes, into so many tables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Sink { tables: usize },
    Driver { in_flight: u32, tables: usize },
    Spark,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink { tables: 1 } => f.write_str("cassandra-sink, 1 table"),
            Self::Sink { tables } => write!(f, "cassandra-sink, {tables} tables"),
            Self::Driver { in_flight, tables: 1 } => write!(f, "Java driver {in_flight}, 1 table"),
            Self::Driver { in_flight, tables } => write!(f, "Java driver {in_flight}, {tables} tables"),
            Self::Spark => f.write_str("Spark, local[2], 1 table"),
        }
    }
}

impl Scenario for Sink {
    type Contender = Contender;
    const NAME: &'static str = "sink";
    const TITLE: &'static str = "Upserts of the processed topic into Cassandra, one table and all three";
    const COLUMNS: &'static [&'static str] =
        &[RATE, WALL, CPU, PER_CPU, PER_CPU_STARTED, PEAK, CASSANDRA_CPU, KAFKA_CPU];
    const PLOTS: &'static [&'static str] = &[RATE, PER_CPU_STARTED, PEAK];

    fn goals(&self, _: &World) -> Vec<Goal> {
        vec![
            goal(1, RATE, "Java driver 256, 1 table", Bound::AtLeast(1.0)),
            goal(1, RATE, "Java driver 512, 1 table", Bound::AtLeast(1.0)),
            goal(1, PER_CPU, "Java driver 256, 1 table", Bound::AtLeast(3.0)),
            goal(1, PER_CPU_STARTED, "Java driver 256, 1 table", Bound::AtLeast(3.0)),
            goal(3, RATE, "Java driver 768, 3 tables", Bound::AtLeast(1.0)),
            goal(3, PER_CPU, "Java driver 768, 3 tables", Bound::AtLeast(3.0)),
        ]
    }

    fn contenders(&self, _: &World) -> Vec<Contender> {
        vec![
            Contender::Sink { tables: 1 },
            Contender::Driver { in_flight: 256, tables: 1 },
            Contender::Driver { in_flight: 512, tables: 1 },
            Contender::Sink { tables: 3 },
            Contender::Driver { in_flight: 768, tables: 3 },
            Contender::Spark,
        ]
    }

    fn is_long(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Driver { in_flight: 512, .. } | Contender::Spark)
    }

    fn is_ours(&self, contender: Contender) -> bool {
        matches!(contender, Contender::Sink { .. })
    }

    fn settings(&self, contender: Contender) -> String {
        match contender {
            Contender::Sink { .. } => {
                "defaults of config/pipeline.toml: 256 records in flight, so 768 statements with three tables"
                    .to_owned()
            }
            Contender::Driver { in_flight, .. } => format!(
                "Java driver {} behind Kafka's consumer and Avro 1.12.0's fast reader: {in_flight} statements in \
                 flight, prepared, the same columns and write timestamps; keeps no offsets, no dead letters",
                DRIVER.version
            ),
            Contender::Spark => {
                format!("{}; Cassandra's own write timestamps", spark::settings(false))
            }
        }
    }

    async fn sample(&self, world: &World, contender: Contender) -> Result<Sample> {
        let streamed = Box::pin(world.streamed()).await?;
        let mut env = Box::pin(TestEnv::on(world.stack, "sink")).await;
        let sample = match contender {
            Contender::Sink { tables } => {
                env.set("cassandra_sink.source_topic", streamed.processed_topic());
                env.set("cassandra_sink.tables", Value::Array(TABLES[..tables].iter().map(table).collect()));
                let clock = Clock::start(world)?;
                let sink = env.start("cassandra-sink").await;
                let pid = world.pid(sink.name())?;
                let written = async || {
                    let written = sink.metric("pipeline_sink_records_total", "outcome=\"written\"").await;
                    Ok(written.unwrap_or_default())
                };
                let first = clock.reached(pid, 1.0, written).await?;
                let last = clock.reached(pid, world.rows as f64, written).await?;
                sink.stop().await;
                clock.sample(world.rows as f64, &first, &last)
            }
            Contender::Driver { in_flight, tables } => {
                let (_, schema) = java::schema(world, streamed.processed_topic()).await?;
                let cassandra = world.stack.cassandra();
                let (host, port) = cassandra.split_once(':').ok_or("host:port")?;
                let args = [
                    env.kafka_bootstrap().to_owned(),
                    streamed.processed_topic().to_owned(),
                    schema.display().to_string(),
                    host.to_owned(),
                    port.to_owned(),
                    env.name().to_owned(),
                    TABLES[..tables].join(","),
                    in_flight.to_string(),
                    world.rows.to_string(),
                ];
                let command = java::command(world, "DriverSink", DRIVER, "1G", args).await?;
                let name = format!("{}.driver", env.name());
                let clock = Clock::start(world)?;
                world.stack.start_service(java::lasting(&name, command), DRIVER.version).await?;
                followed(world, clock, &name).await?
            }
            Contender::Spark => {
                let spec = Job::Sink { source: streamed }.spec(world, &env).await?;
                let name = spec.name.clone();
                let clock = Clock::start(world)?;
                world.stack.start_service(spec, spark::VERSION).await?;
                followed(world, clock, &name).await?
            }
        };
        let rows = rows(&env).await?;
        if rows != world.rows {
            return Err(format!("{rows} rows in {}, not {}", TABLES[0], world.rows).into());
        }
        world.discard(env).await?;
        Ok(sample)
    }
}

/// Follows a peer, which says how many rows it has written, to its end.
async fn followed(world: &World, clock: Clock, name: &str) -> Result<Sample> {
    let pid = world.pid(name)?;
    let log = world.stack.log(name);
    let written = async || {
        world.pid(name)?;
        let text = tokio::fs::read_to_string(&log).await?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).next_back().unwrap_or_default())
    };
    let first = clock.reached(pid, 1.0, written).await?;
    let last = clock.reached(pid, world.rows as f64, written).await?;
    world.stack.kill(name).await?;
    Ok(clock.sample(world.rows as f64, &first, &last))
}

/// As config/pipeline.toml has it.
fn table(name: &&str) -> Value {
    let mut table = Table::from_iter([("name".to_owned(), Value::from(*name))]);
    if *name == TABLES[0] {
        let columns = [("source_lsn", "__lsn"), ("committed_at", "__commit_ts")];
        let columns = columns.map(|(column, field)| (column.to_owned(), Value::from(field)));
        table.insert("columns".to_owned(), Value::Table(columns.into_iter().collect()));
    }
    Value::Table(table)
}

/// Rows of the first table.
async fn rows(env: &TestEnv) -> Result<u64> {
    let session = env.cassandra().await;
    let query = format!("SELECT source_lsn FROM {}", TABLES[0]);
    let rows = session.query_iter(query, ()).await?.rows_stream::<(Option<i64>,)>()?;
    Ok(rows.try_fold(0, async |count, _| Ok(count + 1)).await?)
}

fn goal(tables: usize, metric: &'static str, peer: &'static str, bound: Bound) -> Goal {
    Goal::beside(Contender::Sink { tables }.to_string(), metric, peer, bound)
}
