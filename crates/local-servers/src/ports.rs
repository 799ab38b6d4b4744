//! The TCP ports of a stack, all on 127.0.0.1.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    process::POLL,
    procfs,
};

/// One port per listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// PostgreSQL.
    pub postgres: u16,
    /// ZooKeeper's clients.
    pub zookeeper: u16,
    /// Kafka's clients.
    pub kafka: u16,
    /// Kafka's controller quorum, in KRaft mode only.
    pub kafka_controller: u16,
    /// Schema Registry (HTTP).
    pub registry: u16,
    /// Cassandra's CQL clients.
    pub cassandra: u16,
    /// Cassandra's own traffic between nodes.
    pub cassandra_storage: u16,
    /// Airflow's API and pages (HTTP).
    pub airflow: u16,
    /// Spark's master, for workers and drivers.
    pub spark_master: u16,
    /// Its pages (HTTP).
    pub spark_ui: u16,
    /// The pages of its workers (HTTP).
    pub spark_workers: [u16; 2],
}

impl Ports {
    /// The ports everyone knows these servers by.
    pub fn standard() -> Self {
        Self {
            postgres: 5432,
            zookeeper: 2181,
            kafka: 9092,
            kafka_controller: 9093,
            registry: 8081,
            cassandra: 9042,
            cassandra_storage: 7000,
            airflow: 8080,
            spark_master: 7077,
            spark_ui: 9090,
            spark_workers: [9094, 9095],
        }
    }

    /// Ports that are free now.
    pub fn free() -> Result<Self> {
        let [
            postgres,
            zookeeper,
            kafka,
            kafka_controller,
            registry,
            cassandra,
            cassandra_storage,
            airflow,
            spark_master,
            spark_ui,
            spark_workers @ ..,
        ]: [u16; 12] = free_ports()?;
        Ok(Self {
            postgres,
            zookeeper,
            kafka,
            kafka_controller,
            registry,
            cassandra,
            cassandra_storage,
            airflow,
            spark_master,
            spark_ui,
            spark_workers,
        })
    }
}

/// Finds free ports, all different. They are chosen at random below the range that the kernel gives to
/// outgoing connections (32768 and up by default), so that nothing takes one by chance before its server
/// listens, and two processes that choose at the same time hardly meet.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    const ATTEMPTS: u32 = 2000;
    let mut rng = rand::rng();
    let mut held = Vec::with_capacity(N);
    for _ in 0..ATTEMPTS {
        if held.len() == N {
            break;
        }
        let port = rng.random_range(20_000..32_000);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| Error::NoFreePort { attempts: ATTEMPTS })
}

/// Checks that nobody listens on a port. Looks again for a moment: a process that was just forked holds a copy of
/// its parent's sockets until it runs its own program.
pub(crate) async fn ensure_free(port: u16, server: &str) -> Result<()> {
    const LOOKS: u32 = 20;
    for _ in 0..LOOKS {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(POLL).await,
            Err(error) => return Err(Error::process("open a port for", format!("{server} ({port})"))(error)),
        }
    }
    Err(Error::PortTaken { port, server: server.to_owned(), holder: procfs::port_holder(port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn free_ports_differ_and_can_be_taken() {
        let ports: [u16; 8] = free_ports().unwrap();
        let distinct: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        assert_eq!(distinct.len(), ports.len());
        ensure_free(ports[0], "a server").await.unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_names_port_server_and_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = ensure_free(port, "kafka").await.unwrap_err().to_string();
        let expected = format!("port {port} is needed by kafka but is taken by pid {} (", std::process::id());
        assert!(text.starts_with(&expected), "{text}");
    }
}
