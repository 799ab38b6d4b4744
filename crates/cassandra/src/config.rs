//! `[cassandra]`: where the cluster is and how requests are sent to it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service::config::units::{DurationText, duration};
use service::config::{Config, ConfigError};

/// Name of the section.
pub const SECTION: &str = "cassandra";

/// Longest name of a keyspace, as Cassandra limits it.
const NAME_LIMIT: usize = 48;

/// The cluster, the keyspace and how requests are sent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CassandraConfig {
    /// `host:port` of nodes that are asked for the others; one that answers is enough.
    pub contact_points: Vec<String>,
    /// Keyspace of all tables.
    pub keyspace: String,
    /// Requests go to this data centre only; to any if not set.
    pub local_datacenter: Option<String>,
    /// Role, where the cluster asks for one.
    pub user: Option<String>,
    /// The role's password, usually from `PIPELINE__CASSANDRA__PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File with the certificate authorities to trust; connections are encrypted if it is set.
    pub ssl_ca_location: Option<PathBuf>,
    /// Copies of each row in each data centre, for the keyspace when it is made.
    #[serde(default = "default_replication_factor")]
    pub replication_factor: u16,
    /// Replicas that must have a write or answer a read.
    #[serde(default)]
    pub consistency: Consistency,
    /// Of the frames between us and the nodes.
    #[serde(default)]
    pub compression: Compression,
    /// Bound of opening a connection.
    #[serde(with = "duration", default = "default_timeout")]
    #[schemars(with = "DurationText")]
    pub connect_timeout: Duration,
    /// Bound of one request, the driver's own retries included.
    #[serde(with = "duration", default = "default_timeout")]
    #[schemars(with = "DurationText")]
    pub request_timeout: Duration,
}

/// As of CQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// One replica anywhere.
    One,
    /// One replica of the coordinator's data centre.
    LocalOne,
    /// A majority of all replicas.
    Quorum,
    /// A majority of the replicas in the coordinator's data centre.
    #[default]
    LocalQuorum,
    /// A majority in every data centre.
    EachQuorum,
    /// Every replica.
    All,
}

/// Compression of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// None: rows are small, and a node spends more on it than the network saves.
    #[default]
    None,
    /// Worth it between data centres.
    Lz4,
}

impl CassandraConfig {
    /// Reads the section and checks what its types can't.
    ///
    /// # Errors
    /// A key that is missing, unknown or out of range.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let section: Self = config.section(SECTION)?;
        section.check()?;
        Ok(section)
    }

    /// The statement that makes the keyspace unless it is there.
    #[must_use]
    pub fn create_keyspace(&self) -> String {
        format!(
            "CREATE KEYSPACE IF NOT EXISTS \"{}\" WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': {}}}",
            self.keyspace, self.replication_factor
        )
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.contact_points.is_empty() {
            let allowed = "name at least one node as host:port";
            return Err(ConfigError::invalid("cassandra.contact_points", &self.contact_points, allowed));
        }
        let mut letters = self.keyspace.bytes();
        let well_formed = letters.next().is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            && self.keyspace.len() <= NAME_LIMIT;
        if !well_formed {
            let allowed =
                format!("a letter, then letters, digits and _, all lower case, {NAME_LIMIT} at the most");
            return Err(ConfigError::invalid("cassandra.keyspace", &self.keyspace, allowed));
        }
        if self.replication_factor == 0 {
            let allowed = "1 or more copies";
            return Err(ConfigError::invalid(
                "cassandra.replication_factor",
                self.replication_factor,
                allowed,
            ));
        }
        if self.user.is_some() != self.password.is_some() {
            let allowed = "set both user and password (PIPELINE__CASSANDRA__PASSWORD), or neither";
            return Err(ConfigError::invalid("cassandra.user", &self.user, allowed));
        }
        Ok(())
    }
}

const fn default_replication_factor() -> u16 {
    1
}

const fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> CassandraConfig {
        toml::from_str(&format!(
            "contact_points = [\"127.0.0.1:9042\"]\nkeyspace = \"datastreaming\"\n{text}"
        ))
        .unwrap()
    }

    #[test]
    fn has_defaults_for_all_but_the_place() {
        let config = section("");
        config.check().unwrap();
        assert_eq!(config.consistency, Consistency::LocalQuorum);
        assert_eq!(config.compression, Compression::None);
        assert_eq!(
            config.create_keyspace(),
            "CREATE KEYSPACE IF NOT EXISTS \"datastreaming\" WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}"
        );
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (change, key) in [
            (("datastreaming", "Data\\\"; DROP"), "cassandra.keyspace"),
            (("datastreaming", ""), "cassandra.keyspace"),
            (("\"127.0.0.1:9042\"", ""), "cassandra.contact_points"),
        ] {
            let text = "contact_points = [\"127.0.0.1:9042\"]\nkeyspace = \"datastreaming\""
                .replace(change.0, change.1);
            let config: CassandraConfig = toml::from_str(&text).unwrap();
            assert!(config.check().unwrap_err().to_string().contains(key), "{text}");
        }
        for (text, key) in
            [("user = \"a\"", "cassandra.user"), ("replication_factor = 0", "cassandra.replication_factor")]
        {
            assert!(section(text).check().unwrap_err().to_string().contains(key), "{text}");
        }
    }
}
