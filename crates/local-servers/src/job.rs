//! A command that is run to its end: a download, `initdb`, a migration. Bounded in time, killed with us.

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    error::{Error, Result},
    logs,
    probe::Probe,
    process::{POLL, ProcessSpec, Running, kill_tree},
    procfs::ProcessId,
    user::SystemUser,
    watchdog::Watchdog,
};

/// One command to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What it is run for, as in "WHAT failed".
    pub(crate) what: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
    pub(crate) directory: PathBuf,
    pub(crate) user: Option<SystemUser>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// What a person should do if it fails.
    pub(crate) hint: String,
    pub(crate) within: Duration,
}

/// Kills the command when its future is dropped.
struct KillOnDrop<'a> {
    id: ProcessId,
    watchdog: &'a Watchdog,
    ended: bool,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        if !self.ended {
            kill_tree(self.id.pid);
        }
        if let Err(error) = self.watchdog.forget(self.id.pid) {
            tracing::debug!(%error, "the watchdog is gone");
        }
    }
}

impl Job {
    /// Runs the command; `tick` is called about twice a second meanwhile.
    pub(crate) async fn run(&self, watchdog: &Watchdog, mut tick: impl FnMut() + Send) -> Result<()> {
        let started = Instant::now();
        let mut running = Running::spawn(&self.process())?;
        let mut guard = KillOnDrop { id: running.id, watchdog, ended: false };
        watchdog.watch(running.id)?;
        let mut ticked = started;
        let status = loop {
            if let Some(status) = running.exit() {
                guard.ended = true;
                if status.success() {
                    return Ok(());
                }
                break status.to_string();
            }
            if started.elapsed() > self.within {
                break format!("no end after {} s", self.within.as_secs());
            }
            if ticked.elapsed() > Duration::from_millis(500) {
                ticked = Instant::now();
                tick();
            }
            tokio::time::sleep(POLL).await;
        };
        Err(Error::Command {
            what: self.what.clone(),
            command: self.command_line(),
            status,
            output: logs::tail(&self.log, running.log_start),
            hint: format!("{}; the whole output is in {}", self.hint, self.log.display()),
        })
    }

    fn command_line(&self) -> String {
        let mut line = self.program.display().to_string();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }

    fn process(&self) -> ProcessSpec {
        ProcessSpec {
            name: self.what.clone(),
            version: String::new(),
            program: self.program.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            env_remove: Vec::new(),
            directory: self.directory.clone(),
            user: self.user.clone(),
            log: self.log.clone(),
            port: None,
            listens: Vec::new(),
            precondition: None,
            ready: Probe::Nothing,
            ready_within: self.within,
            stop: Signal::SIGTERM,
            stop_within: Duration::ZERO,
            is_service: false,
            needs: Vec::new(),
        }
    }
}
