//! Airflow: API server, scheduler, DAG processor and triggerer, each its own process with its own log.
//!
//! Its metadata is in PostgreSQL (database `airflow`); tasks run under the scheduler (LocalExecutor). Sized for
//! a machine with two cores. The one user is `admin` (SimpleAuthManager).

use std::{env, ffi::OsString, fs, path::Path, time::Duration};

use nix::sys::signal::Signal;
use secrecy::ExposeSecret;
use sqlx::{Connection, postgres::PgConnection};

use super::{Context, create_folder, postgres::SUPERUSER, postgres_options};
use crate::{
    artifacts::AIRFLOW,
    config::{AirflowConfig, Server, StackConfig, write_private},
    error::{Error, Result},
    job::Job,
    probe::Probe,
    process::ProcessSpec,
};

const DATABASE: &str = "airflow";

/// A component's process name, its arguments, and the fields of the health report that tell of it.
/// Logs are read from files; the log servers on fixed ports are left out.
const COMPONENTS: &[(&str, &[&str], &str, Option<&str>)] = &[
    ("airflow-api-server", &["api-server"], "metadatabase", None),
    (
        "airflow-scheduler",
        &["scheduler", "--skip-serve-logs"],
        "scheduler",
        Some("latest_scheduler_heartbeat"),
    ),
    ("airflow-dag-processor", &["dag-processor"], "dag_processor", Some("latest_dag_processor_heartbeat")),
    (
        "airflow-triggerer",
        &["triggerer", "--skip-serve-logs"],
        "triggerer",
        Some("latest_triggerer_heartbeat"),
    ),
];

/// Where its pages and API are.
pub(crate) fn url(config: &StackConfig) -> String {
    format!("http://127.0.0.1:{}", config.ports.airflow)
}

pub(super) async fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let airflow = config.airflow.as_ref().ok_or_else(|| {
        Error::Config("airflow is among the servers, but StackConfig::airflow names no DAG folder".to_owned())
    })?;
    let home = config.data(Server::Airflow.name());
    create_folder(&home)?;
    let passwords = home.join("passwords.json");
    let users = serde_json::json!({ "admin": config.secrets.airflow_admin.expose_secret() });
    write_private(&passwords, users.to_string().as_bytes())?;
    let venv = config.cache.folder(&AIRFLOW)?;
    let environment = environment(config, airflow, &home, &passwords, &venv)?;
    create_database(config).await?;
    migrate(context, &home, &venv, &environment).await?;
    let process =
        |(name, args, component, heartbeat): &(&str, &[&str], &'static str, Option<&'static str>)| {
            let serves = *component == "metadatabase";
            ProcessSpec {
                name: (*name).to_owned(),
                version: AIRFLOW.version.to_owned(),
                program: venv.join("bin/airflow"),
                args: args.iter().map(Into::into).collect(),
                env: environment.clone(),
                env_remove: vec!["PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"],
                directory: home.clone(),
                user: None,
                log: config.log(name),
                port: serves.then_some(config.ports.airflow),
                listens: if serves { super::listens(Server::Airflow, config) } else { Vec::new() },
                precondition: None,
                ready: Probe::Airflow { url: url(config), component, heartbeat: *heartbeat },
                ready_within: Duration::from_secs(420),
                stop: Signal::SIGTERM,
                stop_within: Duration::from_secs(15),
                is_service: false,
                needs: vec![Server::Postgres.name().to_owned()],
            }
        };
    Ok(COMPONENTS.iter().map(process).collect())
}

async fn create_database(config: &StackConfig) -> Result<()> {
    let create = async {
        let mut connection = PgConnection::connect_with(&postgres_options(config, SUPERUSER)).await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            sqlx::query("CREATE DATABASE airflow").execute(&mut connection).await?;
        }
        connection.close().await
    };
    create.await.map_err(|source| Error::Postgres { action: "create Airflow's database".to_owned(), source })
}

