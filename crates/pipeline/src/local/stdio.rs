//! From a child of `pipeline up` to a process of its own: another session, and standard streams that are a log.

use std::fs::{File, OpenOptions};
use std::path::Path;

use operate::local::RootError;

/// Leaves the terminal's session: its Ctrl-C and its end are not ours.
pub(super) fn leave_session() {
    // Fails only for the leader of a process group, which has left already.
    let _ = nix::unistd::setsid();
}

/// Opens the log for appending.
pub(super) fn open_log(path: &Path) -> Result<File, RootError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(RootError::file("create", folder))?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(RootError::file("open", path))
}

/// Lets go of the terminal and of the pipe to the parent, which thereby learns that nothing more will come.
pub(super) fn detach(path: &Path) -> Result<(), RootError> {
    let log = open_log(path)?;
    let redirect = || -> nix::Result<()> {
        nix::unistd::dup2_stdout(&log)?;
        nix::unistd::dup2_stderr(&log)
    };
    redirect().map_err(|errno| RootError::file("write standard output to", path)(errno.into()))
}
