//! Reads the configuration as far as it takes to operate the pipeline: `[pipeline]`, `[airflow]`, the servers'
//! sections, and of each service's own section the keys that others must know.

mod sections;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cassandra::CassandraConfig;
use events::RegistryConfig;
use kafka::KafkaConfig;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use service::config::sections::SslMode;
use service::config::units::{DurationText, duration};
use service::config::{Config, ConfigError, PostgresConfig};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

pub use sections::{
    CassandraSinkSection, FetcherSection, RelaySection, RelayedTable, StreamProcessorSection,
};

/// Has the keys of `[pipeline]`: what `pipeline migrate` makes, and what the other commands look at.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Names the topic that the relay writes and the stream processor reads.
    pub raw_topic: String,
    /// Names the topic that the stream processor writes and the sink reads.
    pub processed_topic: String,
    /// Names the compacted topic of the relay's positions.
    pub offsets_topic: String,
    /// Counts the partitions of a topic that does not exist yet. Those of one that does are never changed, since keys
    /// would move to other partitions.
    pub partitions: i32,
    /// Counts the replicas of a topic that does not exist yet.
    pub replication_factor: i32,
    /// Counts the replicas that must have a record before it counts as written; one less than there are if not set.
    pub min_insync_replicas: Option<i32>,
    /// Says how long records are kept, counted from the commit in PostgreSQL.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub retention: Duration,
    /// Says how long dead letters are kept.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub dlq_retention: Duration,
    /// Limits a batch of records that a topic takes, in bytes.
    pub max_message_bytes: u32,
    /// Sets the options of the keyspace's replication, as CQL has them, in place of `cassandra.replication_factor`
    /// copies in each data centre.
    pub keyspace_replication: BTreeMap<String, String>,
    /// Says which changes the value schemas of the two topics may go through.
    pub compatibility: String,
    /// Says the same for all subjects of the registry; they are left alone if it is not set.
    pub global_compatibility: Option<String>,
    /// Names a role that may create roles and databases. It is needed where the pipeline's own do not exist yet.
    pub postgres_admin_user: Option<String>,
    /// Has that role's password, usually from `PIPELINE__PIPELINE__POSTGRES_ADMIN_PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub postgres_admin_password: Option<SecretString>,
    /// Names the database that the role connects to.
    pub postgres_admin_database: String,
    /// Says where `pipeline status` asks the services.
    pub admin: AdminConfig,
    /// Has the ports that `pipeline up` needs besides those of the other sections.
    pub local: LocalConfig,
}

/// Has the keys of `[pipeline.admin]`: admin ports as `HOST:PORT`, where they are not reached at what the services
/// `listen` on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Names the admin port of the fetcher.
    pub fetcher: Option<String>,
    /// Names the admin port of the relay.
    pub relay: Option<String>,
    /// Names the admin port of the stream processor.
    pub stream_processor: Option<String>,
    /// Names the admin port of the Cassandra sink.
    pub cassandra_sink: Option<String>,
}

/// Has the keys of `[pipeline.local]`: ports of a stack on this machine that no service connects to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// ZooKeeper's, to which Kafka connects.
    pub zookeeper_port: u16,
    /// That of Kafka's controller, in place of ZooKeeper.
    pub kafka_controller_port: u16,
    /// That of Cassandra's traffic between nodes.
    pub cassandra_storage_port: u16,
    /// Where the simulator of the profile API listens.
    pub simulator_listen: SocketAddr,
    /// That of Spark's master, with `--spark`.
    pub spark_master_port: u16,
    /// That of the master's pages.
    pub spark_ui_port: u16,
    /// Those of the pages of its two workers.
    pub spark_worker_ports: [u16; 2],
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            zookeeper_port: 2181,
            kafka_controller_port: 9093,
            cassandra_storage_port: 7000,
            simulator_listen: SocketAddr::from(([127, 0, 0, 1], 8010)),
            spark_master_port: 7077,
            spark_ui_port: 9090,
            spark_worker_ports: [9094, 9095],
        }
    }
}

/// Has the keys of `[airflow]`, where runs are triggered.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AirflowConfig {
    /// The base of Airflow's pages and of its API.
    pub url: String,
    /// Names the user that triggers.
    pub user: String,
    /// Has that user's password, usually from `PIPELINE__AIRFLOW__PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// Names the DAG that fetches.
    pub dag: String,
    /// The folder of the DAGs for `pipeline up`, from the working directory.
    pub dags_folder: PathBuf,
    /// Limits the time of one request to Airflow's API.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
}

impl Default for AirflowConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8080".to_owned(),
            user: "admin".to_owned(),
            password: None,
            dag: "users_pipeline".to_owned(),
            dags_folder: "airflow/dags".into(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for PipelineConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            raw_topic: "users.raw".to_owned(),
            processed_topic: "users.processed".to_owned(),
            offsets_topic: "relay.offsets".to_owned(),
            partitions: 4,
            replication_factor: 1,
            min_insync_replicas: None,
            retention: 30 * DAY,
            dlq_retention: 90 * DAY,
            max_message_bytes: 1_048_588,
            keyspace_replication: BTreeMap::new(),
            compatibility: "BACKWARD_TRANSITIVE".to_owned(),
            global_compatibility: None,
            postgres_admin_user: None,
            postgres_admin_password: None,
            postgres_admin_database: "postgres".to_owned(),
            admin: AdminConfig::default(),
            local: LocalConfig::default(),
        }
    }
}

