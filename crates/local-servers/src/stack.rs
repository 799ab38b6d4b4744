//! A running stack: its processes by name, to be killed, paused, restarted and stopped while others run.
//!
//! Nothing is restarted by itself. No value here belongs to an async runtime, so one stack can be shared by
//! tests that each have their own.

use std::{path::PathBuf, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    config::StackConfig,
    error::Result,
    service::ServiceSpec,
    start,
    state::Endpoints,
    supervisor::Supervisor,
    table::{ProcessState, ProcessStatus},
};

/// A set of running servers and services. Dropped without [`Stack::shutdown`], all are killed.
#[derive(Clone, Debug)]
pub struct Stack {
    supervisor: Arc<Supervisor>,
}

impl Stack {
    /// Fetches what is missing and starts all servers, side by side where they do not need one another.
    /// Returns when every one answers its own protocol. On any failure all are killed.
    ///
    /// # Errors
    /// Another supervisor in this root, a taken port, a missing program, a failed download, or a server that
    /// ended or did not answer, with the last lines of its log.
    pub async fn start(config: StackConfig) -> Result<Self> {
        let supervisor = Supervisor::take(config).await?;
        if let Err(error) = start::servers(&supervisor).await {
            supervisor.kill_all().await?;
            return Err(error);
        }
        supervisor.all_ready()?;
        Ok(Self { supervisor })
    }

    /// Starts one of our own binaries under the same supervision and waits until it is ready.
    pub async fn start_service(&self, spec: ServiceSpec, version: &str) -> Result<()> {
        // Services come and go without regard to one another; each is stopped before every server.
        let needs = self.supervisor.servers();
        self.supervisor.start(spec.process(&self.supervisor.config, version, needs)).await
    }

    /// Kills a process with SIGKILL, all its descendants too, and waits until they are gone.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.supervisor.kill(name).await
    }

    /// Freezes a process with its descendants (SIGSTOP).
    pub fn pause(&self, name: &str) -> Result<()> {
        self.supervisor.set_paused(name, true)
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self, name: &str) -> Result<()> {
        self.supervisor.set_paused(name, false)
    }

    /// Stops a process in good order, by force after its deadline.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.supervisor.stop(name).await
    }

    /// Stops a process if it runs, starts it again and waits until it is ready.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let spec = self.supervisor.spec(name)?;
        self.supervisor.stop(name).await?;
        self.supervisor.start(spec).await
    }

    /// Every process that was started, in that order.
    pub fn status(&self) -> Vec<ProcessStatus> {
        self.supervisor.status()
    }

    /// The processes that have ended by themselves, and how.
    pub fn exited(&self) -> Vec<(String, String)> {
        let ended = |status: ProcessStatus| match status.state {
            ProcessState::Exited(how) => Some((status.record.name, how)),
            ProcessState::Ready | ProcessState::Starting | ProcessState::Paused | ProcessState::Stopped => {
                None
            }
        };
        self.status().into_iter().filter_map(ended).collect()
    }

    /// Stops everything: first what others do not need. Clean afterwards: the state file is gone.
    pub async fn shutdown(&self) -> Result<()> {
        self.supervisor.shutdown().await
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &StackConfig {
        &self.supervisor.config
    }

    /// Where the servers are.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints::of(&self.supervisor.config)
    }

    /// `host:port` for Kafka clients.
    pub fn kafka_bootstrap(&self) -> String {
        self.endpoints().kafka_bootstrap
    }

    /// Base URL of the Schema Registry's Confluent API.
    pub fn registry_url(&self) -> String {
        self.endpoints().registry_url
    }

    /// `host:port` for CQL clients.
    pub fn cassandra(&self) -> String {
        self.endpoints().cassandra
    }

    /// Base URL of Airflow.
    pub fn airflow_url(&self) -> String {
        self.endpoints().airflow_url
    }

    /// URL of a database, with the superuser's password.
    pub fn postgres_url(&self, database: &str) -> SecretString {
        let password = self.supervisor.config.secrets.postgres.expose_secret();
        let port = self.supervisor.config.ports.postgres;
        format!("postgres://{}:{password}@127.0.0.1:{port}/{database}", crate::servers::SUPERUSER).into()
    }

    /// The log file of a process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.supervisor.config.log(name)
    }
}
