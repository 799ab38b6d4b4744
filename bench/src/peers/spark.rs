//! Spark Structured Streaming, `local[2]`: the jobs of `bench/peers/spark_sql.py`.

use std::path::{Path, PathBuf};

use local_servers::{Artifact, SPARK, SPARK_KAFKA, ServiceSpec};
use pipeline_tests::spark::Submission;
use pipeline_tests::{TestEnv, project_file};
use serde_json::{Value, json};

use super::java;
use crate::Result;
use crate::world::World;

/// Of Spark: the pipeline's own, so that one copy is enough.
pub(crate) const VERSION: &str = SPARK.version;

/// What it reads and writes Kafka, Avro and Cassandra with.
const CONNECTORS: Artifact = Artifact::maven(
    "spark-peer-connectors",
    VERSION,
    &[
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
        "org.apache.spark:spark-avro_2.13:4.2.0",
        "com.datastax.spark:spark-cassandra-connector_2.13:3.5.1",
    ],
);

/// What a batch has at most, where it is not to follow: one huge batch is slower.
const BATCH_OFFSETS: u64 = 100_000;

/// The same for the pipeline's own job.
const MODULE_RECORDS: &str = "100000";

/// Statements in flight of each of the two tasks: 256 together.
const CONCURRENT_WRITES: u32 = 128;

/// Rows of `users_by_id`, of what the transform makes: all of it but what only other tables have.
const COLUMNS: &[&str] = &[
    "id",
    "run_id",
    "fetched_at",
    "country",
    "country_name",
    "gender",
    "title",
    "first_name",
    "last_name",
    "full_name",
    "date_of_birth",
    "age",
    "age_band",
    "registered_at",
    "email",
    "email_domain",
    "username",
    "phone",
    "cell",
    "street",
    "city",
    "state",
    "postcode",
    "address",
    "latitude",
    "longitude",
    "timezone_offset",
    "timezone_description",
    "document_name",
    "document_value",
    "picture_large",
    "picture_medium",
    "picture_thumbnail",
    "source_lsn",
    "committed_at",
];

