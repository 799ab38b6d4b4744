//! A small file system to be filled.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fresh_root;

/// A file system in memory with a bound, gone when dropped. Needs root.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Mounts one of this size; says why not if it can't.
    ///
    /// # Errors
    /// `mount` is missing, or refuses.
    pub fn mount(name: &str, megabytes: u32) -> Result<Self, String> {
        let path = std::env::temp_dir().join("rust-datastreaming-tests").join(name);
        // One that a killed run left behind can't be removed as long as it is mounted.
        while unmount(&path) {}
        let path = fresh_root(name);
        fs::create_dir_all(&path).map_err(|error| format!("create {}: {error}", path.display()))?;
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        let output = mount.map_err(|error| format!("mount: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all the room there is.
    ///
    /// # Panics
    /// If that is prevented by anything but the end of it.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a file");
        let error = io::copy(&mut io::repeat(0), &mut file).and_then(|_| file.flush()).expect_err("an end");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    /// Gives it back.
    ///
    /// # Panics
    /// If it was not taken.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("what fills the volume");
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Whether there was anything to unmount. Lazily: a server may still have files open.
fn unmount(path: &Path) -> bool {
    let mut command = Command::new("umount");
    let status = command.arg("--lazy").arg(path).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
