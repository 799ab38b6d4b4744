//! Logs and metrics.

use std::convert::Infallible;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::BoxError;
use crate::config::sections::{LogFormat, TelemetryConfig};

/// Upper bounds of every `_seconds` histogram: 1 ms to 60 s, fit for both a commit and an end-to-end latency.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the log subscriber and the metrics recorder; to be called once a process.
///
/// # Errors
/// A filter that does not parse, or a second call.
pub fn init(config: &TelemetryConfig) -> Result<PrometheusHandle, BoxError> {
    let mut filter = EnvFilter::try_new(&config.log_level)?;
    // Cassandra's driver writes several lines a second while a node is away, which whoever uses it reports once.
    if !config.log_level.contains("scylla") {
        filter = filter.add_directive("scylla=off".parse()?);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SystemTime)
        .with_writer(std::io::stderr)
        .with_target(false);
    match config.log_format {
        LogFormat::Human => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()?
        }
        LogFormat::Json => builder.json().flatten_event(true).with_target(true).try_init()?,
    }
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?)
}

/// Sorts what histograms observed into their buckets every few seconds, until the shutdown. Without it the observations
/// pile up in memory for as long as nobody scrapes.
pub(crate) async fn upkeep(metrics: PrometheusHandle, shutdown: CancellationToken) -> Result<(), Infallible> {
    while shutdown.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_some() {
        metrics.run_upkeep();
    }
    Ok(())
}
