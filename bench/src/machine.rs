//! What the numbers were measured on, and with.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// The machine and the versions of what ran.
pub(crate) fn describe() -> BTreeMap<&'static str, String> {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line =
            text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_matches([' ', '\t', ':', '"'])));
        line.unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    BTreeMap::from([
        ("cores", cores.to_string()),
        ("processor", line("/proc/cpuinfo", "model name")),
        ("memory", line("/proc/meminfo", "MemTotal")),
        ("kernel", kernel.trim().to_owned()),
        ("system", line("/etc/os-release", "PRETTY_NAME=")),
        ("load before", load.trim().to_owned()),
        ("java", version("java", "-version")),
        ("PostgreSQL", local_servers::POSTGRES.version.to_owned()),
        ("Kafka", local_servers::KAFKA.version.to_owned()),
        ("Schema Registry", format!("Apicurio {}", local_servers::REGISTRY.version)),
        ("Cassandra", local_servers::CASSANDRA.version.to_owned()),
        ("rustdatastreaming", env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

/// The first line that a program says of itself.
pub(crate) fn version(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "unknown".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}
