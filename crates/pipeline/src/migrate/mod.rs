//! `pipeline migrate`: everything that the services expect to be there.
//!
//! PostgreSQL comes first, and a lock in it is held to the end, so that of two migrations at once the second waits.
//! Then Cassandra's keyspace and tables, Kafka's topics and the registry's subjects are made side by side. Every step
//! compares what is there with what is wanted and says what it changed; a repeated migration changes nothing.

mod cassandra;
mod cql;
mod postgres;
mod report;
mod subjects;
mod topics;

use std::time::Duration;

use command_line::Output;
use operate::config::Settings;
use service::BoxError;

use report::{Outcome, Report, Step};

/// Makes everything, waiting up to `wait` for each server.
///
/// # Errors
/// A server that does not answer in time, or that refuses a step; what was done before it stays.
pub async fn run(settings: &Settings, wait: Duration, output: &Output) -> Result<(), BoxError> {
    let mut in_postgres = Report::new("postgres", output);
    let lock = postgres::migrate(settings, wait, &mut in_postgres).await?;
    let mut in_cassandra = Report::new("cassandra", output);
    let mut in_kafka = Report::new("kafka", output);
    let mut in_registry = Report::new("registry", output);
    let (cassandra, kafka, registry) = tokio::join!(
        cassandra::migrate(settings, wait, &mut in_cassandra),
        topics::migrate(settings, wait, &mut in_kafka),
        subjects::migrate(settings, wait, &mut in_registry),
    );
    cassandra?;
    kafka?;
    registry?;
    lock.release().await?;

    let steps: Vec<Step> = [in_postgres, in_cassandra, in_kafka, in_registry]
        .into_iter()
        .flat_map(|report| report.steps)
        .collect();
    let changed =
        steps.iter().filter(|step| matches!(step.outcome, Outcome::Created | Outcome::Changed)).count();
    output.line(match changed {
        0 => "everything was there".to_owned(),
        changed => format!("{changed} of {} objects created or changed", steps.len()),
    });
    output.document(&serde_json::json!({ "changed": changed > 0, "steps": steps }));
    Ok(())
}
