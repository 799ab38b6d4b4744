//! Reads `/proc`: which process is whose child, since when it runs, what it holds.
//!
//! Servers leave their process group (each PostgreSQL backend calls `setsid`, Airflow's tasks do too), so
//! a signal to "the whole server" goes to its group and to every descendant found here.
//! Formats: proc(5).

use std::{collections::BTreeSet, fs, path::Path};

use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id, also the id of the group it leads.
    pub pid: i32,
    /// When the process started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        Self::of(pid).unwrap_or(Self { pid, start_ticks: 0 })
    }

    /// The process that has this id now, `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, start_ticks: stat.start_ticks })
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.has_ended())
    }
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) threads: u32,
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// Reads one process, `None` when it is gone.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, line: &str) -> Option<Self> {
        // The command name stands in parentheses and may hold spaces and parentheses itself.
        let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let threads = fields.nth(14)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        Some(Self { pid, state, parent, group, threads, start_ticks })
    }

    /// A process is over, its ports too, when its last thread is: the first one may be a zombie long before.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == 'Z' && self.threads <= 1
    }
}

/// Whether a process has ended and waits for its parent to ask how.
pub(crate) fn is_zombie(pid: i32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.has_ended())
}

fn all() -> Vec<Stat> {
    pids().into_iter().filter_map(Stat::read).collect()
}

fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The living processes of a server: the members of its group and all their descendants, its leader first.
pub(crate) fn tree(leader: i32) -> Vec<ProcessId> {
    let stats = all();
    let mut members: BTreeSet<i32> =
        stats.iter().filter(|s| s.pid == leader || s.group == leader).map(|s| s.pid).collect();
    loop {
        let children: Vec<i32> = stats
            .iter()
            .filter(|s| members.contains(&s.parent) && !members.contains(&s.pid))
            .map(|s| s.pid)
            .collect();
        if children.is_empty() {
            break;
        }
        members.extend(children);
    }
    let mut tree: Vec<ProcessId> = stats
        .iter()
        .filter(|s| members.contains(&s.pid) && !s.has_ended())
        .map(|s| ProcessId { pid: s.pid, start_ticks: s.start_ticks })
        .collect();
    tree.sort_by_key(|p| p.pid != leader);
    tree
}

/// The command line of a process, shortened; its short name when it has none.
pub(crate) fn command_line(pid: i32) -> String {
    const LIMIT: usize = 120;
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&raw).replace('\0', " ");
    let line = line.trim();
    if line.is_empty() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return name.trim().to_owned();
    }
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// Resident memory of a server with all its descendants, in bytes.
pub(crate) fn resident_bytes(leader: i32) -> u64 {
    tree(leader).into_iter().map(|p| resident_bytes_of(p.pid)).sum()
}

fn resident_bytes_of(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The owner and the inode of each socket that listens on a port, on any local address (format:
/// `/proc/net/tcp` in proc(5)).
fn listening(port: u16) -> Vec<(u32, String)> {
    const LISTEN: &str = "0A";
    let mut sockets = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(&state), Some(uid), Some(&inode)) =
                (fields.get(1), fields.get(3), fields.get(7), fields.get(9))
            else {
                continue;
            };
            let local_port = local.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if state == LISTEN && local_port == Some(port) {
                sockets.push((uid.parse().unwrap_or(0), inode.to_owned()));
            }
        }
    }
    sockets
}

/// Says who listens on a port: `pid 123 (command)`, or why that cannot be seen.
pub(crate) fn port_holder(port: u16) -> String {
    let sockets = listening(port);
    let Some((uid, _)) = sockets.first() else { return "a connection from this machine".to_owned() };
    let wanted: Vec<String> = sockets.iter().map(|(_, inode)| format!("socket:[{inode}]")).collect();
    match pids().into_iter().find(|pid| holds_any(*pid, &wanted)) {
        Some(pid) => format!("pid {pid} ({})", command_line(pid)),
        None => format!("a process of another user or container (uid {uid})"),
    }
}

fn holds_any(pid: i32, sockets: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else { return false };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_odd_command_names() {
        let line = "42 (a) b) S 7 40 40 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1000 2"; // from proc(5): threads 1, items 0, start 987654
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.start_ticks), ('S', 7, 40, 987_654));
    }

    #[test]
    fn own_process_is_alive_and_another_start_time_is_not() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        assert!(!ProcessId { start_ticks: own.start_ticks + 1, ..own }.is_alive());
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = port_holder(listener.local_addr().unwrap().port());
        assert!(holder.starts_with(&format!("pid {} (", std::process::id())), "{holder}");
    }
}
