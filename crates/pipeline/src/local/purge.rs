//! Removes a local stack's data.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use service::BoxError;

use super::{LocalError, Root};

/// Removes all folders of the stack, and says which there were. The stack must not run.
pub(crate) fn remove(root: &Root) -> Result<Vec<PathBuf>, BoxError> {
    let mut removed = Vec::new();
    for folder in local_servers::data_folders(root.path())? {
        match fs::remove_dir_all(&folder) {
            Ok(()) => removed.push(folder),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(LocalError::file("remove", &folder)(error).into()),
        }
    }
    Ok(removed)
}
