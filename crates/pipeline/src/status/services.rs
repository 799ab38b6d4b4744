//! What the services say of themselves on their admin ports.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use service::error_chain;

use crate::config::Settings;

const PATIENCE: Duration = Duration::from_secs(3);

/// A service and what it says.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    pub(super) name: &'static str,
    pub(super) address: String,
    pub(crate) ready: bool,
    /// What it waits for, by part.
    pub(super) waiting: BTreeMap<String, String>,
    /// Why it can't be asked.
    pub(super) problem: Option<String>,
    /// Age of what it works on, the largest of its partitions.
    pub(super) lag_seconds: Option<f64>,
}

/// The document of `/readyz`.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    waiting: BTreeMap<String, String>,
}

impl Service {
    pub(crate) fn state(&self) -> String {
        match (&self.problem, self.ready) {
            (Some(problem), _) => format!("away: {problem}"),
            (None, true) => "ready".to_owned(),
            (None, false) => {
                let reasons: Vec<String> =
                    self.waiting.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
                format!("waiting for {}", reasons.join("; "))
            }
        }
    }
}

pub(super) async fn ask(settings: &Settings) -> Vec<Service> {
    let admin = &settings.pipeline.admin;
    let all = [
        ("fetcher", &admin.fetcher, settings.fetcher.listen),
        ("relay", &admin.relay, settings.relay.listen),
        ("stream-processor", &admin.stream_processor, settings.stream_processor.listen),
        ("cassandra-sink", &admin.cassandra_sink, settings.cassandra_sink.listen),
    ];
    let asked = all
        .map(|(name, address, listen)| ask_one(name, address.clone().unwrap_or_else(|| listen.to_string())));
    join_all(asked).await
}

/// Asks the service whose admin routes are at `address`.
pub(crate) async fn ask_one(name: &'static str, address: String) -> Service {
    let mut service = Service {
        name,
        address: address.clone(),
        ready: false,
        waiting: BTreeMap::new(),
        problem: None,
        lag_seconds: None,
    };
    match readiness(&address).await {
        Ok((readiness, metrics)) => {
            service.ready = readiness.ready;
            service.waiting = readiness.waiting;
            service.lag_seconds = lag_seconds(&metrics);
        }
        Err(error) => service.problem = Some(error_chain(&error)),
    }
    service
}

async fn readiness(address: &str) -> Result<(Readiness, String), reqwest::Error> {
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let readiness = client.get(format!("http://{address}/readyz")).send().await?.json().await?;
    let metrics = client.get(format!("http://{address}/metrics")).send().await?.text().await?;
    Ok((readiness, metrics))
}

/// The largest gauge whose name ends in `lag_seconds`, in the Prometheus text format.
fn lag_seconds(metrics: &str) -> Option<f64> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        name.ends_with("lag_seconds").then(|| value.parse::<f64>().ok())?
    });
    samples.reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::lag_seconds;

    #[test]
    fn the_largest_lag_counts() {
        let metrics = "# HELP pipeline_lag_seconds x 9\npipeline_lag_seconds{partition=\"0\"} 0.5\n\
                       pipeline_lag_seconds{partition=\"1 2\"} 2.5\npipeline_commit_seconds_sum 99\n";
        assert_eq!(lag_seconds(metrics), Some(2.5));
        assert_eq!(lag_seconds("pipeline_rows_total 3\n"), None);
    }
}
