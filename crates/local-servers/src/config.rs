//! What a stack is made of.

use std::{
    fmt, fs,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rand::{RngExt, distr::Alphanumeric};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    artifacts::{self, Artifact, Cache},
    error::{Error, Result},
    ports::Ports,
    progress::Progress,
    state::StackState,
};

/// A server that a stack can hold. Airflow runs as four processes, Spark as three, each other one as
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// PostgreSQL with logical replication.
    Postgres,
    /// ZooKeeper; not used in KRaft mode.
    Zookeeper,
    /// One Kafka broker.
    Kafka,
    /// Schema Registry with the Confluent API.
    Registry,
    /// One Cassandra node.
    Cassandra,
    /// Airflow: API server, scheduler, DAG processor and triggerer.
    Airflow,
    /// Spark: a master and two workers of one core and 1 GB.
    Spark,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Postgres,
        Self::Zookeeper,
        Self::Kafka,
        Self::Registry,
        Self::Cassandra,
        Self::Airflow,
        Self::Spark,
    ];

    /// All but Airflow and Spark: what the services need.
    pub const DATA: [Self; 5] =
        [Self::Postgres, Self::Zookeeper, Self::Kafka, Self::Registry, Self::Cassandra];

    /// Its name in options, logs and errors; also that of its process, where it is only one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Zookeeper => "zookeeper",
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Cassandra => "cassandra",
            Self::Airflow => "airflow",
            Self::Spark => "spark",
        }
    }

    /// What must be fetched to run it.
    pub const fn artifacts(self, kraft: bool) -> &'static [Artifact] {
        match self {
            Self::Kafka if kraft => &[artifacts::KAFKA_KRAFT],
            Self::Postgres => &[artifacts::POSTGRES],
            Self::Zookeeper | Self::Kafka => &[artifacts::KAFKA],
            Self::Registry => &[artifacts::REGISTRY, artifacts::REGISTRY_JAVA],
            Self::Cassandra => &[artifacts::CASSANDRA],
            Self::Airflow => &[artifacts::AIRFLOW],
            Self::Spark => &[artifacts::SPARK, artifacts::SPARK_KAFKA],
        }
    }

    /// What must be ready before it starts.
    pub(crate) fn needs(self, kraft: bool) -> &'static [Self] {
        match self {
            Self::Kafka if !kraft => &[Self::Zookeeper],
            Self::Airflow => &[Self::Postgres],
            Self::Postgres
            | Self::Zookeeper
            | Self::Kafka
            | Self::Registry
            | Self::Cassandra
            | Self::Spark => &[],
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Server {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|server| server.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|server| server.name()).collect();
            Error::Config(format!("no server is named `{name}`; there are: {}", known.join(", ")))
        })
    }
}

/// When Cassandra acknowledges a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitLogSync {
    /// Before the commit log is synced: a killed node loses up to one second of acknowledged writes.
    #[default]
    Periodic,
    /// After the commit log is synced, for all writes of 5 ms at once: nothing acknowledged is ever lost.
    Group,
}

/// A listener of the broker that tells its clients to connect to another port than its own. Clients go where the
/// broker says that it is, so a proxy in front of it must be what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaOutside {
    /// The TCP port that the broker listens on.
    pub listen: u16,
    /// The TCP port that its clients are told.
    pub advertised: u16,
}

/// What Airflow needs to know.
#[derive(Clone, Debug, Default)]
pub struct AirflowConfig {
    /// The folder with the DAGs.
    pub dags: PathBuf,
    /// More environment for all of its processes: connections (`AIRFLOW_CONN_...`), settings. Wins over ours.
    pub env: Vec<(String, SecretString)>,
}

/// What Spark needs to know.
#[derive(Clone, Debug, Default)]
pub struct SparkConfig {
    /// The library of `crates/spark-module`, `libdatastreaming_spark.so`: its Python workers get a copy.
    pub module: PathBuf,
    /// More environment for its workers, and so for the executors: the pipeline's configuration, its secrets.
    pub env: Vec<(String, SecretString)>,
}

