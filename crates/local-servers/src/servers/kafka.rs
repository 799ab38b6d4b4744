//! One Kafka broker: with ZooKeeper, or as its own controller (KRaft).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Context, create_folder,
    java::{JavaServer, class_path, file_url, property},
    write_file,
    zookeeper::LOG4J,
};
use crate::{
    artifacts::{self, Artifact, KAFKA, KAFKA_KRAFT},
    config::{Server, StackConfig},
    error::Result,
    job::Job,
    probe::Probe,
    process::ProcessSpec,
};

const HEAP_MB: u32 = 512;

/// Where a broker with this id stands in ZooKeeper as long as its session lives.
const BROKER_NODE: &str = "/brokers/ids/0";
/// Any base64 of 16 bytes does; it only has to stay the same.
const KRAFT_CLUSTER: &str = "cnVzdC1kYXRhc3RyZWFtMA";

pub(super) async fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let folder = config.data(Server::Kafka.name());
    let logs = folder.join(if config.kraft { "kraft" } else { "zookeeper" });
    create_folder(&logs)?;
    let properties = folder.join("server.properties");
    write_file(&properties, &settings(config, &logs))?;
    let log4j = folder.join("log4j.properties");
    write_file(&log4j, LOG4J)?;
    if config.kraft && !logs.join("meta.properties").exists() {
        format_storage(context, &folder, &properties).await?;
    }
    let server = JavaServer {
        server: Server::Kafka,
        version: programs(config).version,
        heap_mb: HEAP_MB,
        // On two cores a pause of G1 is 12 ms for the few megabytes that live, twice as long, and a heap that starts
        // small has one every two seconds.
        options: vec![
            format!("-Xms{HEAP_MB}m").into(),
            "-XX:+UseParallelGC".into(),
            property("log4j.configuration", file_url(&log4j)),
        ],
        run: vec![
            "-cp".into(),
            class_path(context, &programs(config))?.into(),
            "kafka.Kafka".into(),
            properties.into(),
        ],
        env: Vec::new(),
        port: config.ports.kafka,
        ready: Probe::Kafka { port: config.ports.kafka },
        stop_within: Duration::from_secs(30),
    };
    let mut process = server.process(context)?;
    if !config.kraft {
        // A new broker refuses to start as long as a killed one is still registered.
        process.precondition =
            Some(Probe::ZookeeperNodeGone { port: config.ports.zookeeper, path: BROKER_NODE });
    }
    Ok(vec![process])
}

fn programs(config: &StackConfig) -> Artifact {
    if config.kraft { KAFKA_KRAFT } else { KAFKA }
}

/// Settings for one broker: internal topics with one replica and few partitions, nothing created by accident,
/// consumer groups that form at once and may notice a dead member early.
fn settings(config: &StackConfig, logs: &Path) -> String {
    let ports = &config.ports;
    let (outside, outside_advertised) = config.kafka_outside.map_or_else(Default::default, |outside| {
        let listener = |port| format!(",OUTSIDE://127.0.0.1:{port}");
        (listener(outside.listen), listener(outside.advertised))
    });
    let mode = if config.kraft {
        format!(
            "process.roles=broker,controller\nnode.id=0\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters=0@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{outside},CONTROLLER://127.0.0.1:{controller}\n",
            controller = ports.kafka_controller,
            port = ports.kafka,
        )
    } else {
        format!(
            "broker.id=0\nzookeeper.connect=127.0.0.1:{}\nzookeeper.session.timeout.ms=4000\n\
             listeners=PLAINTEXT://127.0.0.1:{}{outside}\n",
            ports.zookeeper, ports.kafka,
        )
    };
    format!(
        "{mode}advertised.listeners=PLAINTEXT://127.0.0.1:{port}{outside_advertised}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\nlog.dirs={logs}\n\
         auto.create.topics.enable=false\ndefault.replication.factor=1\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=8\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=8\n\
         group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
         num.network.threads=2\nnum.io.threads=4\nlog.cleaner.dedupe.buffer.size=33554432\n",
        port = ports.kafka,
        logs = logs.display(),
    )
}

/// Writes the first metadata of a KRaft log folder.
async fn format_storage(context: &Context<'_>, folder: &Path, properties: &Path) -> Result<()> {
    context.step.say("formatting the log folder");
    let class_path: PathBuf = class_path(context, &programs(context.config))?;
    let job = Job {
        what: "formatting Kafka's log folder".to_owned(),
        program: artifacts::java()?,
        args: [
            "-XX:TieredStopAtLevel=1".into(),
            "-cp".into(),
            class_path.into_os_string(),
            "kafka.tools.StorageTool".into(),
            "format".into(),
            "--cluster-id".into(),
            KRAFT_CLUSTER.into(),
            "--config".into(),
            properties.as_os_str().to_owned(),
        ]
        .to_vec(),
        env: Vec::new(),
        directory: folder.to_owned(),
        user: None,
        log: context.config.log("kafka-format"),
        hint: format!("delete {} and start again", folder.display()),
        within: Duration::from_secs(120),
    };
    job.run(context.watchdog, || {}).await
}
