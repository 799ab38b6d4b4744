//! Our own small Java programs of `bench/peers`, compiled when needed.

use std::path::PathBuf;

use local_servers::{Artifact, ServiceSpec};
use pipeline_tests::project_file;
use serde_json::Value;
use tokio::process::Command;

use crate::Result;
use crate::world::World;

/// Kafka Streams with Avro.
pub(crate) const STREAMS: Artifact = Artifact::maven(
    "kafka-streams",
    "3.9.2",
    &[
        "org.apache.kafka:kafka-streams:3.9.2",
        "org.apache.avro:avro:1.12.0",
        "org.slf4j:slf4j-reload4j:1.7.36",
    ],
);

/// Cassandra's Java driver with a Kafka consumer and Avro.
pub(crate) const DRIVER: Artifact = Artifact::maven(
    "cassandra-java-driver",
    "4.17.0",
    &[
        "com.datastax.oss:java-driver-core:4.17.0",
        "org.apache.kafka:kafka-clients:3.9.2",
        "org.apache.avro:avro:1.12.0",
        "org.slf4j:slf4j-reload4j:1.7.36",
    ],
);

const LOG4J: &str = "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
     log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
     log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n\n";

/// A process of a program; it stays as a shell when the program has ended, and has its CPU time then.
pub(crate) fn lasting(name: &str, command: impl IntoIterator<Item = String>) -> ServiceSpec {
    let mut spec = ServiceSpec::new(name, "/bin/sh");
    spec.args = ["-c", "\"$@\" || exit; exec sleep 3600", "sh"].map(Into::into).to_vec();
    spec.args.extend(command.into_iter().map(Into::into));
    spec
}

/// The command that runs a class of `bench/peers`, compiled with these libraries.
pub(crate) async fn command(
    world: &World,
    class: &str,
    libraries: Artifact,
    heap: &str,
    args: impl IntoIterator<Item = String>,
) -> Result<Vec<String>> {
    let class_path = world.class_path(libraries).await?;
    let java = local_servers::java()?;
    let folder = world.folder("peers/classes")?;
    let log4j = folder.join("log4j.properties");
    std::fs::write(&log4j, LOG4J)?;
    if !folder.join(format!("{class}.class")).exists() {
        let source = project_file(&format!("bench/peers/{class}.java"));
        let compiler = java.with_file_name("javac");
        let mut javac = Command::new(if compiler.is_file() { compiler } else { PathBuf::from("javac") });
        javac.args(["-cp", &class_path, "-d"]).arg(&folder).arg(source);
        let output = javac
            .output()
            .await
            .map_err(|error| format!("javac: {error}; Debian's package openjdk-17-jdk-headless has it"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    let mut command = vec![java.display().to_string(), format!("-Xmx{heap}"), "-XX:+UseG1GC".to_owned()];
    // Where what it leaves behind when it is killed goes with everything else.
    command.push(format!("-Djava.io.tmpdir={}", folder.display()));
    command.push(format!("-Dlog4j.configuration=file://{}", log4j.display()));
    command.extend(["-cp".to_owned(), format!("{}:{class_path}", folder.display()), class.to_owned()]);
    command.extend(args);
    Ok(command)
}

/// Writes the newest schema of a topic's values to a file; its id.
pub(crate) async fn schema(world: &World, topic: &str) -> Result<(i64, PathBuf)> {
    let url = format!("{}/subjects/{topic}-value/versions/latest", world.stack.registry_url());
    let found: Value =
        local_servers::http_client()?.get(&url).send().await?.error_for_status()?.json().await?;
    let (Some(id), Some(schema)) = (found["id"].as_i64(), found["schema"].as_str()) else {
        return Err(format!("{url} answered {found}").into());
    };
    let file = world.folder("peers")?.join(format!("{topic}.avsc"));
    std::fs::write(&file, schema)?;
    Ok((id, file))
}
