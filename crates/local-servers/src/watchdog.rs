//! Kills the servers when the process that started them dies, `kill -9` included.
//!
//! One small shell per stack reads lines from a pipe whose only writer is this process: `+PID START` for
//! each server (its leader's id and start time), `-PID` when it was stopped. When this process ends, in
//! whatever way, the kernel closes the pipe; the shell then kills every listed server with its descendants.
//! It is a shell and not a thread because it must outlive us, and not `PR_SET_PDEATHSIG` because that one
//! is bound to the thread that forked. It leads its own group and ignores the terminal's signals.

use std::{
    io::{Error as IoError, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::{
    error::{Error, Result},
    procfs::ProcessId,
};

/// awk collects a server's processes: the leader's group and all descendants. A leader whose start time
/// differs is another process that got the same id. Stopping all of them first keeps new ones from being
/// born between the two looks.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT PIPE
servers=
while read -r op pid start; do
  kept=
  for s in $servers; do [ "${s%:*}" = "$pid" ] || kept="$kept $s"; done
  servers=$kept
  [ "$op" = + ] && servers="$servers $pid:$start"
done
members() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v servers="$servers" '
    { pid = $1; sub(/^.*\) /, ""); parent[pid] = $2; group[pid] = $3; start[pid] = $20 }
    END {
      n = split(servers, list, " ")
      for (i = 1; i <= n; i++) {
        split(list[i], server, ":")
        if (!(server[1] in start) || start[server[1]] == server[2]) root[server[1]] = 1
      }
      for (p in parent) if (p in root || group[p] in root) member[p] = 1
      do { more = 0
        for (p in parent) if (!(p in member) && parent[p] in member) { member[p] = 1; more = 1 }
      } while (more)
      for (p in member) print p
    }'
}
[ -n "$servers" ] || exit 0
for signal in STOP STOP KILL KILL; do
  found=$(members)
  [ -n "$found" ] && kill -s "$signal" $found 2>/dev/null
done
"#;

/// The watchdog of one stack.
#[derive(Debug)]
pub(crate) struct Watchdog {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts the shell.
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::process("start", "the watchdog (/bin/sh)"))?;
        let pipe = child.stdin.take();
        Ok(Self { inner: Mutex::new(Inner { child, pipe }) })
    }

    /// From now on this server dies with us.
    pub(crate) fn watch(&self, server: ProcessId) -> Result<()> {
        self.tell(&format!("+ {} {}\n", server.pid, server.start_ticks))
    }

    /// The server has ended.
    pub(crate) fn forget(&self, pid: i32) -> Result<()> {
        self.tell(&format!("- {pid}\n"))
    }

    fn tell(&self, line: &str) -> Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.pipe.as_mut() {
            Some(pipe) => pipe.write_all(line.as_bytes()).map_err(Error::process("reach", "the watchdog")),
            None => Err(Error::process("reach", "the watchdog")(IoError::other("it was closed"))),
        }
    }
}

impl Drop for Watchdog {
    /// Lets the watchdog do its work on whatever is still listed, and waits for it.
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.pipe = None;
        if let Err(error) = inner.child.wait() {
            tracing::warn!(%error, "cannot wait for the watchdog");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::procfs;

    fn spawn_group(script: &str) -> (Child, ProcessId) {
        let child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        (child, id)
    }

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn closing_the_pipe_kills_the_group_and_what_left_it() {
        let watchdog = Watchdog::start().unwrap();
        // `setsid` leaves the group as PostgreSQL's backends do.
        let (mut child, id) = spawn_group("sleep 600 & setsid sleep 600 & wait");
        wait_for("three processes", || procfs::tree(id.pid).len() == 3);
        let members = procfs::tree(id.pid);
        watchdog.watch(id).unwrap();
        drop(watchdog);
        child.wait().unwrap();
        wait_for("all are dead", || members.iter().all(|p| !p.is_alive()));
    }

    #[test]
    fn a_forgotten_or_reused_id_is_left_alone() {
        let watchdog = Watchdog::start().unwrap();
        let (mut stopped, stopped_id) = spawn_group("exec sleep 600");
        let (mut reused, reused_id) = spawn_group("exec sleep 600");
        watchdog.watch(stopped_id).unwrap();
        watchdog.forget(stopped_id.pid).unwrap();
        watchdog.watch(ProcessId { start_ticks: reused_id.start_ticks + 1, ..reused_id }).unwrap();
        drop(watchdog);
        assert!(stopped_id.is_alive() && reused_id.is_alive());
        for child in [&mut stopped, &mut reused] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