/// The passwords and keys of a stack. They must stay the same as long as its data does.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Password of PostgreSQL's superuser `postgres`.
    pub postgres: SecretString,
    /// Password of Airflow's user `admin`.
    pub airflow_admin: SecretString,
    /// What Airflow's processes sign their tokens with.
    pub airflow_signing: SecretString,
    /// What Airflow encrypts connections with: a Fernet key, 32 bytes in URL-safe base64.
    pub airflow_fernet: SecretString,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsFile {
    postgres: String,
    airflow_admin: String,
    airflow_signing: String,
    airflow_fernet: String,
}

impl Secrets {
    const FILE: &'static str = "secrets.json";

    /// Random ones.
    pub fn generate() -> Self {
        let word = |length| SecretString::from(random_word(length));
        Self {
            postgres: word(24),
            airflow_admin: word(24),
            airflow_signing: word(48),
            // 43 base64 digits and one of padding hold 32 bytes; the last digit has only four bits of them.
            airflow_fernet: SecretString::from(format!("{}A=", random_word(42))),
        }
    }

    /// Those of an earlier start in this root, else new ones, kept in a file that only we can read.
    pub fn load_or_create(root: &Path) -> Result<Self> {
        let path = root.join(Self::FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let file: SecretsFile = serde_json::from_str(&text).map_err(|source| Error::Corrupt {
                    path,
                    what: "secrets file",
                    source,
                })?;
                return Ok(Self {
                    postgres: file.postgres.into(),
                    airflow_admin: file.airflow_admin.into(),
                    airflow_signing: file.airflow_signing.into(),
                    airflow_fernet: file.airflow_fernet.into(),
                });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
        let secrets = Self::generate();
        let file = SecretsFile {
            postgres: secrets.postgres.expose_secret().to_owned(),
            airflow_admin: secrets.airflow_admin.expose_secret().to_owned(),
            airflow_signing: secrets.airflow_signing.expose_secret().to_owned(),
            airflow_fernet: secrets.airflow_fernet.expose_secret().to_owned(),
        };
        fs::create_dir_all(root).map_err(Error::file("create", root))?;
        let text = serde_json::to_vec_pretty(&file).map_err(|source| Error::Corrupt {
            path: path.clone(),
            what: "secrets file",
            source,
        })?;
        write_private(&path, &text)?;
        Ok(secrets)
    }
}

fn random_word(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// Replaces a file at once with one that only we can read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let next = path.with_extension("next");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&next).map_err(Error::file("open", &next))?;
    file.write_all(bytes).map_err(Error::file("write", &next))?;
    fs::rename(&next, path).map_err(Error::file("replace", path))
}

/// A stack to start.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Data, logs, generated configuration and the state file go here. One stack per root at a time.
    pub root: PathBuf,
    /// Where the programs are, or are fetched to.
    pub cache: Cache,
    /// Which servers; what they need is added.
    pub servers: Vec<Server>,
    /// Where they listen.
    pub ports: Ports,
    /// Kafka without ZooKeeper. The two modes have different data folders.
    pub kraft: bool,
    /// Passwords and keys.
    pub secrets: Secrets,
    /// PostgreSQL settings that differ from ours: name and value, as in `postgresql.conf`.
    pub postgres_settings: Vec<(String, String)>,
    /// For a stack that is started often and lives for minutes: servers in Java compile themselves less well, and take
    /// less CPU time to start (the registry 9.3 instead of 15.6 s), and ZooKeeper does not wait for the disk.
    pub short_lived: bool,
    /// When Cassandra acknowledges.
    pub commit_log_sync: CommitLogSync,
    /// A second listener of the broker, for clients that reach it through a proxy.
    pub kafka_outside: Option<KafkaOutside>,
    /// Airflow's part; needed when it is among the servers.
    pub airflow: Option<AirflowConfig>,
    /// Spark's part; needed when it is among the servers.
    pub spark: Option<SparkConfig>,
    /// Where progress is shown.
    pub progress: Progress,
}

