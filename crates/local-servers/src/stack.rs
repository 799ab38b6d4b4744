//! A running stack: its processes by name, to be killed, paused, restarted and stopped while others run.
//!
//! Nothing is restarted by itself. No value here belongs to an async runtime, so one stack can be shared by
//! tests that each have their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use nix::{sys::signal::Signal, unistd::Uid};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    config::StackConfig,
    error::{Error, Result},
    logs, ports,
    process::{POLL, ProcessSpec, Running, kill_tree, wait_dead},
    procfs,
    service::ServiceSpec,
    start,
    state::{Endpoints, Phase, ProcessRecord, StackState, lock_root, unix_seconds},
    watchdog::Watchdog,
};

/// How often a starting process is asked whether it is ready.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// How often the exit status of a dead process is asked for.
const REAP_LOOKS: u32 = 100;

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "how")]
pub enum ProcessState {
    /// It runs and has answered.
    Ready,
    /// It runs and has not answered yet.
    Starting,
    /// It was paused.
    Paused,
    /// It was stopped or killed through the stack.
    Stopped,
    /// It ended by itself.
    Exited(String),
}

/// A process and how it does.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    /// What is known of it.
    #[serde(flatten)]
    pub record: ProcessRecord,
    /// What it is doing.
    #[serde(flatten)]
    pub state: ProcessState,
    /// Resident memory of it and its descendants, in bytes.
    pub resident_bytes: u64,
}

/// A set of running servers and services. Dropped without [`Stack::shutdown`], all are killed.
#[derive(Clone, Debug)]
pub struct Stack {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: StackConfig,
    started_at: u64,
    pub(crate) watchdog: Watchdog,
    table: Mutex<Table>,
    _lock: File,
}

#[derive(Debug)]
struct Table {
    phase: Phase,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    spec: ProcessSpec,
    running: Option<Running>,
    ready: bool,
    /// How it ended, when it did so by itself.
    exit: Option<String>,
    /// Position in the order of the first starts.
    order: usize,
}

impl Entry {
    /// Notices the end of the process.
    fn look(&mut self, watchdog: &Watchdog) {
        let Some(running) = &mut self.running else { return };
        let Some(status) = running.exit() else { return };
        forget(watchdog, running.id.pid);
        self.running = None;
        self.ready = false;
        self.exit = Some(status.to_string());
    }

    fn record(&self) -> ProcessRecord {
        ProcessRecord {
            name: self.spec.name.clone(),
            version: self.spec.version.clone(),
            process: self.running.as_ref().map(|running| running.id),
            port: self.spec.port,
            log: self.spec.log.clone(),
            ready: self.ready,
            exit: self.exit.clone(),
        }
    }

    fn state(&self) -> ProcessState {
        match (&self.running, &self.exit) {
            (Some(running), _) if running.paused => ProcessState::Paused,
            (Some(_), _) if self.ready => ProcessState::Ready,
            (Some(_), _) => ProcessState::Starting,
            (None, Some(how)) => ProcessState::Exited(how.clone()),
            (None, None) => ProcessState::Stopped,
        }
    }
}

fn forget(watchdog: &Watchdog, pid: i32) {
    if let Err(error) = watchdog.forget(pid) {
        tracing::warn!(%error, pid, "the watchdog could not be told that a process has ended");
    }
}

impl Stack {
    /// Fetches what is missing and starts all servers, side by side where they do not need one another.
    /// Returns when every one answers its own protocol. On any failure all are killed.
    ///
    /// # Errors
    /// Another supervisor in this root, a taken port, a missing program, a failed download, or a server that
    /// ended or did not answer, with the last lines of its log.
    pub async fn start(config: StackConfig) -> Result<Self> {
        let root = config.root.clone();
        fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
        let lock = lock_root(&root)?;
        open_root(&root)?;
        if let Some(earlier) = StackState::load(&root)? {
            earlier.kill_leftovers().await?;
        }
        let inner = Arc::new(Inner {
            config,
            started_at: unix_seconds(),
            watchdog: Watchdog::start()?,
            table: Mutex::new(Table { phase: Phase::Starting, entries: BTreeMap::new() }),
            _lock: lock,
        });
        inner.save()?;
        start::servers(&inner).await?;
        inner.table().phase = Phase::Ready;
        inner.save()?;
        Ok(Self { inner })
    }

