//! Passwords and tokens of a local stack: made once, kept in a file that only its owner can read, given to each
//! process in its environment and to nobody else.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use secrecy::{ExposeSecret as _, SecretString};

use super::{LocalError, Root};

/// Password of the pipeline's own role.
pub(crate) const POSTGRES: &str = "PIPELINE__POSTGRES__PASSWORD";
/// Password of PostgreSQL's superuser, with which `pipeline migrate` makes that role.
pub(crate) const POSTGRES_ADMIN: &str = "PIPELINE__PIPELINE__POSTGRES_ADMIN_PASSWORD";
/// What `POST /runs` must present.
pub(crate) const FETCHER: &str = "PIPELINE__FETCHER__TOKEN";
/// Key of the PII rule `hmac`.
pub(crate) const HMAC_KEY: &str = "PIPELINE__STREAM_PROCESSOR__HMAC_KEY";
/// Password of Airflow's user `admin`.
pub(super) const AIRFLOW: &str = "PIPELINE__AIRFLOW__PASSWORD";
/// What Airflow's processes sign their tokens with.
pub(super) const AIRFLOW_SIGNING: &str = "AIRFLOW_SIGNING_KEY";
/// What Airflow encrypts connections with.
pub(super) const AIRFLOW_FERNET: &str = "AIRFLOW_FERNET_KEY";

const NAMES: [&str; 7] =
    [POSTGRES, POSTGRES_ADMIN, FETCHER, HMAC_KEY, AIRFLOW, AIRFLOW_SIGNING, AIRFLOW_FERNET];

/// Values by the name of their variable.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    values: BTreeMap<String, SecretString>,
}

impl Secrets {
    /// Those of an earlier start, completed with new ones.
    pub(crate) fn load_or_create(root: &Root) -> Result<Self, LocalError> {
        let mut secrets = Self::load(root)?.unwrap_or_else(|| Self { values: BTreeMap::new() });
        let missing: Vec<&str> =
            NAMES.into_iter().filter(|name| !secrets.values.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(secrets);
        }
        let path = root.secrets_file();
        let mut text = String::new();
        for name in missing {
            let value = generate(name).map_err(LocalError::file("make secrets for", &path))?;
            text.push_str(&format!("{name}={}\n", value.expose_secret()));
            secrets.values.insert(name.to_owned(), value);
        }
        fs::create_dir_all(root.path()).map_err(LocalError::file("create", root.path()))?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(LocalError::file("write", &path))?;
        Ok(secrets)
    }

    /// Those of an earlier start; `None` if there was none.
    pub(crate) fn load(root: &Root) -> Result<Option<Self>, LocalError> {
        let path = root.secrets_file();
        match fs::read_to_string(&path) {
            Ok(text) => {
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                let pairs = lines.filter_map(|line| line.split_once('='));
                let values = pairs.map(|(name, value)| (name.to_owned(), value.to_owned().into())).collect();
                Ok(Some(Self { values }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LocalError::file("read", &path)(error)),
        }
    }

    /// One of the constants of this module.
    pub(crate) fn get(&self, name: &str) -> SecretString {
        self.values.get(name).cloned().unwrap_or_default()
    }

    /// All, for [`service::config::Config::or_variables`]. The administrator's name goes with its password.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let admin = ("PIPELINE__PIPELINE__POSTGRES_ADMIN_USER".to_owned(), "postgres".to_owned());
        let own = self.values.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        own.chain([admin]).collect()
    }
}

fn generate(name: &str) -> std::io::Result<SecretString> {
    Ok(if name == AIRFLOW_FERNET {
        local_servers::Secrets::generate().airflow_fernet
    } else {
        service::secret::generate()?.into()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_stay_the_same_and_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(&folder.path().join("root")).unwrap();
        assert!(Secrets::load(&root).unwrap().is_none());
        let first = Secrets::load_or_create(&root).unwrap();
        let second = Secrets::load_or_create(&root).unwrap();
        assert_eq!(first.variables(), second.variables());
        assert!(NAMES.iter().all(|name| first.get(name).expose_secret().len() >= 32));
        let mode = fs::metadata(root.secrets_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_an_older_release_did_not_know_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        fs::write(root.secrets_file(), format!("# mine\n{FETCHER}=chosen=by=me\n")).unwrap();
        Secrets::load_or_create(&root).unwrap();
        let secrets = Secrets::load_or_create(&root).unwrap();
        assert_eq!(secrets.get(FETCHER).expose_secret(), "chosen=by=me");
        assert_eq!(secrets.values.len(), NAMES.len());
    }
}
