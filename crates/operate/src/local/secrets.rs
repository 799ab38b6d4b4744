//! Keeps the passwords and tokens of a stack on this machine, and names them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use secrecy::{ExposeSecret as _, SecretString};

use super::error::RootError;
use super::root::Root;

/// Names the password of the pipeline's own role.
pub const POSTGRES: &str = "PIPELINE__POSTGRES__PASSWORD";
/// Names the password of PostgreSQL's superuser, as which `pipeline migrate` makes that role.
pub const POSTGRES_ADMIN: &str = "PIPELINE__PIPELINE__POSTGRES_ADMIN_PASSWORD";
/// Names the token that `POST /runs` must present.
pub const FETCHER: &str = "PIPELINE__FETCHER__TOKEN";
/// Names the key of the PII rule `hmac`.
pub const HMAC_KEY: &str = "PIPELINE__STREAM_PROCESSOR__HMAC_KEY";
/// Names the password of Airflow's user `admin`.
pub const AIRFLOW: &str = "PIPELINE__AIRFLOW__PASSWORD";
/// Names the key that Airflow's processes sign their tokens with.
pub const AIRFLOW_SIGNING: &str = "AIRFLOW_SIGNING_KEY";
/// Names the key that Airflow encrypts connections with.
pub const AIRFLOW_FERNET: &str = "AIRFLOW_FERNET_KEY";

const NAMES: [&str; 7] =
    [POSTGRES, POSTGRES_ADMIN, FETCHER, HMAC_KEY, AIRFLOW, AIRFLOW_SIGNING, AIRFLOW_FERNET];

/// Keeps the passwords and tokens of a stack on this machine, each by the name of its variable.
///
/// They are made once and kept in a file that only its owner can read. A process gets those that it needs in its
/// environment.
#[derive(Debug, Clone)]
pub struct Secrets {
    values: BTreeMap<String, SecretString>,
}

impl Secrets {
    /// Reads those of an earlier start, makes the ones that are missing, and writes these to the file.
    ///
    /// # Errors
    /// Fails if the file can't be read or written, or the operating system gives no random numbers.
    pub fn load_or_create(root: &Root) -> Result<Self, RootError> {
        let mut secrets = Self::load(root)?.unwrap_or_else(|| Self { values: BTreeMap::new() });
        let missing: Vec<&str> =
            NAMES.into_iter().filter(|name| !secrets.values.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(secrets);
        }
        let path = root.secrets_file();
        let mut text = String::new();
        for name in missing {
            let value = generate(name).map_err(RootError::file("make secrets for", &path))?;
            text.push_str(&format!("{name}={}\n", value.expose_secret()));
            secrets.values.insert(name.to_owned(), value);
        }
        fs::create_dir_all(root.path()).map_err(RootError::file("create", root.path()))?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(RootError::file("write", &path))?;
        Ok(secrets)
    }

    /// Reads those of an earlier start. Returns `None` if there was none.
    ///
    /// # Errors
    /// Fails if the file is there and can't be read.
    pub fn load(root: &Root) -> Result<Option<Self>, RootError> {
        let path = root.secrets_file();
        match fs::read_to_string(&path) {
            Ok(text) => {
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                let pairs = lines.filter_map(|line| line.split_once('='));
                let values = pairs.map(|(name, value)| (name.to_owned(), value.to_owned().into())).collect();
                Ok(Some(Self { values }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RootError::file("read", &path)(error)),
        }
    }

    /// Returns the secret of a name, such as [`POSTGRES`]; an empty one if the file does not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> SecretString {
        self.values.get(name).cloned().unwrap_or_default()
    }

    /// Returns all as names and values for [`or_variables`](service::config::Config::or_variables), with the name of
    /// PostgreSQL's superuser.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
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