    /// Starts one of our own binaries under the same supervision and waits until it is ready.
    pub async fn start_service(&self, spec: ServiceSpec, version: &str) -> Result<()> {
        // Services come and go without regard to one another; each is stopped before every server.
        let needs = {
            let table = self.inner.table();
            let servers = table.entries.values().filter(|entry| !entry.spec.is_service);
            servers.map(|entry| entry.spec.name.clone()).collect()
        };
        self.inner.start(spec.process(&self.inner.config, version, needs)).await
    }

    /// Kills a process with SIGKILL, all its descendants too, and waits until they are gone.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.inner.kill(name).await
    }

    /// Freezes a process with its descendants (SIGSTOP).
    pub fn pause(&self, name: &str) -> Result<()> {
        self.inner.set_paused(name, true)
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self, name: &str) -> Result<()> {
        self.inner.set_paused(name, false)
    }

    /// Stops a process in good order, by force after its deadline.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.inner.stop(name).await
    }

    /// Stops a process if it runs, starts it again and waits until it is ready.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let spec = self.inner.spec(name)?;
        self.inner.stop(name).await?;
        self.inner.start(spec).await
    }

    /// Every process that was started, in that order.
    pub fn status(&self) -> Vec<ProcessStatus> {
        self.inner.status()
    }

    /// The processes that have ended by themselves, and how.
    pub fn exited(&self) -> Vec<(String, String)> {
        let ended = |status: ProcessStatus| match status.state {
            ProcessState::Exited(how) => Some((status.record.name, how)),
            ProcessState::Ready | ProcessState::Starting | ProcessState::Paused | ProcessState::Stopped => {
                None
            }
        };
        self.status().into_iter().filter_map(ended).collect()
    }

    /// Stops everything: first what others do not need. Clean afterwards: the state file is gone.
    pub async fn shutdown(&self) -> Result<()> {
        self.inner.shutdown().await
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &StackConfig {
        &self.inner.config
    }

    /// Where the servers are.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints::of(&self.inner.config)
    }

    /// `host:port` for Kafka clients.
    pub fn kafka_bootstrap(&self) -> String {
        self.endpoints().kafka_bootstrap
    }

    /// Base URL of the Schema Registry's Confluent API.
    pub fn registry_url(&self) -> String {
        self.endpoints().registry_url
    }

    /// `host:port` for CQL clients.
    pub fn cassandra(&self) -> String {
        self.endpoints().cassandra
    }

    /// Base URL of Airflow.
    pub fn airflow_url(&self) -> String {
        self.endpoints().airflow_url
    }

    /// URL of a database, with the superuser's password.
    pub fn postgres_url(&self, database: &str) -> SecretString {
        let password = self.inner.config.secrets.postgres.expose_secret();
        let port = self.inner.config.ports.postgres;
        format!("postgres://{}:{password}@127.0.0.1:{port}/{database}", crate::servers::SUPERUSER).into()
    }

    /// The log file of a process.
    pub fn log(&self, name: &str) -> std::path::PathBuf {
        self.inner.config.log(name)
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` on a process after looking at how it does.
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Entry) -> Result<T>) -> Result<T> {
        let mut table = self.table();
        if !table.entries.contains_key(name) {
            let known: Vec<&str> = table.entries.keys().map(String::as_str).collect();
            return Err(Error::UnknownName { name: name.to_owned(), known: known.join(", ") });
        }
        let Some(entry) = table.entries.get_mut(name) else {
            return Err(Error::NotRunning { name: name.to_owned() });
        };
        entry.look(&self.watchdog);
        act(entry)
    }

    fn spec(&self, name: &str) -> Result<ProcessSpec> {
        self.with(name, |entry| Ok(entry.spec.clone()))
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn start(&self, spec: ProcessSpec) -> Result<()> {
        for port in &spec.listens {
            ports::ensure_free(*port, &spec.name).await?;
        }
        if let Some(condition) = &spec.precondition {
            self.wait_until_met(&spec, condition).await?;
        }
        let name = spec.name.clone();
        let started = SystemTime::now();
        let log_start = self.spawn(spec.clone())?;
        self.save()?;
        match self.wait_ready(&spec, started, log_start).await {
            Ok(()) => {
                self.with(&name, |entry| {
                    entry.ready = true;
                    Ok(())
                })?;
                self.save()
            }
            Err(error) => {
                self.kill(&name).await?;
                Err(error)
            }
        }
    }

    async fn wait_until_met(&self, spec: &ProcessSpec, condition: &crate::probe::Probe) -> Result<()> {
        let began = Instant::now();
        while let Err(reason) = condition.ask(SystemTime::now()).await {
            if began.elapsed() > spec.ready_within {
                return Err(Error::NotReady {
                    name: spec.name.clone(),
                    seconds: spec.ready_within.as_secs(),
                    reason,
                    log: spec.log.clone(),
                    tail: "(not started yet)".to_owned(),
                });
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        Ok(())
    }

    /// Starts the process and writes it down at once: from here on it cannot be lost.
    fn spawn(&self, spec: ProcessSpec) -> Result<u64> {
        let mut table = self.table();
        let order = table.entries.get(&spec.name).map_or(table.entries.len(), |entry| entry.order);
        let running = Running::spawn(&spec)?;
        let log_start = running.log_start;
        self.watchdog.watch(running.id)?;
        let name = spec.name.clone();
        table.entries.insert(name, Entry { spec, running: Some(running), ready: false, exit: None, order });
        Ok(log_start)
    }

    async fn wait_ready(&self, spec: &ProcessSpec, started: SystemTime, log_start: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let exit = self.with(&spec.name, |entry| {
                Ok(entry.exit.clone().or_else(|| entry.running.is_none().then(|| "stopped".to_owned())))
            })?;
            if let Some(status) = exit {
                return Err(Error::DiedAtStart {
                    name: spec.name.clone(),
                    status,
                    log: spec.log.clone(),
                    tail: logs::tail(&spec.log, log_start),
                });
            }
            let Err(reason) = spec.ready.ask(started).await else { return Ok(()) };
            if began.elapsed() > spec.ready_within {
                return Err(Error::NotReady {
                    name: spec.name.clone(),
                    seconds: spec.ready_within.as_secs(),
                    reason,
                    log: spec.log.clone(),
                    tail: logs::tail(&spec.log, log_start),
                });
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    async fn kill(&self, name: &str) -> Result<()> {
        let Some(pid) = self.with(name, |entry| Ok(entry.running.as_ref().map(|running| running.id.pid)))?
        else {
            return Ok(());
        };
        self.end(name, kill_tree(pid)).await
    }

    async fn stop(&self, name: &str) -> Result<()> {
        let asked = self.with(name, |entry| {
            let Some(running) = &mut entry.running else { return Ok(None) };
            let members = procfs::tree(running.id.pid);
            running.signal_leader(entry.spec.stop);
            // A frozen process does not hear it.
            running.signal_all(Signal::SIGCONT);
            Ok(Some((running.id, members, entry.spec.stop_within)))
        })?;
        let Some((leader, mut members, within)) = asked else { return Ok(()) };
        let deadline = Instant::now() + within;
        while leader.is_alive() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        if leader.is_alive() {
            tracing::warn!(name, seconds = within.as_secs(), "did not stop in time, killing it");
        }
        members.extend(kill_tree(leader.pid));
        for left in members.iter().filter(|member| member.is_alive()) {
            kill_tree(left.pid);
        }
        self.end(name, members).await
    }

    /// Waits for the end of processes that were killed, reaps their leader and writes it down.
    async fn end(&self, name: &str, members: Vec<procfs::ProcessId>) -> Result<()> {
        wait_dead(name, &members).await?;
        // Its death is ours to acknowledge; it follows that of its last thread at once.
        for _ in 0..REAP_LOOKS {
            if !self.with(name, |entry| Ok(entry.running.is_some()))? {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        self.with(name, |entry| {
            if let Some(running) = entry.running.take() {
                forget(&self.watchdog, running.id.pid);
            }
            entry.ready = false;
            entry.exit = None;
            Ok(())
        })?;
        self.save()
    }

    fn set_paused(&self, name: &str, paused: bool) -> Result<()> {
        self.with(name, |entry| {
            let Some(running) = &mut entry.running else {
                return Err(Error::NotRunning { name: name.to_owned() });
            };
            running.signal_all(if paused { Signal::SIGSTOP } else { Signal::SIGCONT });
            running.paused = paused;
            Ok(())
        })
    }

    fn status(&self) -> Vec<ProcessStatus> {
        let mut table = self.table();
        let mut entries: Vec<&mut Entry> = table.entries.values_mut().collect();
        entries.sort_by_key(|entry| entry.order);
        entries
            .into_iter()
            .map(|entry| {
                entry.look(&self.watchdog);
                let record = entry.record();
                ProcessStatus { state: entry.state(), resident_bytes: record.resident_bytes(), record }
            })
            .collect()
    }

    async fn shutdown(self: &Arc<Self>) -> Result<()> {
        self.table().phase = Phase::Stopping;
        self.save()?;
        loop {
            let (running, needed) = self.running_and_needed();
            // A circle of needs cannot be built; were there one, all in it would stop at once.
            let free: BTreeSet<String> = running.difference(&needed).cloned().collect();
            let next = if free.is_empty() { running } else { free };
            if next.is_empty() {
                break;
            }
            let mut stops = JoinSet::new();
            for name in next {
                let stack = Arc::clone(self);
                stops.spawn(async move { stack.stop(&name).await });
            }
            while let Some(stopped) = stops.join_next().await {
                stopped.map_err(|error| Error::Config(format!("a stop was cut short: {error}")))??;
            }
        }
        StackState::remove(&self.config.root)
    }

    fn running_and_needed(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut table = self.table();
        let mut running = BTreeSet::new();
        let mut needed = BTreeSet::new();
        for entry in table.entries.values_mut() {
            entry.look(&self.watchdog);
            if entry.running.is_some() {
                running.insert(entry.spec.name.clone());
                needed.extend(entry.spec.needs.iter().cloned());
            }
        }
        (running, needed)
    }

    /// Writes the state file.
    fn save(&self) -> Result<()> {
        let table = self.table();
        let mut entries: Vec<&Entry> = table.entries.values().collect();
        entries.sort_by_key(|entry| entry.order);
        let state = StackState {
            root: self.config.root.clone(),
            supervisor: procfs::ProcessId::own(),
            started_at: self.started_at,
            phase: table.phase,
            kraft: self.config.kraft,
            endpoints: Endpoints::of(&self.config),
            processes: entries.into_iter().map(Entry::record).collect(),
        };
        // Under the lock: two writers would share the temporary file.
        state.save()
    }
}

/// Under root, PostgreSQL's user must get through the root to its data; what is secret has its own mode.
fn open_root(root: &Path) -> Result<()> {
    let meta = fs::metadata(root).map_err(Error::file("read", root))?;
    if Uid::effective().is_root() && meta.uid() == 0 {
        let mode = meta.permissions().mode() | 0o011;
        fs::set_permissions(root, Permissions::from_mode(mode))
            .map_err(Error::file("set the mode of", root))?;
    }
    Ok(())
}
