//! A Spark cluster for the tests, and jobs to submit to it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use local_servers::{Server, ServiceSpec, SparkConfig, SparkJob, Stack, StackConfig, spark_job};

use crate::{binary, project_file, shared};

const MODULE: &str = "libdatastreaming_spark.so";

/// A master and two workers, started when first asked for.
pub fn cluster() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let mut config = StackConfig::on_free_ports(shared::fresh_root("spark")).expect("a configuration");
        config.servers = vec![Server::Spark];
        let module = binary(MODULE);
        config.spark = Some(SparkConfig { module, env: Vec::new() });
        shared::start(config)
    })
}

/// How a job is submitted.
#[derive(Debug)]
pub struct Submission<'a> {
    /// The job's arguments.
    pub args: Vec<&'a str>,
    /// The job's program.
    pub script: PathBuf,
    /// Whether the Kafka connector is there.
    pub connector: bool,
    /// A folder with Python modules that come first.
    pub modules: Option<PathBuf>,
    /// Another master than that of [`cluster`].
    pub master: Option<String>,
    /// Settings of Spark over the usual ones.
    pub settings: Vec<(&'a str, String)>,
}

impl Default for Submission<'_> {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            script: project_file("spark/users_job.py"),
            connector: true,
            modules: None,
            master: None,
            settings: Vec::new(),
        }
    }
}

impl Submission<'_> {
    /// The driver's process. The executors get the environment through Spark: their workers are shared by all tests.
    pub(crate) async fn spec(&self, stack: &Stack, environment: &[(String, String)]) -> ServiceSpec {
        let servers = if self.master.is_some() {
            local_servers::install_spark_module(stack.config(), &binary(MODULE)).expect("the module");
            stack.config()
        } else {
            tokio::task::spawn_blocking(cluster).await.expect("a Spark cluster").config()
        };
        let own =
            environment.iter().map(|(name, value)| (format!("spark.executorEnv.{name}"), value.clone()));
        let mut settings: Vec<(String, String)> = own.collect();
        settings.push(("spark.ui.enabled".to_owned(), "false".to_owned()));
        settings.extend(self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let job = SparkJob {
            name: "spark",
            script: &self.script,
            args: &self.args,
            settings: &settings,
            connector: self.connector,
            master: self.master.as_deref(),
        };
        let mut spec = spark_job(servers, &job).expect("a job");
        let own = environment.iter().map(|(name, value)| (name.clone(), OsString::from(value)));
        spec.env.extend(own);
        if let Some(modules) = &self.modules {
            // Of two variables of one name the last one counts.
            spec.env.push(("PYTHONPATH".to_owned(), modules.into()));
        }
        spec
    }
}
