use std::path::{Path, PathBuf};

/// Says what is wrong with the files of a stack on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file can't be read or written.
    #[error("can't {action} {}", path.display())]
    File {
        /// Names what was tried, such as `read`.
        action: &'static str,
        /// Names the file or folder.
        path: PathBuf,
        /// Says why it failed.
        source: std::io::Error,
    },
    /// The manifest is not what this release writes.
    #[error("{} is not a manifest of this release; stop the stack with `pipeline down`", path.display())]
    Manifest {
        /// Names the manifest.
        path: PathBuf,
        /// Says where it differs.
        source: serde_json::Error,
    },
    /// The state of the servers can't be read.
    #[error(transparent)]
    Servers(#[from] local_servers::Error),
}

impl RootError {
    /// Returns what makes an error of an I/O error on a path, for `map_err`.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
