//! One Cassandra node, without authentication, on this machine's own address.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use super::{
    Context, create_folder,
    java::{JavaServer, class_path, file_url, libraries, property},
    write_file,
};
use crate::{
    artifacts::CASSANDRA,
    config::{CommitLogSync, Server, StackConfig},
    error::{Error, Result},
    probe::Probe,
    process::ProcessSpec,
};

const HEAP_MB: u32 = 768;

/// Packages of the JDK that Cassandra 5.0 reaches into (its `jvm17-server.options`).
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.naming.rmi/com.sun.jndi.rmi.registry",
    "jdk.unsupported/sun.misc",
];
const OPENS: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

const LOGBACK: &str = "\
<configuration>
  <appender name=\"OUT\" class=\"ch.qos.logback.core.ConsoleAppender\">
    <encoder><pattern>%date %-5level %msg \\(%logger{20}\\)%n</pattern></encoder>
  </appender>
  <root level=\"WARN\"><appender-ref ref=\"OUT\"/></root>
  <logger name=\"org.apache.cassandra.service.CassandraDaemon\" level=\"INFO\"/>
  <!-- Advice about this machine's kernel settings, at every start. -->
  <logger name=\"org.apache.cassandra.service.StartupChecks\" level=\"ERROR\"/>
</configuration>
";

pub(super) fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let folder = config.data(Server::Cassandra.name());
    create_folder(&folder)?;
    let yaml = folder.join("cassandra.yaml");
    write_file(&yaml, &settings(config, &folder))?;
    let logback = folder.join("logback.xml");
    write_file(&logback, LOGBACK)?;
    let mut options: Vec<OsString> = vec![
        format!("-Xms{HEAP_MB}m").into(),
        "-XX:+UseG1GC".into(),
        "-Xss512k".into(),
        java_agent(&libraries(context, &CASSANDRA)?)?,
        "-Djdk.attach.allowAttachSelf=true".into(),
        property("cassandra.config", file_url(&yaml)),
        property("cassandra.storagedir", &folder),
        property("logback.configurationFile", file_url(&logback)),
        // A lone node has nobody to wait for.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".into(),
        "-Dcassandra.ring_delay_ms=0".into(),
        "-Dcassandra-foreground=yes".into(),
    ];
    for (option, packages) in [("--add-exports", EXPORTS), ("--add-opens", OPENS)] {
        for package in packages {
            options.extend([option.into(), format!("{package}=ALL-UNNAMED").into()]);
        }
    }
    let server = JavaServer {
        server: Server::Cassandra,
        version: CASSANDRA.version,
        heap_mb: HEAP_MB,
        options,
        run: vec![
            "-cp".into(),
            class_path(context, &CASSANDRA)?.into(),
            "org.apache.cassandra.service.CassandraDaemon".into(),
        ],
        env: Vec::new(),
        port: config.ports.cassandra,
        ready: Probe::Cassandra { port: config.ports.cassandra },
        stop_within: Duration::from_secs(30),
    };
    Ok(vec![server.process(context)?])
}

/// Cassandra measures its memtables with the jamm agent; its version is Cassandra's choice.
fn java_agent(libraries: &Path) -> Result<OsString> {
    let entries = fs::read_dir(libraries).map_err(Error::file("list", libraries))?;
    let jamm = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")))
        .ok_or_else(|| {
            Error::Config(format!("no jamm jar in {}; delete that folder", libraries.display()))
        })?;
    let mut option = OsString::from("-javaagent:");
    option.push(jamm);
    Ok(option)
}

/// Sized for two cores and a heap below one gigabyte.
fn settings(config: &StackConfig, folder: &Path) -> String {
    // In group mode a write holds its thread until the next sync: threads and window bound the writes a second.
    let sync = match config.commit_log_sync {
        // Nothing is waited for, and more threads for requests than cores would only look for work in turns.
        CommitLogSync::Periodic => {
            "commitlog_sync: periodic\ncommitlog_sync_period: 1000ms\nconcurrent_writes: 16\n\
             native_transport_max_threads: 4\n"
        }
        CommitLogSync::Group => {
            "commitlog_sync: group\ncommitlog_sync_group_window: 5ms\nconcurrent_writes: 256\n"
        }
    };
    format!(
        "cluster_name: datastreaming\nnum_tokens: 1\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         data_file_directories: [\"{folder}/data\"]\ncommitlog_directory: \"{folder}/commitlog\"\n\
         saved_caches_directory: \"{folder}/saved_caches\"\nhints_directory: \"{folder}/hints\"\n\
         cdc_raw_directory: \"{folder}/cdc_raw\"\n{sync}\
         commitlog_segment_size: 16MiB\ncommitlog_total_space: 256MiB\n\
         seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    \
         parameters: [{{seeds: \"127.0.0.1:{storage}\"}}]\n\
         listen_address: 127.0.0.1\nstorage_port: {storage}\n\
         rpc_address: 127.0.0.1\nnative_transport_port: {native}\nstart_native_transport: true\n\
         endpoint_snitch: SimpleSnitch\nhinted_handoff_enabled: false\nauto_snapshot: false\n\
         memtable_allocation_type: heap_buffers\ndisk_optimization_strategy: ssd\n\
         concurrent_reads: 8\nconcurrent_compactors: 1\n\
         file_cache_size: 32MiB\nnetworking_cache_size: 32MiB\n",
        folder = folder.display(),
        storage = config.ports.cassandra_storage,
        native = config.ports.cassandra,
    )
}
