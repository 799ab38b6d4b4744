//! ZooKeeper, from the jars that Kafka brings.

use std::time::Duration;

use super::{
    Context, create_folder,
    java::{JavaServer, class_path, file_url, property},
    write_file,
};
use crate::{
    artifacts::{self, ZOOKEEPER_VERSION},
    config::Server,
    error::Result,
    probe::Probe,
    process::ProcessSpec,
};

/// Plain text to the log file; what Kafka and ZooKeeper say in their steady state is left out.
pub(super) const LOG4J: &str = "\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
log4j.logger.kafka.server.KafkaServer=INFO
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.logger.org.apache.zookeeper.server.quorum.QuorumPeerConfig=INFO
# One line for each partition without a clean shutdown mark, after every kill:
log4j.logger.kafka.log.LogLoader=ERROR
";

pub(super) fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let folder = config.data(Server::Zookeeper.name());
    let data = folder.join("data");
    create_folder(&data)?;
    let properties = folder.join("zookeeper.properties");
    // A session of a killed broker ends after 4 ticks; `dump` shows whether it has (see Probe).
    write_file(
        &properties,
        &format!(
            "tickTime=1000\nminSessionTimeout=2000\ndataDir={data}\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n\
             4lw.commands.whitelist=srvr,dump\npreAllocSize=1024\n\
             autopurge.snapRetainCount=3\nautopurge.purgeInterval=1\n",
            data = data.display(),
            port = config.ports.zookeeper,
        ),
    )?;
    let log4j = folder.join("log4j.properties");
    write_file(&log4j, LOG4J)?;
    let mut options = vec!["-XX:+UseSerialGC".into(), property("log4j.configuration", file_url(&log4j))];
    if config.short_lived {
        // What a killed process has written stays; only a machine that fails would lose it. A disk that is busy with
        // other things would let the broker's session end.
        options.push("-Dzookeeper.forceSync=no".into());
    }
    let process = JavaServer {
        server: Server::Zookeeper,
        version: ZOOKEEPER_VERSION,
        heap_mb: 128,
        options,
        run: vec![
            "-cp".into(),
            class_path(context, &artifacts::KAFKA)?.into(),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".into(),
            properties.into(),
        ],
        env: Vec::new(),
        port: config.ports.zookeeper,
        ready: Probe::Zookeeper { port: config.ports.zookeeper },
        stop_within: Duration::from_secs(10),
    };
    Ok(vec![process.process(context)?])
}
