use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RootError;
use super::source::Source;

/// Names the folder of a stack on this machine.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
}

/// Says how a stack was started. It is in the [`Root`] while the stack runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Lists the configuration files by absolute path; later ones win.
    pub config: Vec<PathBuf>,
    /// Says where the profiles come from.
    pub source: Source,
    /// Says why they come from there.
    pub reason: String,
    /// Set if Spark's job runs in place of the stream-processor.
    #[serde(default)]
    pub spark: bool,
}

impl Root {
    /// Takes a folder, which need not exist.
    ///
    /// # Errors
    /// Fails if the path is relative and the working directory can't be read.
    pub fn new(path: &Path) -> Result<Self, RootError> {
        Ok(Self { path: std::path::absolute(path).map_err(RootError::file("find", path))? })
    }

    /// Returns the folder as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the supervisor's log.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("logs/supervisor.log")
    }

    /// Returns the path of the passwords and tokens, which the file has as one variable a line.
    #[must_use]
    pub fn secrets_file(&self) -> PathBuf {
        self.path.join("secrets.env")
    }

    fn manifest_file(&self) -> PathBuf {
        self.path.join("pipeline.json")
    }

    /// Reads how the stack was started. Returns `None` if it does not run.
    ///
    /// # Errors
    /// Fails if the manifest can't be read or is of another release.
    pub fn manifest(&self) -> Result<Option<Manifest>, RootError> {
        let path = self.manifest_file();
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|source| RootError::Manifest { path, source })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RootError::file("read", &path)(error)),
        }
    }

    /// Writes how the stack was started, once it is ready.
    ///
    /// # Errors
    /// Fails if the manifest can't be written.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), RootError> {
        let path = self.manifest_file();
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|source| RootError::Manifest { path: path.clone(), source })?;
        fs::write(&path, text).map_err(RootError::file("write", &path))
    }

    /// Removes the manifest, if there is one.
    ///
    /// # Errors
    /// Fails if it is there and can't be removed.
    pub fn remove_manifest(&self) -> Result<(), RootError> {
        let path = self.manifest_file();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(RootError::file("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes every folder of the stack, and returns those that were there. The stack must not run.
    ///
    /// # Errors
    /// Fails if a folder can't be removed; those before it are gone.
    pub fn purge(&self) -> Result<Vec<PathBuf>, RootError> {
        let mut removed = Vec::new();
        for folder in local_servers::data_folders(&self.path)? {
            match fs::remove_dir_all(&folder) {
                Ok(()) => removed.push(folder),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(RootError::file("remove", &folder)(error)),
            }
        }
        Ok(removed)
    }
}
