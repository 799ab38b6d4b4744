//! Spark's standalone cluster: a master and two workers of one core and 1 GB, and the jobs that are submitted to it.
//!
//! Programs and Python are those of PyPI's package. Executors are children of their worker and have its environment,
//! so what the pipeline's module needs is in that of the workers.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use secrecy::ExposeSecret;

use super::{Context, create_folder};
use crate::{
    artifacts::{self, Cache, SPARK, SPARK_KAFKA, find_program},
    config::{Server, StackConfig},
    error::{Error, Result},
    probe::Probe,
    process::ProcessSpec,
    service::ServiceSpec,
};

/// The module's name in Python, and so that of its file.
const MODULE: &str = "datastreaming_spark.abi3.so";
/// Its jars, by how their names begin: what else it depends on is part of Spark.
const CONNECTOR: [&str; 4] =
    ["spark-sql-kafka-", "spark-token-provider-kafka-", "kafka-clients-", "commons-pool2-"];
const MASTER: &str = "spark-master";
const WORKERS: [&str; 2] = ["spark-worker-1", "spark-worker-2"];

/// Where the master's pages are.
pub(crate) fn url(config: &StackConfig) -> String {
    format!("http://127.0.0.1:{}", config.ports.spark_ui)
}

pub(super) fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let spark = config.spark.as_ref().ok_or_else(|| {
        Error::Config("spark is among the servers, but StackConfig::spark names no module".to_owned())
    })?;
    install(config, &spark.module)?;
    let ports = &config.ports;
    let master = master(config);
    let own = |class: &str, ui: u16| {
        let class = format!("org.apache.spark.deploy.{class}");
        [&class, "--host", "127.0.0.1", "--webui-port", &ui.to_string()].map(OsString::from).to_vec()
    };
    let mut args = own("master.Master", ports.spark_ui);
    args.extend(["--port".into(), ports.spark_master.to_string().into()]);
    let mut processes = vec![process(config, MASTER, args, ports.spark_ui, vec![ports.spark_master])?];
    for (name, ui) in WORKERS.into_iter().zip(ports.spark_workers) {
        let work = folder(config).join(name);
        let mut args = own("worker.Worker", ui);
        args.extend(["--cores", "1", "--memory", "1g", "--work-dir"].map(OsString::from));
        args.extend([work.into(), OsString::from(&master)]);
        let mut worker = process(config, name, args, ui, Vec::new())?;
        worker.env.extend(spark.env.iter().map(|(key, value)| (key.clone(), value.expose_secret().into())));
        worker.needs.push(MASTER.to_owned());
        processes.push(worker);
    }
    Ok(processes)
}

fn master(config: &StackConfig) -> String {
    format!("spark://127.0.0.1:{}", config.ports.spark_master)
}

fn process(
    config: &StackConfig,
    name: &str,
    args: Vec<OsString>,
    ui: u16,
    more_ports: Vec<u16>,
) -> Result<ProcessSpec> {
    let script = home(&config.cache)?.join("bin/spark-class");
    Ok(ProcessSpec {
        name: name.to_owned(),
        version: SPARK.version.to_owned(),
        program: find_program("bash", "bash", "Spark")?,
        args: std::iter::once(script.into()).chain(args).collect(),
        env: environment(config)?,
        env_remove: REMOVED.to_vec(),
        directory: folder(config),
        user: None,
        log: config.log(name),
        port: Some(ui),
        listens: std::iter::once(ui).chain(more_ports).collect(),
        precondition: None,
        ready: Probe::Http { url: format!("http://127.0.0.1:{ui}/json/") },
        ready_within: Duration::from_secs(300),
        stop: Signal::SIGTERM,
        stop_within: Duration::from_secs(15),
        is_service: false,
        needs: Vec::new(),
    })
}

/// What from outside would change another Spark, Java or Python into ours.
const REMOVED: &[&str] = &[
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "SPARK_CONF_DIR",
    "PYSPARK_SUBMIT_ARGS",
    "PYTHONHOME",
    "PYTHONSTARTUP",
];

