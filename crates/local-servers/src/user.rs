//! The system user that PostgreSQL runs as when we are root, because it refuses root.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};

use crate::error::{Error, Result};

/// A user to run a server as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SystemUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl SystemUser {
    /// `None` when we are an ordinary user and servers simply run as us.
    pub(crate) fn for_postgres() -> Result<Option<Self>> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name) {
                return Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        Err(Error::Config(
            "PostgreSQL refuses to run as root and there is neither a user `postgres` nor `nobody`; \
             create one with: useradd --system postgres"
                .to_owned(),
        ))
    }

    /// Whether this user may pass through every existing folder on the way to `path`.
    pub(crate) fn can_reach(&self, path: &Path) -> bool {
        path.ancestors().filter_map(|folder| fs::metadata(folder).ok()).all(|meta| {
            let bit = if meta.uid() == self.uid {
                0o100
            } else if meta.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            meta.permissions().mode() & bit != 0
        })
    }

    /// Creates a folder that only this user can look into.
    pub(crate) fn create_private(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        chown(folder, Some(self.uid), Some(self.gid)).map_err(Error::file("give away", folder))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(Error::file("set the mode of", folder))
    }
}

/// Where the data or programs of a server that runs as `user` go: `wanted` if the user gets there, else the
/// same name under a system folder (a home folder of mode 0700 is the usual reason).
pub(crate) fn reachable(
    user: Option<&SystemUser>,
    wanted: PathBuf,
    elsewhere: impl Fn(&Path) -> PathBuf,
) -> PathBuf {
    match user {
        Some(user) if !user.can_reach(&wanted) => elsewhere(&wanted),
        Some(_) | None => wanted,
    }
}

/// A folder under `system` whose name is made of the whole path of `wanted`, and of no other path.
pub(crate) fn flat_under(system: &str, wanted: &Path) -> PathBuf {
    let name = |part: &OsStr| part.to_string_lossy().replace('%', "%25").replace('-', "%2d");
    let parts: Vec<_> = wanted.iter().skip(1).map(name).collect();
    Path::new(system).join("rust-datastreaming").join(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_behind_a_private_home_is_moved() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = SystemUser { uid: 65_533, gid: 65_533 };
        let wanted = home.path().join("clone/.local/postgres");
        let moved = reachable(Some(&stranger), wanted.clone(), |path| flat_under("/var/lib", path));
        assert!(moved.starts_with("/var/lib/rust-datastreaming"), "{}", moved.display());
        assert!(moved.to_string_lossy().ends_with("-clone-.local-postgres"));
        let other = flat_under("/var/lib", Path::new("/home/a/b"));
        assert_ne!(flat_under("/var/lib", Path::new("/home/a-b")), other);
        assert_eq!(reachable(None, wanted.clone(), |path| flat_under("/var/lib", path)), wanted);

        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(reachable(Some(&stranger), wanted.clone(), |path| flat_under("/var/lib", path)), wanted);
    }
}
