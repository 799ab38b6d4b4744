use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use service::error_chain;

use crate::config::Settings;

/// Limits one request.
const PATIENCE: Duration = Duration::from_secs(3);

/// Has what a service says of itself on its admin port.
#[derive(Debug, Serialize)]
pub struct ServiceStatus {
    /// Names the service.
    pub name: &'static str,
    /// Where it was asked, as `HOST:PORT`.
    pub address: String,
    /// Says whether it is ready.
    pub ready: bool,
    /// Says what it waits for, by part.
    pub waiting: BTreeMap<String, String>,
    /// Says why it can't be asked.
    pub problem: Option<String>,
    /// The age in seconds of what it works on, the largest of its partitions.
    pub lag_seconds: Option<f64>,
    /// Has what Spark says of itself, where its job does the service's work.
    pub spark: Option<SparkStatus>,
}

/// Has what Spark's job says of its last batch.
#[derive(Debug, Serialize)]
pub struct SparkStatus {
    /// Counts the records that came in each second.
    pub input_records_per_second: f64,
    /// The batch's number, from 0 at each start; `None` before the first.
    pub batch: Option<f64>,
}

/// The document of `/readyz`.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    waiting: BTreeMap<String, String>,
}

impl ServiceStatus {
    /// Describes its state in one line for people, such as `waiting for kafka: no broker answers`.
    #[must_use]
    pub fn describe(&self) -> String {
        match (&self.problem, self.ready) {
            (Some(problem), _) => format!("away: {problem}"),
            (None, true) => self.spark.as_ref().map_or_else(|| "ready".to_owned(), SparkStatus::describe),
            (None, false) => {
                let reasons: Vec<String> =
                    self.waiting.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
                format!("waiting for {}", reasons.join("; "))
            }
        }
    }
}

impl SparkStatus {
    /// Knows the job by a gauge that only it has.
    fn of(metrics: &str) -> Option<Self> {
        let value = |name: &str| gauges(metrics).find(|(found, _)| *found == name).map(|(_, value)| value);
        let input_records_per_second = value("pipeline_spark_input_records_per_second")?;
        Some(Self { input_records_per_second, batch: value("pipeline_spark_batch") })
    }

    fn describe(&self) -> String {
        let batch = self.batch.map_or_else(|| "no batch yet".to_owned(), |batch| format!("batch {batch}"));
        format!("ready: Spark's job, {:.0} records/s came in, {batch}", self.input_records_per_second)
    }
}

/// Asks the four services where the configuration says that they are.
pub(super) async fn ask(settings: &Settings) -> Vec<ServiceStatus> {
    let admin = &settings.pipeline.admin;
    let all = [
        ("fetcher", &admin.fetcher, settings.fetcher.listen),
        ("relay", &admin.relay, settings.relay.listen),
        ("stream-processor", &admin.stream_processor, settings.stream_processor.listen),
        ("cassandra-sink", &admin.cassandra_sink, settings.cassandra_sink.listen),
    ];
    let asked = all.map(|(name, address, listen)| {
        ask_service(name, address.clone().unwrap_or_else(|| listen.to_string()))
    });
    join_all(asked).await
}

/// Asks the service whose admin routes are at `address`, a `HOST:PORT`, for 3 s a request at most. Why it can't be
/// asked is in the result.
pub async fn ask_service(name: &'static str, address: String) -> ServiceStatus {
    let mut service = ServiceStatus {
        name,
        address: address.clone(),
        ready: false,
        waiting: BTreeMap::new(),
        problem: None,
        lag_seconds: None,
        spark: None,
    };
    match readiness(&address).await {
        Ok((readiness, metrics)) => {
            service.ready = readiness.ready;
            service.waiting = readiness.waiting;
            service.lag_seconds = lag_seconds(&metrics);
            service.spark = SparkStatus::of(&metrics);
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

/// Returns the largest gauge whose name ends in `lag_seconds`, in the Prometheus text format.
fn lag_seconds(metrics: &str) -> Option<f64> {
    gauges(metrics).filter(|(name, _)| name.ends_with("lag_seconds")).map(|(_, value)| value).reduce(f64::max)
}

/// Returns names and values of the samples.
fn gauges(metrics: &str) -> impl Iterator<Item = (&str, f64)> {
    metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((series.split('{').next()?, value.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::{SparkStatus, lag_seconds};

    #[test]
    fn the_job_of_spark_is_known_by_its_gauge() {
        let metrics = "pipeline_lag_seconds{partition=\"0\"} 0.5\n\
                       pipeline_spark_input_records_per_second{hop=\"stream_processor\"} 1234.4\n\
                       pipeline_spark_batch{hop=\"stream_processor\"} 7\n";
        let described = SparkStatus::of(metrics).map(|spark| spark.describe());
        assert_eq!(described.as_deref(), Some("ready: Spark's job, 1234 records/s came in, batch 7"));
        assert!(SparkStatus::of("pipeline_lag_seconds{partition=\"0\"} 0.5\n").is_none());
    }

    #[test]
    fn the_largest_lag_counts() {
        let metrics = "# HELP pipeline_lag_seconds x 9\npipeline_lag_seconds{partition=\"0\"} 0.5\n\
                       pipeline_lag_seconds{partition=\"1 2\"} 2.5\npipeline_commit_seconds_sum 99\n";
        assert_eq!(lag_seconds(metrics), Some(2.5));
        assert_eq!(lag_seconds("pipeline_rows_total 3\n"), None);
    }
}
