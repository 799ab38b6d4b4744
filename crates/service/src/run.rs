//! From `main` to the end of the process.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::admin::{AdminServer, BindError};
use crate::cli::CommonArgs;
use crate::config::{Config, ConfigError};
use crate::crash;
use crate::health::Health;
use crate::shutdown::{DEADLINE, Tasks, on_signal};
use crate::telemetry;

/// Exit code for a configuration that can't be used.
pub const EXIT_CONFIG: u8 = 2;
/// Exit code for a service that failed.
pub const EXIT_FAILURE: u8 = 1;

/// What a service gets besides its configuration.
#[derive(Debug, Clone)]
pub struct Context {
    /// What the service waits for.
    pub health: Health,
    /// Where its long-lived work is started.
    pub tasks: Tasks,
    /// Cancelled at SIGTERM, SIGINT or the first failure.
    pub shutdown: CancellationToken,
    metrics: PrometheusHandle,
}

impl Context {
    /// Serves health, metrics and `extra` as a task; returns the address that is bound.
    ///
    /// # Errors
    /// The address can't be opened.
    pub async fn serve_admin(&self, listen: SocketAddr, extra: Router) -> Result<SocketAddr, BindError> {
        let server = AdminServer::bind(listen).await?;
        let address = server.address();
        self.tasks.spawn(
            "admin",
            server.serve(self.health.clone(), self.metrics.clone(), extra, self.shutdown.clone()),
        );
        self.tasks.spawn("metrics", telemetry::upkeep(self.metrics.clone(), self.shutdown.clone()));
        tracing::info!(%address, "listening");
        Ok(address)
    }
}

/// Runs a service: configuration, telemetry, runtime, `start`, then its tasks until they end.
///
/// `load` turns the configuration into what `start` needs, so that everything wrong with it is reported before
/// anything runs. `start` spawns its work on [`Context::tasks`] and returns, or does a finite job.
pub fn run<C>(
    name: &'static str,
    args: &CommonArgs,
    load: impl FnOnce(&Config) -> Result<C, ConfigError>,
    start: impl AsyncFnOnce(C, Context) -> Result<(), BoxError>,
) -> ExitCode {
    let (config, telemetry_config) = match configure(args, load) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(name, &error),
    };
    let metrics = match telemetry::init(&telemetry_config) {
        Ok(metrics) => metrics,
        Err(error) => {
            let allowed = format!("{error}; write a level such as info, or module=level,…");
            return refuse(
                name,
                &ConfigError::invalid("telemetry.log_level", &telemetry_config.log_level, allowed),
            );
        }
    };
    // Fails only where another part of the process installed one already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), "starting");

    if let Err(error) = crash::arm() {
        return refuse(name, &error);
    }
    match supervise(config, metrics, start) {
        Ok(()) => {
            tracing::info!(service = name, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(service = name, error = error_chain(error.as_ref()), "failed");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn configure<C>(
    args: &CommonArgs,
    load: impl FnOnce(&Config) -> Result<C, ConfigError>,
) -> Result<(C, crate::config::TelemetryConfig), ConfigError> {
    let config = Config::load(args)?;
    let telemetry = config.section("telemetry")?;
    Ok((load(&config).map_err(|error| config.locate(error))?, telemetry))
}

/// There is no log yet that could take it.
#[expect(clippy::print_stderr)]
pub(crate) fn refuse(name: &str, error: &ConfigError) -> ExitCode {
    eprintln!("{name}: {error}");
    ExitCode::from(EXIT_CONFIG)
}

fn supervise<C>(
    config: C,
    metrics: PrometheusHandle,
    start: impl AsyncFnOnce(C, Context) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        on_signal(shutdown.clone())?;
        let tasks = Tasks::new(shutdown.clone(), DEADLINE);
        let context =
            Context { health: Health::default(), tasks: tasks.clone(), shutdown: shutdown.clone(), metrics };
        let started = start(config, context).await;
        if started.is_err() {
            shutdown.cancel();
        }
        let joined = tasks.join().await;
        started?;
        joined?;
        Ok(())
    });
    // Threads that outlived the deadline must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// An error and all its sources on one line.
#[must_use]
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
