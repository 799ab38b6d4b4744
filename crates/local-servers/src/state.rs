//! The state file: who supervises a stack and what runs in it. Other processes read it.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::{
    config::{StackConfig, write_private},
    error::{Error, Result},
    ports::Ports,
    process::{POLL, kill_tree, send, wait_dead},
    procfs::{self, ProcessId},
    servers,
};

const FILE: &str = "state.json";
const LOCK: &str = "stack.lock";

/// Where the servers of a stack are found. Those that are not part of it are named all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// PostgreSQL's port on 127.0.0.1; the superuser is `postgres`.
    pub postgres_port: u16,
    /// `host:port` for Kafka clients.
    pub kafka_bootstrap: String,
    /// `host:port` for ZooKeeper clients.
    pub zookeeper: String,
    /// Base URL of the Confluent API.
    pub registry_url: String,
    /// `host:port` for CQL clients.
    pub cassandra: String,
    /// Base URL of Airflow.
    pub airflow_url: String,
    /// Base URL of Spark's master.
    #[serde(default)]
    pub spark_url: String,
}

impl Endpoints {
    pub(crate) fn of(config: &StackConfig) -> Self {
        let local = |port: u16| format!("127.0.0.1:{port}");
        Self {
            postgres_port: config.ports.postgres,
            kafka_bootstrap: local(config.ports.kafka),
            zookeeper: local(config.ports.zookeeper),
            registry_url: servers::registry_url(config),
            cassandra: local(config.ports.cassandra),
            airflow_url: servers::airflow_url(config),
            spark_url: servers::spark_url(config),
        }
    }
}

/// How far a stack has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Some servers are not ready yet.
    Starting,
    /// All answer.
    Ready,
    /// On the way down.
    Stopping,
}

/// A process as others can see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Its name in the stack.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its leader, `None` when it does not run.
    pub process: Option<ProcessId>,
    /// The port it is known by.
    pub port: Option<u16>,
    /// Its log file.
    pub log: PathBuf,
    /// Whether it has answered since its start.
    pub ready: bool,
    /// How it ended, when it did so by itself.
    pub exit: Option<String>,
}

impl ProcessRecord {
    /// Whether it runs at this moment.
    pub fn is_alive(&self) -> bool {
        self.process.is_some_and(ProcessId::is_alive)
    }

    /// Resident memory of it and its descendants, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.process.filter(|id| id.is_alive()).map_or(0, |id| procfs::resident_bytes(id.pid))
    }
}

/// The content of the state file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackState {
    /// The stack's root.
    pub root: PathBuf,
    /// The process that started the servers and takes them with it.
    pub supervisor: ProcessId,
    /// When it was started, in seconds since 1970.
    pub started_at: u64,
    /// How far it has come.
    pub phase: Phase,
    /// Whether Kafka runs without ZooKeeper.
    pub kraft: bool,
    /// Where the servers are.
    pub endpoints: Endpoints,
    /// Every port that the servers listen on; a stack without servers of its own takes them over.
    pub ports: Ports,
    /// What was started, in the order of the starts.
    pub processes: Vec<ProcessRecord>,
}

impl StackState {
    /// The state of the stack in a root, `None` when there was none or it was shut down in good order.
    pub fn load(root: &Path) -> Result<Option<Self>> {
        let path = root.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|source| Error::Corrupt {
                path,
                what: "state file",
                source,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// Whether its supervisor is alive.
    pub fn is_running(&self) -> bool {
        self.supervisor.is_alive()
    }

    /// Asks the supervisor to shut the stack down (SIGTERM) and waits until it has ended. Past the deadline
    /// it is killed, and its servers with it.
    pub async fn terminate(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        if self.is_running() {
            send(self.supervisor.pid, Signal::SIGTERM);
        }
        while self.is_running() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        if self.is_running() {
            send(self.supervisor.pid, Signal::SIGKILL);
            wait_dead("the supervisor", &[self.supervisor]).await?;
        }
        self.kill_leftovers().await
    }

    /// Kills what still runs although its supervisor is gone. The watchdog does that within a moment; this is
    /// for the case that it was killed too.
    pub async fn kill_leftovers(&self) -> Result<()> {
        for record in self.processes.iter().filter(|record| record.is_alive()) {
            let Some(id) = record.process else { continue };
            tracing::warn!(
                name = record.name,
                pid = id.pid,
                "killing a process that outlived its supervisor"
            );
            wait_dead(&record.name, &kill_tree(id.pid)).await?;
        }
        Ok(())
    }

    pub(crate) fn save(&self) -> Result<()> {
        let path = self.root.join(FILE);
        let text = serde_json::to_vec_pretty(self).map_err(|source| Error::Corrupt {
            path: path.clone(),
            what: "state file",
            source,
        })?;
        write_private(&path, &text)
    }

    pub(crate) fn remove(root: &Path) -> Result<()> {
        let path = root.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Makes this process the only supervisor in a root, as long as the returned file is open.
pub(crate) fn lock_root(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let pid = StackState::load(root)?.map_or(0, |state| state.supervisor.pid);
            Err(Error::AlreadyRunning { root: root.to_owned(), pid })
        }
        Err(TryLockError::Error(source)) => Err(Error::file("lock", path)(source)),
    }
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(root: &Path, supervisor: ProcessId) -> StackState {
        StackState {
            root: root.to_owned(),
            supervisor,
            started_at: unix_seconds(),
            phase: Phase::Ready,
            kraft: false,
            ports: Ports::standard(),
            endpoints: Endpoints {
                postgres_port: 1,
                kafka_bootstrap: "127.0.0.1:2".into(),
                zookeeper: "127.0.0.1:3".into(),
                registry_url: "http://127.0.0.1:4".into(),
                cassandra: "127.0.0.1:5".into(),
                airflow_url: "http://127.0.0.1:6".into(),
                spark_url: "http://127.0.0.1:7".into(),
            },
            processes: Vec::new(),
        }
    }

    #[test]
    fn a_state_is_found_again_and_tells_whether_its_supervisor_lives() {
        let root = tempfile::tempdir().unwrap();
        assert!(StackState::load(root.path()).unwrap().is_none());
        let own = ProcessId::own();
        state(root.path(), own).save().unwrap();
        let loaded = StackState::load(root.path()).unwrap().unwrap();
        assert!(loaded.is_running());
        let earlier = ProcessId { start_ticks: own.start_ticks - 1, ..own };
        assert!(!state(root.path(), earlier).is_running());
        StackState::remove(root.path()).unwrap();
        assert!(StackState::load(root.path()).unwrap().is_none());
    }

    #[test]
    fn a_root_has_one_supervisor() {
        let root = tempfile::tempdir().unwrap();
        let first = lock_root(root.path()).unwrap();
        state(root.path(), ProcessId::own()).save().unwrap();
        let text = lock_root(root.path()).unwrap_err().to_string();
        assert!(text.contains(&format!("supervisor pid {}", std::process::id())), "{text}");
        drop(first);
        lock_root(root.path()).unwrap();
    }
}
