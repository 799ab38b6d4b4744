//! What can go wrong while servers are fetched, started and supervised.

use std::{io, path::PathBuf};

/// Every failure of this crate. `Display` names the thing, the value and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that must be on the machine is not there.
    #[error(
        "{program} is needed for {purpose} but was not found; install it with: apt-get install {package}"
    )]
    MissingProgram {
        /// What was looked for, with its version where one is required.
        program: String,
        /// What it is needed for.
        purpose: String,
        /// The Debian package that brings it.
        package: String,
    },
    /// A binary of this workspace is not there.
    #[error("{} does not exist; build it with: cargo build --release --workspace --bins", .0.display())]
    NotBuilt(PathBuf),
    /// A command that must end well did not.
    #[error("{what} failed: `{command}` ended with {status}; its last output:\n{output}\n{hint}")]
    Command {
        /// What the command was run for.
        what: String,
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines it printed.
        output: String,
        /// What to do about it.
        hint: String,
    },
    /// A port that a server needs is in use.
    #[error(
        "port {port} is needed by {server} but is taken by {holder}; stop that process, or use other ports"
    )]
    PortTaken {
        /// The TCP port on 127.0.0.1.
        port: u16,
        /// The server that wants it.
        server: String,
        /// Process id and command line of the holder, as far as they can be seen.
        holder: String,
    },
    /// No free port was found.
    #[error("no free TCP port on 127.0.0.1 after {attempts} attempts; stop some servers")]
    NoFreePort {
        /// How many ports were tried.
        attempts: u32,
    },
    /// A process ended before it was ready.
    #[error("{name} ended at start ({status}); the last lines of {log}:\n{tail}", log = log.display())]
    DiedAtStart {
        /// The process.
        name: String,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process did not answer its own protocol in time.
    #[error("{name} was not ready within {seconds} s ({reason}); the last lines of {log}:\n{tail}", log = log.display())]
    NotReady {
        /// The process.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// What the last probe said.
        reason: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process did not end although it was killed.
    #[error("{name} (pid {pid}) did not end within {seconds} s after SIGKILL; look for a hanging disk")]
    WontDie {
        /// The process.
        name: String,
        /// Its process id.
        pid: i32,
        /// How long was waited.
        seconds: u64,
    },
    /// A name that is not part of this stack.
    #[error("no process named `{name}` in this stack; there are: {known}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// An operation that needs a running process.
    #[error("{name} does not run; start it with restart")]
    NotRunning {
        /// The process.
        name: String,
    },
    /// The stack's root is used by another supervisor.
    #[error("a stack is already running in {root} (supervisor pid {pid}); stop it first, or use another root", root = root.display())]
    AlreadyRunning {
        /// The stack's root.
        root: PathBuf,
        /// The supervisor's process id, 0 when it has not written its state yet.
        pid: i32,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process could not be started or signalled.
    #[error("cannot {action} {name}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// The process or program.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A set-up statement was refused by PostgreSQL.
    #[error("PostgreSQL refused to {action}")]
    Postgres {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// A file of the stack holds something unexpected.
    #[error("{path} is not a valid {what}; delete it and start again", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        #[source]
        source: serde_json::Error,
    },
    /// A configuration value that cannot work.
    #[error("{0}")]
    Config(String),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Shapes an I/O error on a path, for `map_err`.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Shapes an I/O error about a process, for `map_err`.
    pub(crate) fn process(action: &'static str, name: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let name = name.into();
        move |source| Self::Process { action, name, source }
    }
}
