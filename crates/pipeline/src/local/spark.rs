//! Spark's cluster and job, in place of the stream-processor.

use std::path::{Path, PathBuf};

use local_servers::{ServiceSpec, SparkConfig, SparkJob, StackConfig, programs, spark_job};
use operate::config::Settings;
use operate::local::{Manifest, RootError, Secrets, secrets};
use secrecy::{ExposeSecret as _, SecretString};
use service::BoxError;

use super::error::LocalError;

/// The job's name among the processes.
pub(crate) const JOB: &str = "spark-job";
/// What is built of `crates/spark-module`, beside the binaries.
const MODULE: &str = "libdatastreaming_spark.so";
/// From the working directory, as the configuration files are.
const SCRIPT: &str = "spark/users_job.py";
/// Offsets of a batch at the most: what two executors of 1 GB have done with in a few seconds.
const MAX_RECORDS: &str = "100000";

/// What the executors need: the module, and the processor's configuration.
pub(super) fn cluster(secrets: &Secrets, manifest: &Manifest) -> Result<SparkConfig, BoxError> {
    let module = programs()?.join(MODULE);
    if !module.is_file() {
        return Err(LocalError::NoModule(module).into());
    }
    Ok(SparkConfig { module, env: environment(secrets, manifest) })
}

/// The driver; ready when it has everything it waits for and its query runs.
pub(super) fn job(
    servers: &StackConfig,
    settings: &Settings,
    secrets: &Secrets,
    manifest: &Manifest,
) -> Result<ServiceSpec, BoxError> {
    let script = script()?;
    let checkpoint = servers.root.join("data/spark/checkpoint").display().to_string();
    let job = SparkJob {
        name: JOB,
        script: &script,
        args: &["--max-records", MAX_RECORDS, "--checkpoint", &checkpoint],
        settings: &[],
        connector: true,
        master: None,
    };
    let mut spec = spark_job(servers, &job)?;
    let own = environment(secrets, manifest);
    spec.env.extend(own.iter().map(|(name, value)| (name.clone(), value.expose_secret().into())));
    let listen = settings.stream_processor.listen;
    spec.port = Some(listen.port());
    spec.ready = Some(format!("http://{listen}/readyz"));
    Ok(spec)
}

/// The processor's.
fn environment(secrets: &Secrets, manifest: &Manifest) -> Vec<(String, SecretString)> {
    let files: Vec<String> = manifest.config.iter().map(|file| file.display().to_string()).collect();
    vec![
        ("PIPELINE_CONFIG".to_owned(), files.join(",").into()),
        (secrets::HMAC_KEY.to_owned(), secrets.get(secrets::HMAC_KEY)),
    ]
}

fn script() -> Result<PathBuf, RootError> {
    let script = std::path::absolute(SCRIPT).map_err(RootError::file("find", Path::new(SCRIPT)))?;
    if script.is_file() {
        return Ok(script);
    }
    Err(RootError::file("find", &script)(std::io::ErrorKind::NotFound.into()))
}
