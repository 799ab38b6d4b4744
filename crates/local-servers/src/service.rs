//! Our own binaries under the same supervision as the servers.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    config::StackConfig,
    error::{Error, Result},
    probe::Probe,
    process::ProcessSpec,
};

/// Returns the folder of the program that runs, into which the workspace's other binaries are built, too.
///
/// # Errors
/// Fails if the operating system does not tell the path of this program.
pub fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::file("find", "this program"))?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

/// A process that is run beside the servers and stopped before them.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Its name in the stack; its log is `logs/NAME.log`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment on top of ours.
    pub env: Vec<(String, OsString)>,
    /// The folder it runs in; the stack's root when absent.
    pub directory: Option<PathBuf>,
    /// The port it is known by and that must be free at start.
    pub port: Option<u16>,
    /// It is ready when a GET of this URL is answered with 2xx; at once when absent.
    pub ready: Option<String>,
    /// How long that may take.
    pub ready_within: Duration,
    /// How long it may take to end after SIGTERM.
    pub stop_within: Duration,
}

impl ServiceSpec {
    /// A service with no arguments that is ready at once.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            port: None,
            ready: None,
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(15),
        }
    }

    /// Describes one of our binaries in the folder of [`programs`]. It is known by the port that it listens on, and
    /// ready when a GET of the URL `ready` is answered with 2xx.
    ///
    /// # Errors
    /// Fails if the binary is not built.
    pub fn built(name: &str, listen: SocketAddr, ready: String) -> Result<Self> {
        let program = programs()?.join(name);
        if !program.is_file() {
            return Err(Error::NotBuilt(program));
        }
        Ok(Self { port: Some(listen.port()), ready: Some(ready), ..Self::new(name, program) })
    }

    pub(crate) fn process(self, config: &StackConfig, version: &str, servers: Vec<String>) -> ProcessSpec {
        ProcessSpec {
            log: config.log(&self.name),
            version: version.to_owned(),
            program: self.program,
            args: self.args,
            env: self.env,
            env_remove: Vec::new(),
            directory: self.directory.unwrap_or_else(|| config.root.clone()),
            user: None,
            port: self.port,
            listens: self.port.into_iter().collect(),
            precondition: None,
            ready: self.ready.map_or(Probe::Nothing, |url| Probe::Http { url }),
            ready_within: self.ready_within,
            stop: Signal::SIGTERM,
            stop_within: self.stop_within,
            is_service: true,
            needs: servers,
            name: self.name,
        }
    }
}
