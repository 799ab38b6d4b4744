//! The servers that go with the configuration: they listen where it says that they are.

use std::net::IpAddr;
use std::path::Path;

use local_servers::{AirflowConfig, Cache, CommitLogSync, Ports, Server, SparkConfig, StackConfig};
use operate::config::Settings;
use operate::local::{Root, Secrets, secrets};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use service::BoxError;
use service::config::ConfigError;
use url::Url;

use super::steps::Steps;

/// The servers to start.
pub(super) fn config(
    settings: &Settings,
    secrets: &Secrets,
    root: &Root,
    kraft: bool,
    spark: Option<SparkConfig>,
    steps: &Steps,
) -> Result<StackConfig, BoxError> {
    let wanted = |server: &Server| *server != Server::Spark || spark.is_some();
    Ok(StackConfig {
        root: root.path().to_owned(),
        cache: Cache::from_env()?,
        servers: Server::ALL.into_iter().filter(wanted).collect(),
        ports: ports(settings)?,
        kraft,
        secrets: local_servers::Secrets {
            postgres: secrets.get(secrets::POSTGRES_ADMIN),
            airflow_admin: secrets.get(secrets::AIRFLOW),
            airflow_signing: secrets.get(secrets::AIRFLOW_SIGNING),
            airflow_fernet: secrets.get(secrets::AIRFLOW_FERNET),
        },
        postgres_settings: Vec::new(),
        short_lived: false,
        // Nothing that was acknowledged is lost, whatever is killed.
        commit_log_sync: CommitLogSync::Group,
        kafka_outside: None,
        airflow: Some(airflow(settings, secrets)?),
        spark,
        progress: steps.of_servers(),
    })
}

/// The ports of the configuration, all of this machine.
fn ports(settings: &Settings) -> Result<Ports, ConfigError> {
    let local = &settings.pipeline.local;
    let kafka = &settings.kafka.bootstrap_servers;
    let cassandra = settings.cassandra.contact_points.first().map(String::as_str).unwrap_or_default();
    own_host("postgres.host", &settings.postgres.host)?;
    Ok(Ports {
        postgres: settings.postgres.port,
        zookeeper: local.zookeeper_port,
        kafka: port("kafka.bootstrap_servers", kafka)?,
        kafka_controller: local.kafka_controller_port,
        registry: url_port("registry.url", &settings.registry.url)?,
        cassandra: port("cassandra.contact_points", cassandra)?,
        cassandra_storage: local.cassandra_storage_port,
        airflow: url_port("airflow.url", &settings.airflow_url)?,
        spark_master: local.spark_master_port,
        spark_ui: local.spark_ui_port,
        spark_workers: local.spark_worker_ports,
    })
}

fn port(key: &str, address: &str) -> Result<u16, ConfigError> {
    let allowed = "`pipeline up` starts servers on this machine: write one address as 127.0.0.1:PORT";
    let (host, port) = address.rsplit_once(':').ok_or_else(|| ConfigError::invalid(key, address, allowed))?;
    own_host(key, host)?;
    port.parse().map_err(|_| ConfigError::invalid(key, address, allowed))
}

fn url_port(key: &str, url: &Url) -> Result<u16, ConfigError> {
    own_host(key, url.host_str().unwrap_or_default())?;
    url.port_or_known_default().ok_or_else(|| ConfigError::invalid(key, url.as_str(), "needs a port"))
}

fn own_host(key: &str, host: &str) -> Result<(), ConfigError> {
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Ok(());
    }
    let allowed =
        "`pipeline up` starts servers on this machine: write 127.0.0.1, or start only what is missing";
    Err(ConfigError::invalid(key, host, allowed))
}

/// What the DAG needs: where the fetcher and Cassandra are, as Airflow's connections.
fn airflow(settings: &Settings, secrets: &Secrets) -> Result<AirflowConfig, BoxError> {
    let fetcher = settings.fetcher.listen;
    let token = secrets.get(secrets::FETCHER);
    let fetcher = json!({
        "conn_type": "http",
        "host": fetcher.ip().to_string(),
        "port": fetcher.port(),
        "password": token.expose_secret(),
    });
    let cassandra = &settings.cassandra;
    let (hosts, ports): (Vec<&str>, Vec<&str>) =
        cassandra.contact_points.iter().filter_map(|point| point.rsplit_once(':')).unzip();
    let cassandra = json!({
        "conn_type": "cassandra",
        "host": hosts.join(","),
        "port": ports.first().map(|port| port.parse::<u16>()).transpose()?,
        "schema": cassandra.keyspace,
        "login": cassandra.user,
        "password": cassandra.password.as_ref().map(|password| password.expose_secret().to_owned()),
        "extra": { "local_datacenter": cassandra.local_datacenter },
    });
    let variable = |name: &str, value: String| (name.to_owned(), SecretString::from(value));
    Ok(AirflowConfig {
        dags: absolute(&settings.airflow.dags_folder)?,
        env: vec![
            variable("AIRFLOW_CONN_FETCHER", fetcher.to_string()),
            variable("AIRFLOW_CONN_CASSANDRA", cassandra.to_string()),
        ],
    })
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, BoxError> {
    Ok(std::path::absolute(path)?)
}