/// Brings Airflow's tables to its version. That takes seconds, so the version done is kept beside them, in the
/// comment of the database: it cannot outlive them.
async fn migrate(
    context: &Context<'_>,
    home: &Path,
    venv: &Path,
    environment: &[(String, OsString)],
) -> Result<()> {
    let failed = |source| Error::Postgres { action: "read or set Airflow's version".to_owned(), source };
    let options = postgres_options(context.config, DATABASE);
    let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
    let done: Option<String> = sqlx::query_scalar(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed)?;
    let wanted = format!("migrated to Airflow {}", AIRFLOW.version);
    if done.as_deref() == Some(wanted.as_str()) {
        return Ok(());
    }
    context.step.say("migrating its database");
    let job = Job {
        what: "airflow db migrate".to_owned(),
        program: venv.join("bin/airflow"),
        args: vec!["db".into(), "migrate".into()],
        env: environment.to_vec(),
        directory: home.to_owned(),
        user: None,
        log: context.config.log("airflow-migrate"),
        hint: "drop the database `airflow` and start again".to_owned(),
        within: Duration::from_secs(300),
    };
    job.run(context.watchdog, || {}).await?;
    // COMMENT takes no parameters; the text is made of our own constants.
    let comment = format!("COMMENT ON DATABASE {DATABASE} IS '{wanted}'");
    sqlx::query(sqlx::AssertSqlSafe(comment)).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

fn environment(
    config: &StackConfig,
    airflow: &AirflowConfig,
    home: &Path,
    passwords: &Path,
    venv: &Path,
) -> Result<Vec<(String, OsString)>> {
    let dags = fs::canonicalize(&airflow.dags).map_err(Error::file("find the DAG folder", &airflow.dags))?;
    let secrets = &config.secrets;
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(venv.join("bin")).chain(env::split_paths(&path));
    let path = env::join_paths(folders)
        .map_err(|error| Error::Config(format!("PATH cannot be extended for Airflow: {error}")))?;
    let database = format!(
        "postgresql+psycopg2://{SUPERUSER}:{}@127.0.0.1:{}/{DATABASE}",
        percent_encode(secrets.postgres.expose_secret()),
        config.ports.postgres
    );
    let port = config.ports.airflow.to_string();
    let text = |name: &str, value: &str| (name.to_owned(), OsString::from(value));
    let mut all = vec![
        ("PATH".to_owned(), path),
        ("AIRFLOW_HOME".to_owned(), home.as_os_str().to_owned()),
        ("AIRFLOW__CORE__DAGS_FOLDER".to_owned(), dags.into_os_string()),
        text("AIRFLOW__CORE__LOAD_EXAMPLES", "False"),
        text("AIRFLOW__CORE__EXECUTOR", "LocalExecutor"),
        text("AIRFLOW__CORE__PARALLELISM", "4"),
        text("AIRFLOW__CORE__FERNET_KEY", secrets.airflow_fernet.expose_secret()),
        text("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", &format!("{}/execution/", url(config))),
        text("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin"),
        ("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE".to_owned(), passwords.as_os_str().to_owned()),
        text("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", &database),
        text("AIRFLOW__API__HOST", "127.0.0.1"),
        text("AIRFLOW__API__PORT", &port),
        text("AIRFLOW__API__WORKERS", "1"),
        text("AIRFLOW__API__BASE_URL", &url(config)),
        text("AIRFLOW__API__SECRET_KEY", secrets.airflow_signing.expose_secret()),
        text("AIRFLOW__API_AUTH__JWT_SECRET", secrets.airflow_signing.expose_secret()),
        text("AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES", "1"),
        text("AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL", "10"),
        text("AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC", "2"),
        text("AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK", "False"),
        text("AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC", "2"),
        // A task that asks a busy API server once more only makes it busier.
        text("AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT", "30"),
        text("AIRFLOW__USAGE_DATA_COLLECTION__ENABLED", "False"),
        text("AIRFLOW__LOGGING__COLORED_CONSOLE_LOG", "False"),
        text("PYTHONWARNINGS", "ignore"),
        text("NO_COLOR", "1"),
    ];
    all.extend(airflow.env.iter().map(|(name, value)| text(name, value.expose_secret())));
    Ok(all)
}

/// For the password in a URL (RFC 3986, section 2.1).
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