/// One of the jobs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job<'a> {
    /// `users.raw` to `users.processed`.
    Transform { source: &'a TestEnv },
    /// `users.processed` into `users_by_id`.
    Sink { source: &'a TestEnv },
    /// Debezium's topic through the same transform into `users_by_id`, as it comes.
    Classic { topic: &'a str },
}

/// The settings, for the report.
pub(crate) fn settings(follows: bool) -> String {
    let trigger = if follows {
        "default trigger: a batch after the other".to_owned()
    } else {
        format!("AvailableNow, maxOffsetsPerTrigger={BATCH_OFFSETS}")
    };
    format!(
        "Spark {VERSION} local[2], Structured Streaming, plain SQL, at least once, {trigger}, driver memory 2 GB; Kafka: lz4, \
         linger.ms=5, batch.size=262144; Cassandra connector 3.5.1: output.concurrent.writes={CONCURRENT_WRITES} a task, \
         batch.size.rows=1, ignoreNulls"
    )
}

/// The pipeline's own job: a driver with so many executors of one core and 1 GB below it.
pub(crate) async fn module(world: &World, executors: u8) -> Result<Submission<'static>> {
    world.fetched(SPARK).await?;
    world.fetched(SPARK_KAFKA).await?;
    let master = Some(format!("local-cluster[{executors},1,1024]"));
    Ok(Submission { master, args: vec!["--max-records", MODULE_RECORDS], ..Submission::default() })
}

/// The settings of [`module`].
pub(crate) fn module_settings(executors: u8) -> String {
    format!(
        "Spark {VERSION}, spark/users_job.py, {executors} executors of 1 core and 1 GB, exactly once, \
         maxOffsetsPerTrigger={MODULE_RECORDS}, driver memory 512 MB"
    )
}

impl Job<'_> {
    /// Its process, to write into `env`. It logs how many rows were through, a line a batch.
    pub(crate) async fn spec(self, world: &World, env: &TestEnv) -> Result<ServiceSpec> {
        let python = world.fetched(SPARK).await?.join("bin").join("python");
        let jars = jars(&world.fetched(CONNECTORS).await?.join("libs"))?;
        let name = format!("{}.spark", env.name());
        let folder = world.folder(&format!("peers/{name}"))?;
        let (part, mut settings) = self.describe(world, env).await?;
        let (host, port) = cassandra(world)?;
        settings["checkpoint"] = json!(folder.join("checkpoint"));
        settings["spark"] = json!({
            "spark.master": "local[2]",
            "spark.app.name": name,
            "spark.jars": jars,
            "spark.ui.enabled": "false",
            // Its bar is drawn into the line that says how many rows were through.
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "2g",
            "spark.local.dir": folder.join("scratch"),
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "2",
            "spark.cassandra.connection.host": host,
            "spark.cassandra.connection.port": port,
            "spark.cassandra.output.concurrent.writes": CONCURRENT_WRITES.to_string(),
            "spark.cassandra.output.batch.size.rows": "1",
            "spark.cassandra.output.ignoreNulls": "true",
        });
        let script = project_file("bench/peers/spark_sql.py");
        let command = [python.display().to_string(), script.display().to_string()];
        let command = command.into_iter().chain([part.to_owned(), settings.to_string()]);
        let mut spec = java::lasting(&name, command);
        let java = local_servers::java()?;
        if let Some(home) = std::fs::canonicalize(&java)?.ancestors().nth(2) {
            spec.env.push(("JAVA_HOME".to_owned(), home.into()));
        }
        spec.env.push(("SPARK_LOCAL_IP".to_owned(), "127.0.0.1".into()));
        spec.directory = Some(folder);
        Ok(spec)
    }

    async fn describe(self, world: &World, env: &TestEnv) -> Result<(&'static str, Value)> {
        let bootstrap = env.kafka_bootstrap();
        let source = |topic: &str| {
            json!({
                "kafka.bootstrap.servers": bootstrap,
                "subscribe": topic,
                "startingOffsets": "earliest",
                "kafka.isolation.level": "read_committed",
            })
        };
        let bounded = |topic: &str| {
            let mut source = source(topic);
            source["maxOffsetsPerTrigger"] = json!(BATCH_OFFSETS.to_string());
            source
        };
        let table = json!({"keyspace": env.name(), "table": "users_by_id"});
        Ok(match self {
            Self::Transform { source } => {
                let (_, raw) = java::schema(world, source.raw_topic()).await?;
                let (id, processed) = java::schema(world, env.processed_topic()).await?;
                let target = json!({
                    "kafka.bootstrap.servers": bootstrap,
                    "topic": env.processed_topic(),
                    "kafka.compression.type": "lz4",
                    "kafka.linger.ms": "5",
                    "kafka.batch.size": "262144",
                });
                let source = bounded(source.raw_topic());
                let settings = json!({"source": source, "target": target, "raw": raw, "processed": processed,
                                      "schema_id": id, "available_now": true});
                ("transform", settings)
            }
            Self::Sink { source } => {
                let (_, processed) = java::schema(world, source.processed_topic()).await?;
                let source = bounded(source.processed_topic());
                let settings = json!({"source": source, "target": table, "processed": processed,
                                      "columns": COLUMNS, "available_now": true});
                ("sink", settings)
            }
            Self::Classic { topic } => {
                let settings = json!({"source": source(topic), "target": table, "columns": COLUMNS,
                                      "available_now": false});
                ("classic", settings)
            }
        })
    }
}

fn cassandra(world: &World) -> Result<(String, String)> {
    let address = world.stack.cassandra();
    let (host, port) = address.split_once(':').ok_or("host:port")?;
    Ok((host.to_owned(), port.to_owned()))
}

/// All jars of a folder, as Spark takes them.
fn jars(folder: &Path) -> Result<String> {
    let files: std::io::Result<Vec<PathBuf>> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let files: Vec<String> = files?.iter().map(|file| file.display().to_string()).collect();
    Ok(files.join(","))
}
