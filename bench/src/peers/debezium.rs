//! Debezium in Kafka Connect, one worker (standalone).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use local_servers::{Artifact, ServiceSpec, free_ports};
use pipeline_tests::{TestEnv, wait};
use secrecy::ExposeSecret as _;

use crate::Result;
use crate::world::World;

const LIBRARIES: Artifact = Artifact::maven(
    "debezium",
    "2.7.4",
    &[
        "io.debezium:debezium-connector-postgres:2.7.4.Final",
        "org.apache.kafka:connect-runtime:3.9.2",
        "org.apache.kafka:connect-json:3.9.2",
        "org.slf4j:slf4j-reload4j:1.7.36",
    ],
);

/// Options of the virtual machine, as Kafka's own `connect-standalone.sh` and `kafka-run-class.sh` set them.
const JVM: [&str; 9] = [
    "-Xms256M",
    "-Xmx2G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

const LOG4J: &str = "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
     log4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n\n\
     log4j.logger.io.debezium=INFO\n";

/// What differs from the defaults when tuned: the worker's, then the connector's.
const TUNED_WORKER: [(&str, &str); 3] =
    [("producer.compression.type", "lz4"), ("producer.linger.ms", "5"), ("producer.batch.size", "262144")];
const TUNED_CONNECTOR: [(&str, &str); 4] = [
    ("max.batch.size", "8192"),
    ("max.queue.size", "32768"),
    ("poll.interval.ms", "10"),
    ("snapshot.fetch.size", "10240"),
];

/// How long it may take to hold its slot.
const STREAMS_WITHIN: Duration = Duration::from_secs(90);

/// How it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// As it comes.
    Default,
    /// For throughput and latency.
    Tuned,
}

/// Whether it reads what is there already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Snapshot {
    /// All rows, at the first start.
    Initial,
    /// The table's shape only.
    NoData,
}

/// A connector on one environment.
#[derive(Debug)]
pub(crate) struct Debezium<'a> {
    world: &'a World,
    name: String,
    slot: String,
    port: u16,
    spec: ServiceSpec,
    /// Where its records go.
    pub(crate) topic: String,
}

/// The settings, for the report.
pub(crate) fn settings(tuning: Tuning) -> String {
    let mut text =
        "Debezium 2.7.4 in Connect 3.9.2 standalone, at least once, JSON without schemas, heap 2 GB"
            .to_owned();
    if tuning == Tuning::Tuned {
        for (name, value) in TUNED_CONNECTOR.iter().chain(&TUNED_WORKER) {
            let _ = write!(text, ", {name}={value}");
        }
    }
    text
}

impl<'a> Debezium<'a> {
    /// Prepares it; it does not run yet.
    pub(crate) async fn new(
        world: &'a World,
        env: &TestEnv,
        tuning: Tuning,
        snapshot: Snapshot,
    ) -> Result<Self> {
        let class_path = world.class_path(LIBRARIES).await?;
        let name = format!("{}.debezium", env.name());
        let slot = format!("{}_debezium", env.name());
        let prefix = env.name().replace('_', "-");
        let folder = world.folder(&format!("peers/{name}"))?;
        let [port] = free_ports()?;
        let bootstrap = env.kafka_bootstrap();
        let extra = |settings: &[(&str, &str)]| {
            let lines = settings.iter().filter(|_| tuning == Tuning::Tuned);
            lines.map(|(name, value)| format!("{name}={value}\n")).collect::<String>()
        };
        let worker = format!(
            "bootstrap.servers={bootstrap}\nlisteners=http://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\nkey.converter.schemas.enable=false\n\
             value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.schemas.enable=false\n\
             config.providers=env\n\
             config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n\
             offset.storage.file.filename={}\n{}",
            folder.join("offsets").display(),
            extra(&TUNED_WORKER),
        );
        let mode = match snapshot {
            Snapshot::Initial => "initial",
            Snapshot::NoData => "no_data",
        };
        let connector = format!(
            "name=bench\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\ntasks.max=1\n\
             database.hostname=127.0.0.1\ndatabase.port={}\ndatabase.user=postgres\n\
             database.password=${{env:PGPASSWORD}}\ndatabase.dbname={}\ntopic.prefix={prefix}\n\
             plugin.name=pgoutput\nslot.name={slot}\npublication.name=datastreaming\n\
             publication.autocreate.mode=disabled\ntable.include.list=public.users\nsnapshot.mode={mode}\n\
             topic.creation.default.partitions=4\ntopic.creation.default.replication.factor=1\n{}",
            world.stack.endpoints().postgres_port,
            env.name(),
            extra(&TUNED_CONNECTOR),
        );
        let write = |file: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(file);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let log4j = write("log4j.properties", LOG4J)?;
        let mut spec = ServiceSpec::new(&name, local_servers::java()?);
        spec.args = JVM.iter().map(Into::into).collect();
        spec.args.push(format!("-Dlog4j.configuration=file://{}", log4j.display()).into());
        spec.args.extend(["-cp".into(), class_path.into()]);
        spec.args.push("org.apache.kafka.connect.cli.ConnectStandalone".into());
        spec.args.push(write("worker.properties", &worker)?.into());
        spec.args.push(write("connector.properties", &connector)?.into());
        spec.env =
            vec![("PGPASSWORD".to_owned(), world.stack.config().secrets.postgres.expose_secret().into())];
        spec.directory = Some(folder);
        let topic = format!("{prefix}.public.users");
        Ok(Self { world, name, slot, port, spec, topic })
    }

    /// Starts it and does not wait for anything; its process id.
    pub(crate) async fn start(&self) -> Result<u32> {
        self.world.stack.start_service(self.spec.clone(), LIBRARIES.version).await?;
        self.world.pid(&self.name)
    }

    /// Waits until it holds its slot.
    pub(crate) async fn streams(&self, env: &TestEnv) -> Result<()> {
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
        let what = format!("Debezium streams; its log is {}", self.log().display());
        wait::until(&what, STREAMS_WITHIN, async || {
            let found: Option<bool> =
                sqlx::query_scalar(active).bind(&self.slot).fetch_optional(&env.db).await.ok()?;
            found.filter(|active| *active)
        })
        .await;
        Ok(())
    }

    /// Waits until its REST interface says that its task runs; when it did.
    pub(crate) async fn runs(&self) -> Result<Instant> {
        let client = local_servers::http_client()?;
        let url = format!("http://127.0.0.1:{}/connectors/bench/status", self.port);
        let running = wait::until("Debezium's task runs", STREAMS_WITHIN, async || {
            let status: serde_json::Value = client.get(&url).send().await.ok()?.json().await.ok()?;
            (status["tasks"][0]["state"] == "RUNNING").then(Instant::now)
        })
        .await;
        Ok(running)
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stop(&self) -> Result<()> {
        Ok(self.world.stack.stop(&self.name).await?)
    }

    fn log(&self) -> PathBuf {
        self.world.stack.log(&self.name)
    }
}
