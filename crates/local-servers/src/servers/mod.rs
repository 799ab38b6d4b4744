//! How each server is prepared and started; one file per server.
//!
//! A server's `plan` writes its configuration, runs what must run once (`initdb`, formatting, migrations),
//! and returns the processes to start. To add one: its file here, a variant of [`Server`], its artifact.

mod airflow;
mod cassandra;
mod java;
mod kafka;
mod postgres;
mod registry;
mod spark;
mod zookeeper;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) use airflow::url as airflow_url;
pub(crate) use postgres::{SUPERUSER, options as postgres_options};
pub(crate) use registry::url as registry_url;
pub(crate) use spark::url as spark_url;
pub use spark::{Job as SparkJob, install as install_spark_module, job as spark_job};

use crate::{
    config::{Server, StackConfig},
    error::{Error, Result},
    process::ProcessSpec,
    progress::Step,
    user::SystemUser,
    watchdog::Watchdog,
};

/// What a plan works with.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a StackConfig,
    pub(crate) watchdog: &'a Watchdog,
    pub(crate) step: &'a Step,
}

/// Prepares a server. All it needs must be ready.
pub(crate) async fn plan(server: Server, context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    match server {
        Server::Postgres => postgres::plan(context).await,
        Server::Zookeeper => zookeeper::plan(context),
        Server::Kafka => kafka::plan(context).await,
        Server::Registry => registry::plan(context),
        Server::Cassandra => cassandra::plan(context),
        Server::Airflow => airflow::plan(context).await,
        Server::Spark => spark::plan(context),
    }
}

/// The ports that a server will listen on.
pub(crate) fn listens(server: Server, config: &StackConfig) -> Vec<u16> {
    let ports = &config.ports;
    match server {
        Server::Postgres => vec![ports.postgres],
        Server::Zookeeper => vec![ports.zookeeper],
        Server::Kafka => {
            let outside = config.kafka_outside.map(|outside| outside.listen);
            let controller = config.kraft.then_some(ports.kafka_controller);
            std::iter::once(ports.kafka).chain(outside).chain(controller).collect()
        }
        Server::Registry => vec![ports.registry],
        Server::Cassandra => vec![ports.cassandra, ports.cassandra_storage],
        Server::Airflow => vec![ports.airflow],
        Server::Spark => {
            [ports.spark_master, ports.spark_ui].into_iter().chain(ports.spark_workers).collect()
        }
    }
}

/// Every folder with data of the stack in this root: the root itself, and where PostgreSQL's user could not get at
/// it, the folder that it has instead. They need not exist.
pub fn data_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let root = std::path::absolute(root).map_err(Error::file("find", root))?;
    let user = SystemUser::for_postgres()?;
    let postgres = postgres::data_folder(user.as_ref(), data(&root, Server::Postgres.name()));
    let elsewhere = (!postgres.starts_with(&root)).then_some(postgres);
    Ok(std::iter::once(root).chain(elsewhere).collect())
}

/// Where a server keeps its data below a root.
pub(crate) fn data(root: &Path, name: &str) -> PathBuf {
    root.join("data").join(name)
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    fs::write(path, text).map_err(Error::file("write", path))
}
