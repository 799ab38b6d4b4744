//! The whole pipeline on this machine: servers and services as local processes.
//!
//! `pipeline up` ([`up`]) starts a supervisor in the background ([`supervise`]) and returns when it has everything
//! ready; `pipeline down` ([`down`]) ends it. All of it is below one folder, the [`Root`]: data, logs, secrets and a
//! [`Manifest`] that says how it was started, so that the other commands need no options.

pub mod down;
pub(crate) mod purge;
pub(crate) mod secrets;
pub(crate) mod services;
mod source;
mod spark;
mod stack;
mod stdio;
mod steps;
pub mod supervise;
pub mod up;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use service::cli::CommonArgs;
use service::config::{Config, DEFAULT_FILE};

pub(crate) use secrets::Secrets;
pub use source::Source;

/// Overlay that is read after [`DEFAULT_FILE`] when no file is named.
const LOCAL_FILE: &str = "config/local.toml";

/// What is wrong with the files of a local stack, or with what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file can't be read or written.
    #[error("can't {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The manifest is not what this release writes.
    #[error("{} is not a manifest of this release; stop the stack with `pipeline down`", path.display())]
    Manifest {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The module for Spark is missing.
    #[error("{} does not exist; build it with: cargo build --release --workspace --bins --lib", .0.display())]
    NoModule(PathBuf),
    /// The stack runs with another source than the one that was asked for.
    #[error("the stack in {} runs with {running} profiles; stop it with `pipeline down` to start it with {wanted} ones", root.display())]
    OtherSource {
        /// The stack's root.
        root: PathBuf,
        /// What it runs with.
        running: Source,
        /// What was asked for.
        wanted: Source,
    },
    /// The stack runs with the other engine than the one that was asked for.
    #[error(
        "the stack in {} transforms with {}, and only one engine may: stop it with `pipeline down` first",
        root.display(), engine(*spark)
    )]
    OtherEngine {
        /// The stack's root.
        root: PathBuf,
        /// Whether Spark is what it runs with.
        spark: bool,
    },
    /// Another `pipeline up` is not done yet.
    #[error("the stack in {} is being started or stopped by process {pid}; wait, or stop it with `pipeline down`", root.display())]
    Busy {
        /// The stack's root.
        root: PathBuf,
        /// The supervisor.
        pid: i32,
    },
    /// The supervisor gave up, with its own report.
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C while it was starting.
    #[error("interrupted; nothing runs")]
    Interrupted,
    /// The supervisor ended without a report.
    #[error("the supervisor ended without a word; see {}", .0.display())]
    Vanished(PathBuf),
}

impl LocalError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// What transforms, for people.
const fn engine(spark: bool) -> &'static str {
    if spark { "Spark" } else { "the stream-processor" }
}

/// The folder of a local stack.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
}

/// How a stack was started. It is there while the stack runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Configuration files, absolute, later ones winning.
    pub config: Vec<PathBuf>,
    /// Where the profiles come from.
    pub source: Source,
    /// Why from there.
    pub reason: String,
    /// Whether Spark's job runs in place of the stream-processor.
    #[serde(default)]
    pub spark: bool,
}

impl Root {
    /// The folder, which need not exist.
    ///
    /// # Errors
    /// The working directory can't be read.
    pub fn new(path: &Path) -> Result<Self, LocalError> {
        Ok(Self { path: std::path::absolute(path).map_err(LocalError::file("find", path))? })
    }

    /// Absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Log of the supervisor.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("logs/supervisor.log")
    }

    /// Passwords and tokens, one variable a line.
    #[must_use]
    pub fn secrets_file(&self) -> PathBuf {
        self.path.join("secrets.env")
    }

    fn manifest_file(&self) -> PathBuf {
        self.path.join("pipeline.json")
    }

    /// How the stack was started; `None` if it does not run.
    ///
    /// # Errors
    /// The file can't be read or is of another release.
    pub fn manifest(&self) -> Result<Option<Manifest>, LocalError> {
        let path = self.manifest_file();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| LocalError::Manifest { path, source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LocalError::file("read", &path)(error)),
        }
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), LocalError> {
        let path = self.manifest_file();
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|source| LocalError::Manifest { path: path.clone(), source })?;
        fs::write(&path, text).map_err(LocalError::file("write", &path))
    }

    fn remove_manifest(&self) -> Result<(), LocalError> {
        let path = self.manifest_file();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(LocalError::file("remove", &path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The configuration that goes with the stack if it runs and no other files are named, else that of the
    /// arguments.
    ///
    /// # Errors
    /// As of [`Config::load`], or a file of the root that can't be read.
    pub fn configuration(&self, args: &CommonArgs) -> Result<Config, service::BoxError> {
        let manifest = self.manifest()?;
        match manifest {
            Some(manifest) if args.config.is_empty() || absolute(&args.config)? == manifest.config => {
                let config = Config::from_files(&manifest.config)?;
                Ok(match Secrets::load(self)? {
                    Some(secrets) => config.or_variables(secrets.variables()),
                    None => config,
                })
            }
            Some(_) | None => Ok(Config::load(args)?),
        }
    }
}

/// The files that `pipeline up` reads.
fn files(args: &CommonArgs) -> Result<Vec<PathBuf>, LocalError> {
    if args.config.is_empty() {
        absolute(&[DEFAULT_FILE.into(), LOCAL_FILE.into()])
    } else {
        absolute(&args.config)
    }
}

fn absolute(files: &[PathBuf]) -> Result<Vec<PathBuf>, LocalError> {
    files.iter().map(|file| std::path::absolute(file).map_err(LocalError::file("find", file))).collect()
}
