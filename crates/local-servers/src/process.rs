//! One supervised process: started in its own group with its own log, signalled as a whole, reaped.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    error::{Error, Result},
    logs,
    probe::Probe,
    procfs::{self, ProcessId},
    user::SystemUser,
};

/// How long a process may take to vanish after SIGKILL.
const DEATH_DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition on a process is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// All it takes to start a process, again and again.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSpec {
    /// Its name in the stack.
    pub(crate) name: String,
    /// Version shown in the status.
    pub(crate) version: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
    pub(crate) env_remove: Vec<&'static str>,
    pub(crate) directory: PathBuf,
    /// Another user to run as; needs root.
    pub(crate) user: Option<SystemUser>,
    pub(crate) log: PathBuf,
    /// The port it is known by, for the status.
    pub(crate) port: Option<u16>,
    /// All ports it listens on; they must be free at start.
    pub(crate) listens: Vec<u16>,
    /// Must hold before the start: something that an earlier, killed run has left behind and that expires.
    pub(crate) precondition: Option<Probe>,
    pub(crate) ready: Probe,
    pub(crate) ready_within: Duration,
    /// Asks the leader to end; the whole server is killed after `stop_within`.
    pub(crate) stop: Signal,
    pub(crate) stop_within: Duration,
    /// One of our own binaries and not a server.
    pub(crate) is_service: bool,
    /// Names of processes that must outlive this one.
    pub(crate) needs: Vec<String>,
}

/// A started process. Nothing happens on drop: the watchdog sees to that.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: ProcessId,
    child: Child,
    /// Length of the log before this start.
    pub(crate) log_start: u64,
    pub(crate) paused: bool,
}

impl Running {
    /// Starts the process; it is not ready yet.
    pub(crate) fn spawn(spec: &ProcessSpec) -> Result<Self> {
        let (log, log_start) = logs::open(&spec.log)?;
        let stderr = log.try_clone().map_err(Error::file("open", &spec.log))?;
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&spec.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(stderr)
            .process_group(0);
        for key in &spec.env_remove {
            command.env_remove(key);
        }
        if let Some(user) = &spec.user {
            command.uid(user.uid).gid(user.gid);
        }
        let child = command.spawn().map_err(Error::process("start", &spec.name))?;
        let pid = i32::try_from(child.id()).unwrap_or(0);
        let id = ProcessId::of(pid).unwrap_or(ProcessId { pid, start_ticks: 0 });
        Ok(Self { id, child, log_start, paused: false })
    }

    /// How it ended, `None` while it runs.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Signals the leader and everything that descends from it.
    pub(crate) fn signal_all(&self, signal: Signal) {
        signal_tree(self.id.pid, signal);
    }

    /// Signals the leader only, as a user would.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        send(self.id.pid, signal);
    }
}

/// Signals a whole server. Twice, because a process may have been born between the look and the signal.
pub(crate) fn signal_tree(leader: i32, signal: Signal) {
    for _ in 0..2 {
        for process in procfs::tree(leader) {
            send(process.pid, signal);
        }
    }
}

/// Kills a whole server: frozen first, so that no child is born or adopted meanwhile. Returns who that was.
pub(crate) fn kill_tree(leader: i32) -> Vec<ProcessId> {
    signal_tree(leader, Signal::SIGSTOP);
    let members = procfs::tree(leader);
    for process in &members {
        send(process.pid, Signal::SIGKILL);
    }
    members
}

/// Sends a signal; a process that is gone already is what one wants.
pub(crate) fn send(pid: i32, signal: Signal) {
    // 0 and negative ids mean groups, among them our own.
    if pid <= 1 {
        return;
    }
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(pid, %signal, %error, "cannot signal"),
    }
}

/// Waits until none of these processes is alive.
pub(crate) async fn wait_dead(name: &str, members: &[ProcessId]) -> Result<()> {
    let deadline = Instant::now() + DEATH_DEADLINE;
    while let Some(alive) = members.iter().find(|p| p.is_alive()) {
        if Instant::now() > deadline {
            return Err(Error::WontDie {
                name: name.to_owned(),
                pid: alive.pid,
                seconds: DEATH_DEADLINE.as_secs(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
