//! `[pipeline]`, and the sections of others that the commands read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cassandra::CassandraConfig;
use events::RegistryConfig;
use kafka::KafkaConfig;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use service::config::sections::SslMode;
use service::config::units::duration;
use service::config::{Config, ConfigError, PostgresConfig};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::services::{Fetcher, Processor, Relay, Sink};

/// `[pipeline]`: what `pipeline migrate` makes, and what the other commands look at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Topic of the relay.
    pub raw_topic: String,
    /// Topic of the stream processor.
    pub processed_topic: String,
    /// Compacted topic of the relay's positions.
    pub offsets_topic: String,
    /// Partitions of a topic that does not exist yet; those of one that does are never changed, since keys would
    /// move to other partitions.
    pub partitions: i32,
    /// Replicas of a topic that does not exist yet.
    pub replication_factor: i32,
    /// Replicas that must have a record before it counts as written; one less than there are if not set.
    pub min_insync_replicas: Option<i32>,
    /// How long records are kept, counted from the commit in PostgreSQL.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// How long dead letters are kept.
    #[serde(with = "duration")]
    pub dlq_retention: Duration,
    /// Largest batch of records a topic takes.
    pub max_message_bytes: u32,
    /// Options of the keyspace's replication, as CQL has them; instead of `cassandra.replication_factor` copies in
    /// each data centre.
    pub keyspace_replication: BTreeMap<String, String>,
    /// What changes the value schemas of the two topics may go through.
    pub compatibility: String,
    /// The same for all subjects of the registry; left alone if not set.
    pub global_compatibility: Option<String>,
    /// A role that may create roles and databases; only needed where the pipeline's own do not exist yet.
    pub postgres_admin_user: Option<String>,
    /// Its password, usually from `PIPELINE__PIPELINE__POSTGRES_ADMIN_PASSWORD`.
    pub postgres_admin_password: Option<SecretString>,
    /// The database it connects to.
    pub postgres_admin_database: String,
    /// Where `pipeline status` asks the services.
    pub admin: AdminConfig,
    /// What `pipeline up` needs besides the addresses of the other sections.
    pub local: LocalConfig,
}

/// `[pipeline.admin]`: the admin ports as `HOST:PORT`, where they are not reached at what the services `listen` on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The fetcher's.
    pub fetcher: Option<String>,
    /// The relay's.
    pub relay: Option<String>,
    /// The stream processor's.
    pub stream_processor: Option<String>,
    /// The Cassandra sink's.
    pub cassandra_sink: Option<String>,
}

/// `[pipeline.local]`: ports of a local stack that no service connects to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// ZooKeeper, for Kafka.
    pub zookeeper_port: u16,
    /// Kafka's controller, instead of ZooKeeper.
    pub kafka_controller_port: u16,
    /// Cassandra's traffic between nodes.
    pub cassandra_storage_port: u16,
    /// The simulator of the profile API.
    pub simulator_listen: SocketAddr,
    /// Spark's master, with `--spark`.
    pub spark_master_port: u16,
    /// Its pages.
    pub spark_ui_port: u16,
    /// The pages of its two workers.
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

/// `[airflow]`: where runs are triggered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AirflowConfig {
    /// Base of its pages and API.
    pub url: String,
    /// Who triggers.
    pub user: String,
    /// That user's password, usually from `PIPELINE__AIRFLOW__PASSWORD`.
    pub password: Option<SecretString>,
    /// The DAG that fetches.
    pub dag: String,
    /// Folder of the DAGs for `pipeline up`, from the working directory.
    pub dags_folder: PathBuf,
    /// Bound of one request.
    #[serde(with = "duration")]
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
    /// Both data topics.
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

/// What the commands need to know of the whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[pipeline]`.
    pub pipeline: PipelineConfig,
    /// `[postgres]`.
    pub postgres: PostgresConfig,
    /// `[kafka]`.
    pub kafka: KafkaConfig,
    /// `[registry]`.
    pub registry: RegistryConfig,
    /// `[cassandra]`.
    pub cassandra: CassandraConfig,
    /// `[airflow]`.
    pub airflow: AirflowConfig,
    /// `airflow.url`, parsed.
    pub airflow_url: Url,
    /// What matters here of `[fetcher]`.
    pub fetcher: Fetcher,
    /// What matters here of `[relay]`.
    pub relay: Relay,
    /// What matters here of `[stream_processor]`.
    pub stream_processor: Processor,
    /// What matters here of `[cassandra_sink]`.
    pub cassandra_sink: Sink,
}

impl Settings {
    /// Reads and checks the sections.
    ///
    /// # Errors
    /// A key that is unknown, missing or has a value that can't be used.
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

    /// How to connect to the pipeline's database as its role.
    #[must_use]
    pub fn postgres_options(&self) -> PgConnectOptions {
        let postgres = &self.postgres;
        self.postgres_server()
            .database(&postgres.database)
            .username(&postgres.user)
            .password(postgres.password.expose_secret())
    }

    /// How to connect as the administrator; `None` if none is configured.
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
