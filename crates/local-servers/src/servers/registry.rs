//! Schema Registry: Apicurio with the Confluent API under `/apis/ccompat/v7`.

use std::time::Duration;

use super::{Context, create_folder, java::JavaServer};
use crate::{
    artifacts::REGISTRY,
    config::{Server, StackConfig},
    error::Result,
    probe::Probe,
    process::ProcessSpec,
};

const RUNNER: &str = "apicurio-registry-app-2.5.11.Final-runner.jar";

/// The base of the Confluent API.
pub(crate) fn url(config: &StackConfig) -> String {
    format!("http://127.0.0.1:{}/apis/ccompat/v7", config.ports.registry)
}

pub(super) fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let folder = config.data(Server::Registry.name());
    create_folder(&folder)?;
    // Without WRITE_DELAY=0 a killed registry forgets what it acknowledged in the last half second.
    let database = format!("jdbc:h2:file:{}/registry;WRITE_DELAY=0", folder.display());
    let server = JavaServer {
        server: Server::Registry,
        version: REGISTRY.version,
        heap_mb: 256,
        options: vec!["-XX:+UseSerialGC".into()],
        run: vec!["-jar".into(), config.cache.folder(&REGISTRY)?.join(RUNNER).into()],
        env: vec![
            ("QUARKUS_HTTP_HOST".to_owned(), "127.0.0.1".into()),
            ("QUARKUS_HTTP_PORT".to_owned(), config.ports.registry.to_string().into()),
            ("QUARKUS_LOG_LEVEL".to_owned(), "WARN".into()),
            ("REGISTRY_DATASOURCE_URL".to_owned(), database.into()),
        ],
        port: config.ports.registry,
        ready: Probe::Http { url: format!("{}/subjects", url(config)) },
        stop_within: Duration::from_secs(15),
    };
    Ok(vec![server.process(context)?])
}