/// Of the master, the workers and the drivers.
fn environment(config: &StackConfig) -> Result<Vec<(String, OsString)>> {
    let python = config.cache.folder(&SPARK)?.join("bin/python");
    let java = artifacts::java()?;
    let java = fs::canonicalize(&java).map_err(Error::file("find", &java))?;
    let scratch = scratch(config);
    let mut all: Vec<(String, OsString)> = vec![
        ("SPARK_HOME".to_owned(), home(&config.cache)?.into()),
        ("SPARK_LOCAL_IP".to_owned(), "127.0.0.1".into()),
        ("SPARK_LOCAL_DIRS".to_owned(), scratch.clone().into()),
        ("TMPDIR".to_owned(), scratch.clone().into()),
        ("SPARK_DAEMON_MEMORY".to_owned(), "256m".into()),
        // What executors leave behind, of jobs that have ended.
        (
            "SPARK_DAEMON_JAVA_OPTS".to_owned(),
            format!(
                "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dspark.worker.cleanup.enabled=true {}",
                java_tmpdir(config)
            )
            .into(),
        ),
        ("PYSPARK_PYTHON".to_owned(), python.clone().into()),
        ("PYSPARK_DRIVER_PYTHON".to_owned(), python.into()),
        ("PYTHONPATH".to_owned(), modules(config).into()),
    ];
    if let Some(home) = java.ancestors().nth(2) {
        all.push(("JAVA_HOME".to_owned(), home.into()));
    }
    Ok(all)
}

/// Puts the module where the Python of a stack's workers and drivers finds it.
pub fn install(config: &StackConfig, module: &Path) -> Result<()> {
    let modules = modules(config);
    create_folder(&modules)?;
    create_folder(&scratch(config))?;
    // Beside the old one and then in its place: a process that has it open keeps it whole.
    let (next, place) = (modules.join("next"), modules.join(MODULE));
    fs::copy(module, &next).map_err(Error::file("copy the module", module))?;
    fs::rename(&next, &place).map_err(Error::file("replace", place))
}

fn folder(config: &StackConfig) -> PathBuf {
    config.data(Server::Spark.name())
}

/// For temporary files, which a killed process leaves behind.
fn scratch(config: &StackConfig) -> PathBuf {
    folder(config).join("scratch")
}

/// What makes a Java program use it; quoted, as Spark splits options at blanks.
fn java_tmpdir(config: &StackConfig) -> String {
    format!("\"-Djava.io.tmpdir={}\"", scratch(config).display())
}

fn modules(config: &StackConfig) -> PathBuf {
    folder(config).join("python")
}

/// `SPARK_HOME`: in the virtual environment, whose folder has Python's version in its name.
fn home(cache: &Cache) -> Result<PathBuf> {
    let libraries = cache.folder(&SPARK)?.join("lib");
    let entries = fs::read_dir(&libraries).map_err(Error::file("read", &libraries))?;
    let mut homes = entries.flatten().map(|entry| entry.path().join("site-packages/pyspark"));
    homes
        .find(|home| home.join("bin/spark-class").is_file())
        .ok_or_else(|| Error::Config(format!("there is no Spark in {}", libraries.display())))
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Its name in the stack.
    pub name: &'a str,
    /// The Python program.
    pub script: &'a Path,
    /// Its arguments.
    pub args: &'a [&'a str],
    /// Settings of Spark, over ours.
    pub settings: &'a [(&'a str, &'a str)],
    /// Whether the Kafka connector is on its class path.
    pub connector: bool,
    /// Another master than the stack's.
    pub master: Option<&'a str>,
}

/// The driver of a job, as a service of a stack. It has no environment of the pipeline's yet.
pub fn job(config: &StackConfig, job: &Job<'_>) -> Result<ServiceSpec> {
    let mut spec = ServiceSpec::new(job.name, find_program("bash", "bash", "Spark")?);
    let mut args: Vec<OsString> = vec![
        home(&config.cache)?.join("bin/spark-submit").into(),
        "--master".into(),
        job.master.map_or_else(|| master(config), str::to_owned).into(),
    ];
    let temporary = java_tmpdir(config);
    let ours = [
        ("spark.driver.host", "127.0.0.1"),
        ("spark.driver.bindAddress", "127.0.0.1"),
        ("spark.driver.extraJavaOptions", temporary.as_str()),
        ("spark.executor.extraJavaOptions", temporary.as_str()),
        ("spark.driver.memory", "512m"),
        ("spark.executor.memory", "1g"),
    ];
    for (key, value) in ours.iter().chain(job.settings) {
        args.extend(["--conf".into(), format!("{key}={value}").into()]);
    }
    if job.connector {
        args.extend(["--jars".into(), jars(&config.cache)?.into()]);
    }
    args.push(job.script.into());
    args.extend(job.args.iter().map(OsString::from));
    spec.args = args;
    spec.env = environment(config)?;
    spec.ready_within = Duration::from_secs(300);
    Ok(spec)
}

/// The connector's jars, as `--jars` takes them.
fn jars(cache: &Cache) -> Result<String> {
    let folder = cache.folder(&SPARK_KAFKA)?.join("libs");
    let entries = fs::read_dir(&folder).map_err(Error::file("read", &folder))?;
    let needed = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        CONNECTOR.iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
    };
    let mut jars: Vec<String> =
        entries.flatten().filter(needed).map(|entry| entry.path().display().to_string()).collect();
    jars.sort_unstable();
    Ok(jars.join(","))
}
