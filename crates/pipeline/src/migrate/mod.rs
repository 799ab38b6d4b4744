//! `pipeline migrate`: everything that the services expect to be there.
//!
//! PostgreSQL comes first, and a lock in it is held to the end, so that of two migrations at once the second waits.
//! Then Cassandra's keyspace and tables, Kafka's topics and the registry's subjects are made side by side. Every step
//! compares what is there with what is wanted and says what it changed; a repeated migration changes nothing.

mod cassandra;
mod cql;
mod postgres;
mod subjects;
mod topics;

use std::time::Duration;

use serde::Serialize;
use service::BoxError;

use crate::config::Settings;
use output::Output;

/// What was done to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `postgres`, `cassandra`, `kafka` or `registry`.
    server: &'static str,
    /// Such as `topic users.raw`.
    object: String,
    outcome: Outcome,
    /// More about the outcome; may be empty.
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Created,
    Changed,
    Unchanged,
    /// It is not as configured, and a migration must not change it.
    Differs,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Differs => "differs",
        }
    }
}

/// Steps as they are done: people see each at once, machines get all at the end.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    server: &'static str,
    output: &'a Output,
    steps: Vec<Step>,
}

impl<'a> Report<'a> {
    const fn new(server: &'static str, output: &'a Output) -> Self {
        Self { server, output, steps: Vec::new() }
    }

    fn add(&mut self, object: impl Into<String>, outcome: Outcome, detail: impl Into<String>) {
        let step = Step { server: self.server, object: object.into(), outcome, detail: detail.into() };
        let Step { server, object, detail, .. } = &step;
        let separator = if detail.is_empty() { "" } else { ": " };
        self.output.line(format_args!("{server:<10} {:<10} {object}{separator}{detail}", outcome.as_str()));
        self.steps.push(step);
    }
}

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
