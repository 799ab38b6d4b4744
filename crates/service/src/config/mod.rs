//! One loader for configuration: a base file, overlays, then the environment.
//!
//! Each part of the pipeline reads the sections it needs with [`Config::section`]; an unknown section or key is
//! an error that names the file or variable it came from. `PIPELINE__SECTION__KEY` overrides any key. Values
//! whose key says that they are secret are taken from the environment as text, whatever they look like, and are
//! never part of an error message.

mod error;
pub mod sections;
pub mod units;

use std::path::{Path, PathBuf};

use figment::providers::{Env, Serialized};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use crate::cli::CommonArgs;
pub use error::ConfigError;
pub use sections::{PostgresConfig, TelemetryConfig};

/// Read when no file is named on the command line or in `PIPELINE_CONFIG`.
pub const DEFAULT_FILE: &str = "config/pipeline.toml";

/// Start of every environment variable that overrides a key.
pub const ENV_PREFIX: &str = "PIPELINE__";

/// Every section there is; anything else at the top of a file is a mistake worth an error.
pub const SECTIONS: [&str; 11] = [
    "airflow",
    "cassandra",
    "cassandra_sink",
    "fetcher",
    "kafka",
    "pipeline",
    "postgres",
    "registry",
    "relay",
    "stream_processor",
    "telemetry",
];

/// The merged configuration, not yet typed.
#[derive(Debug, Clone)]
pub struct Config {
    figment: Figment,
}

impl Config {
    /// Merges the files of the command line (or [`DEFAULT_FILE`]) and the environment.
    ///
    /// # Errors
    /// A file that is missing or is not TOML, or a section that does not exist.
    pub fn load(args: &CommonArgs) -> Result<Self, ConfigError> {
        let files =
            if args.config.is_empty() { vec![PathBuf::from(DEFAULT_FILE)] } else { args.config.clone() };
        Self::from_files(&files)
    }

    /// The same for a list of files, later ones winning.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_files<P: AsRef<Path>>(files: &[P]) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        for file in files {
            let path = file.as_ref();
            if !path.is_file() {
                return Err(ConfigError::Missing { path: path.to_owned(), tried: tried(files) });
            }
            figment = figment.merge(TomlFile(path));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).filter(|key| !is_secret(key.as_str())).split("__"));
        for (name, value) in std::env::vars() {
            let Some(key) = name.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            if is_secret(key) {
                let key = key.to_ascii_lowercase().replace("__", ".");
                figment = figment.merge(Serialized::default(&key, value));
            }
        }
        let config = Self { figment };
        config.reject_unknown_sections()?;
        Ok(config)
    }

    /// Adds values for keys that nothing else sets, named as the environment names them; other names are ignored.
    /// For passwords and tokens that are kept in a file.
    #[must_use]
    pub fn or_variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let key = key.to_ascii_lowercase().replace("__", ".");
                self.figment = self.figment.join(Serialized::default(&key, value));
            }
        }
        self
    }

    /// One section as its type. A section that is nowhere set reads as an empty one.
    ///
    /// # Errors
    /// An unknown or missing key, or a value that the type does not take: the message has the key, the value
    /// (unless it is a secret), where it was set, and what is allowed.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        self.figment.focus(name).extract().map_err(|error| ConfigError::value(name, &error))
    }

    /// An error about a value, completed with where the value was set.
    pub(crate) fn locate(&self, error: ConfigError) -> ConfigError {
        error.located(&self.figment)
    }

    fn reject_unknown_sections(&self) -> Result<(), ConfigError> {
        let all: Dict = self.figment.extract().map_err(|error| ConfigError::value("", &error))?;
        match all.keys().find(|name| !SECTIONS.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let place = self.figment.find_metadata(name).map(error::place).unwrap_or_default();
                Err(ConfigError::UnknownSection { name: name.clone(), place })
            }
        }
    }
}

/// Reads a file as figment's own provider does, which would bring a second TOML library.
struct TomlFile<'p>(&'p Path);

impl Provider for TomlFile<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::from("TOML file", self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let text =
            std::fs::read_to_string(self.0).map_err(|error| figment::Error::from(error.to_string()))?;
        let values: Dict = toml::from_str(&text).map_err(|error| figment::Error::from(error.to_string()))?;
        Ok(Profile::Default.collect(values))
    }
}

fn tried<P: AsRef<Path>>(files: &[P]) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    files.iter().map(|file| here.join(file).display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether the last part of a key names something secret.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit("__").next().unwrap_or(key).rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    ["password", "token", "secret", "hmac_key"].iter().any(|word| last.ends_with(word))
}

#[cfg(test)]
mod tests;
