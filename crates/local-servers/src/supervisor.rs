//! Supervision: starts processes, waits until they answer, ends them, and keeps the state file in step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use nix::{sys::signal::Signal, unistd::Uid};
use tokio::task::JoinSet;

use crate::{
    config::StackConfig,
    error::{Error, Result},
    logs, ports,
    probe::Probe,
    process::{POLL, ProcessSpec, Running, kill_tree, wait_dead},
    procfs::{self, ProcessId},
    state::{Endpoints, Phase, StackState, lock_root, unix_seconds},
    table::{Entry, ProcessStatus, Table},
    watchdog::Watchdog,
};

/// How often a starting process is asked whether it is ready.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// How often the exit status of a dead process is asked for.
const REAP_LOOKS: u32 = 100;

/// What all handles of a stack share.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) config: StackConfig,
    started_at: u64,
    pub(crate) watchdog: Watchdog,
    table: Mutex<Table>,
    _lock: File,
}

impl Supervisor {
    /// Takes charge of a root: nobody else supervises it, and nothing of an earlier stack runs there.
    pub(crate) async fn take(config: StackConfig) -> Result<Arc<Self>> {
        let root = &config.root;
        fs::create_dir_all(root).map_err(Error::file("create", root))?;
        let lock = lock_root(root)?;
        open_root(root)?;
        if let Some(earlier) = StackState::load(root)? {
            earlier.kill_leftovers().await?;
        }
        let supervisor = Self {
            config,
            started_at: unix_seconds(),
            watchdog: Watchdog::start()?,
            table: Mutex::new(Table { phase: Phase::Starting, entries: BTreeMap::new() }),
            _lock: lock,
        };
        supervisor.save()?;
        Ok(Arc::new(supervisor))
    }

    /// All servers answer.
    pub(crate) fn all_ready(&self) -> Result<()> {
        self.table().phase = Phase::Ready;
        self.save()
    }

    /// The names of the servers' processes, without our own binaries.
    pub(crate) fn servers(&self) -> Vec<String> {
        let table = self.table();
        let servers = table.entries.values().filter(|entry| !entry.spec.is_service);
        servers.map(|entry| entry.spec.name.clone()).collect()
    }

    /// Looks at how a process does and tells the watchdog of its end.
    fn look(&self, entry: &mut Entry) {
        if let Some(pid) = entry.look() {
            forget(&self.watchdog, pid);
        }
    }

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
        self.look(entry);
        act(entry)
    }

    pub(crate) fn spec(&self, name: &str) -> Result<ProcessSpec> {
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

    async fn wait_until_met(&self, spec: &ProcessSpec, condition: &Probe) -> Result<()> {
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

    pub(crate) async fn kill(&self, name: &str) -> Result<()> {
        let Some(pid) = self.with(name, |entry| Ok(entry.running.as_ref().map(|running| running.id.pid)))?
        else {
            return Ok(());
        };
        self.end(name, kill_tree(pid)).await
    }

    pub(crate) async fn stop(&self, name: &str) -> Result<()> {
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
    async fn end(&self, name: &str, members: Vec<ProcessId>) -> Result<()> {
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

    pub(crate) fn set_paused(&self, name: &str, paused: bool) -> Result<()> {
        self.with(name, |entry| {
            let Some(running) = &mut entry.running else {
                return Err(Error::NotRunning { name: name.to_owned() });
            };
            running.signal_all(if paused { Signal::SIGSTOP } else { Signal::SIGCONT });
            running.paused = paused;
            Ok(())
        })
    }

    pub(crate) fn status(&self) -> Vec<ProcessStatus> {
        let mut table = self.table();
        let mut entries: Vec<&mut Entry> = table.entries.values_mut().collect();
        entries.sort_by_key(|entry| entry.order);
        entries
            .into_iter()
            .map(|entry| {
                self.look(entry);
                let record = entry.record();
                ProcessStatus { state: entry.state(), resident_bytes: record.resident_bytes(), record }
            })
            .collect()
    }

    /// Kills everything at once and forgets the stack.
    pub(crate) async fn kill_all(&self) -> Result<()> {
        let names: Vec<String> = self.table().entries.keys().cloned().collect();
        for name in names {
            self.kill(&name).await?;
        }
        StackState::remove(&self.config.root)
    }

    pub(crate) async fn shutdown(self: &Arc<Self>) -> Result<()> {
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
            self.look(entry);
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
            supervisor: ProcessId::own(),
            started_at: self.started_at,
            phase: table.phase,
            kraft: self.config.kraft,
            endpoints: Endpoints::of(&self.config),
            ports: self.config.ports,
            processes: entries.into_iter().map(Entry::record).collect(),
        };
        // Under the lock: two writers would share the temporary file.
        state.save()
    }
}

fn forget(watchdog: &Watchdog, pid: i32) {
    if let Err(error) = watchdog.forget(pid) {
        tracing::warn!(%error, pid, "the watchdog could not be told that a process has ended");
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