impl PipelineConfig {
    /// Returns the relay's topic and the stream processor's.
    #[must_use]
    pub fn data_topics(&self) -> [&str; 2] {
        [&self.raw_topic, &self.processed_topic]
    }

    fn check(&self) -> Result<(), ConfigError> {
        let positive = "a whole number from 1 on";
        if self.partitions < 1 {
            return Err(ConfigError::invalid("pipeline.partitions", self.partitions, positive));
        }
        if self.replication_factor < 1 {
            return Err(ConfigError::invalid(
                "pipeline.replication_factor",
                self.replication_factor,
                positive,
            ));
        }
        if let Some(replicas) = self.min_insync_replicas
            && !(1..=self.replication_factor).contains(&replicas)
        {
            let allowed = format!("1 to pipeline.replication_factor, which is {}", self.replication_factor);
            return Err(ConfigError::invalid("pipeline.min_insync_replicas", replicas, allowed));
        }
        if !self.keyspace_replication.is_empty() && !self.keyspace_replication.contains_key("class") {
            let allowed = "needs `class`, such as { class = \"NetworkTopologyStrategy\", dc1 = \"3\" }";
            return Err(ConfigError::invalid(
                "pipeline.keyspace_replication",
                &self.keyspace_replication,
                allowed,
            ));
        }
        Ok(())
    }
}

/// Has all that operating the pipeline takes to know of its configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Has the section `[pipeline]` of the file, checked.
    pub pipeline: PipelineConfig,
    /// Has the section `[postgres]` of the file, checked.
    pub postgres: PostgresConfig,
    /// Has the section `[kafka]` of the file, checked.
    pub kafka: KafkaConfig,
    /// Has the section `[registry]` of the file, checked.
    pub registry: RegistryConfig,
    /// Has the section `[cassandra]` of the file, checked.
    pub cassandra: CassandraConfig,
    /// Has the section `[airflow]` of the file, checked.
    pub airflow: AirflowConfig,
    /// Has `airflow.url` as a URL.
    pub airflow_url: Url,
    /// What matters here of `[fetcher]`.
    pub fetcher: FetcherSection,
    /// What matters here of `[relay]`.
    pub relay: RelaySection,
    /// What matters here of `[stream_processor]`.
    pub stream_processor: StreamProcessorSection,
    /// What matters here of `[cassandra_sink]`.
    pub cassandra_sink: CassandraSinkSection,
}

impl Settings {
    /// Reads and checks the sections.
    ///
    /// # Errors
    /// Fails if a key is unknown or missing, or has a value that can't be used.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let pipeline: PipelineConfig = config.section("pipeline")?;
        pipeline.check()?;
        let airflow: AirflowConfig = config.section("airflow")?;
        let airflow_url = Url::parse(&airflow.url).map_err(|error| {
            ConfigError::invalid("airflow.url", &airflow.url, format!("write a URL ({error})"))
        })?;
        Ok(Self {
            pipeline,
            postgres: config.section("postgres")?,
            kafka: config.section("kafka")?,
            registry: config.section("registry")?,
            cassandra: CassandraConfig::load(config)?,
            airflow,
            airflow_url,
            fetcher: config.section("fetcher")?,
            relay: config.section("relay")?,
            stream_processor: config.section("stream_processor")?,
            cassandra_sink: config.section("cassandra_sink")?,
        })
    }

    /// Returns how to connect to the pipeline's database as the pipeline's role.
    #[must_use]
    pub fn postgres_options(&self) -> PgConnectOptions {
        let postgres = &self.postgres;
        self.postgres_server()
            .database(&postgres.database)
            .username(&postgres.user)
            .password(postgres.password.expose_secret())
    }

    /// Returns how to connect as the administrator, or `None` if none is configured.
    #[must_use]
    pub fn postgres_admin_options(&self) -> Option<PgConnectOptions> {
        let user = self.pipeline.postgres_admin_user.as_ref()?;
        let options = self.postgres_server().database(&self.pipeline.postgres_admin_database).username(user);
        Some(match &self.pipeline.postgres_admin_password {
            Some(password) => options.password(password.expose_secret()),
            None => options,
        })
    }

    fn postgres_server(&self) -> PgConnectOptions {
        // Without the files and defaults of libpq: the configuration says it all.
        PgConnectOptions::new_without_pgpass()
            .host(&self.postgres.host)
            .port(self.postgres.port)
            .application_name("pipeline")
            .ssl_mode(match self.postgres.ssl_mode {
                SslMode::Disable => PgSslMode::Disable,
                SslMode::Prefer => PgSslMode::Prefer,
                SslMode::Require => PgSslMode::Require,
                SslMode::VerifyFull => PgSslMode::VerifyFull,
            })
    }
}
