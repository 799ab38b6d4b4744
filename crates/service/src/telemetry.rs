//! Logs and metrics.

use std::convert::Infallible;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

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
    subscriber(config)?.try_init()?;
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?)
}

/// Installs the log subscriber alone, unless there is one: for a process that nobody scrapes.
///
/// # Errors
/// A filter that does not parse.
pub fn init_logs(config: &TelemetryConfig) -> Result<(), BoxError> {
    // Fails only where there is one, which serves as well.
    let _ = subscriber(config)?.try_init();
    Ok(())
}

fn subscriber(config: &TelemetryConfig) -> Result<impl SubscriberInitExt + use<>, BoxError> {
    let filter = filter(&config.log_level)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match config.log_format {
        LogFormat::Human => {
            layer.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// What `telemetry.log_level` lets through: a level, and levels of single modules.
///
/// # Errors
/// A directive that is neither a level nor `module=level`.
fn filter(directives: &str) -> Result<Targets, BoxError> {
    let all: Vec<&str> = directives.split(',').map(str::trim).collect();
    for directive in &all {
        // A word alone would pass as the name of a module, and silence everything else.
        if !directive.contains('=') && (directive.is_empty() || directive.parse::<LevelFilter>().is_err()) {
            return Err(format!("{directive:?} is not a level").into());
        }
    }
    let filter: Targets = all.join(",").parse()?;
    // Cassandra's driver writes several lines a second while a node is away, which whoever uses it reports once.
    Ok(if directives.contains("scylla") { filter } else { filter.with_target("scylla", LevelFilter::OFF) })
}

/// Sorts what histograms observed into their buckets every few seconds, until the shutdown. Without it the observations
/// pile up in memory for as long as nobody scrapes.
pub async fn upkeep(metrics: PrometheusHandle, shutdown: CancellationToken) -> Result<(), Infallible> {
    while shutdown.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_some() {
        metrics.run_upkeep();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn levels_are_of_all_or_of_a_module() {
        let filter = filter("warn, relay=debug").unwrap();
        assert!(filter.would_enable("relay", &Level::DEBUG));
        assert!(!filter.would_enable("fetcher", &Level::INFO));
        assert!(!filter.would_enable("scylla", &Level::ERROR));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        assert!(filter("verbose").unwrap_err().to_string().contains("verbose"));
        assert!(filter("relay=loud").is_err());
        assert!(filter("").is_err());
    }
}