impl StackConfig {
    /// All data servers on free ports, with the secrets of this root, short-lived; for tests.
    pub fn on_free_ports(root: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { short_lived: true, ..Self::new(root, Ports::free()?)? })
    }

    /// All data servers on the standard ports, with the secrets of this root.
    pub fn on_standard_ports(root: impl Into<PathBuf>) -> Result<Self> {
        Self::new(root, Ports::standard())
    }

    /// Takes the ports and secrets of the stack that runs in `other`, and starts no server: what it supervises are
    /// services that use those of `other`.
    ///
    /// # Errors
    /// Fails if no stack runs in `other`.
    pub fn without_servers(root: impl Into<PathBuf>, other: &Path) -> Result<Self> {
        let nobody = || Error::Config(format!("no stack runs in {}", other.display()));
        let state = StackState::load(other)?.filter(StackState::is_running).ok_or_else(nobody)?;
        Ok(Self {
            servers: Vec::new(),
            kraft: state.kraft,
            secrets: Secrets::load_or_create(other)?,
            ..Self::new(root, state.ports)?
        })
    }

    fn new(root: impl Into<PathBuf>, ports: Ports) -> Result<Self> {
        let root = root.into();
        // Servers run in folders of their own: a relative path would mean another place to them.
        let root = std::path::absolute(&root).map_err(Error::file("find", root))?;
        Ok(Self {
            cache: Cache::from_env()?,
            servers: Server::DATA.to_vec(),
            ports,
            kraft: false,
            secrets: Secrets::load_or_create(&root)?,
            postgres_settings: Vec::new(),
            short_lived: false,
            commit_log_sync: CommitLogSync::default(),
            kafka_outside: None,
            airflow: None,
            spark: None,
            progress: Progress::hidden(),
            root,
        })
    }

    /// The wanted servers and what they need, without ZooKeeper in KRaft mode.
    pub fn all_servers(&self) -> Vec<Server> {
        let mut all: Vec<Server> = self
            .servers
            .iter()
            .flat_map(|server| server.needs(self.kraft).iter().chain([server]))
            .copied()
            .filter(|server| !(self.kraft && *server == Server::Zookeeper))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What must be fetched for them.
    pub fn artifacts(&self) -> Vec<Artifact> {
        let mut artifacts: Vec<Artifact> =
            self.all_servers().into_iter().flat_map(|server| server.artifacts(self.kraft)).copied().collect();
        artifacts.dedup_by_key(|artifact| artifact.name);
        artifacts
    }

    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.root.join("logs").join(format!("{process}.log"))
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        crate::servers::data(&self.root, name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_stay_and_are_ours_alone() {
        let root = tempfile::tempdir().unwrap();
        let first = Secrets::load_or_create(root.path()).unwrap();
        let second = Secrets::load_or_create(root.path()).unwrap();
        assert_eq!(first.postgres.expose_secret(), second.postgres.expose_secret());
        assert_eq!(first.airflow_fernet.expose_secret().len(), 44);
        let mode = fs::metadata(root.path().join(Secrets::FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn needed_servers_are_added_and_zookeeper_is_not_in_kraft() {
        let root = tempfile::tempdir().unwrap();
        let mut config = StackConfig::on_free_ports(root.path()).unwrap();
        config.servers = vec![Server::Airflow, Server::Kafka];
        assert_eq!(
            config.all_servers(),
            [Server::Postgres, Server::Zookeeper, Server::Kafka, Server::Airflow]
        );
        config.kraft = true;
        config.servers.push(Server::Zookeeper);
        assert_eq!(config.all_servers(), [Server::Postgres, Server::Kafka, Server::Airflow]);
    }
}
