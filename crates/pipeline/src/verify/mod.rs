//! `pipeline verify`: are the profiles of a run the same set at every stage?
//!
//! PostgreSQL is the reference. Both topics are read from the run's start on as a `read_committed` consumer reads
//! them, and folded by key; of the Cassandra tables `users_by_run` is read by the run's partitions, `users_by_country`
//! by the partitions that PostgreSQL's rows belong to, and `users_by_id` by every id that any other stage has. So the
//! time it takes grows with the run and with what was written since, not with all that is stored.

mod cassandra;
mod error;
mod postgres;
mod report;
mod topic;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use events::Registry;
use service::BoxError;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use crate::config::Settings;
use crate::dlq::{self, Position};
use crate::wait;
use cassandra::Tables;
use error::VerifyError;
use output::Output;
pub(crate) use report::Report;
use report::{DeadLetters, Stage};
use topic::{Reader, Scan, ScanError};

/// An id of a profile, as the number that its UUID is.
type Id = u128;
type Ids = HashSet<Id>;

/// Verifies once, or again and again until all is equal or `wait` is over. Whether it was equal.
///
/// # Errors
/// A server that can't be asked, or a run that PostgreSQL does not know.
pub async fn run(
    settings: &Settings,
    run_id: &str,
    limit: usize,
    wait: Duration,
    output: &Output,
) -> Result<bool, BoxError> {
    let report = until_equal(settings, run_id, wait, output).await?;
    report.print(limit, output);
    Ok(report.equal())
}

/// Compares until all is equal or `wait` is over; at least once. A server that does not answer for a while is asked
/// again within that time.
pub(crate) async fn until_equal(
    settings: &Settings,
    run_id: &str,
    wait: Duration,
    output: &Output,
) -> Result<Report, VerifyError> {
    let verifier =
        Verifier { settings, registry: Registry::new(&settings.registry)?, tables: OnceCell::new() };
    let look = || verifier.verify(run_id);
    wait::until_reached(wait, output, VerifyError::is_transient, Report::equal, look).await
}

/// Connections for as many verifications as needed.
struct Verifier<'a> {
    settings: &'a Settings,
    registry: Registry,
    tables: OnceCell<Tables>,
}

impl Verifier<'_> {
    /// Compares all stages as they are now.
    async fn verify(&self, run_id: &str) -> Result<Report, VerifyError> {
        let begun = Instant::now();
        let tables = self.tables.get_or_try_init(|| Tables::connect(&self.settings.cassandra)).await?;
        let mut reference = postgres::Reference::connect(self.settings).await?;
        let run = reference.run(run_id).await?;
        let pipeline = &self.settings.pipeline;
        let since = Some(run.created_at.timestamp_millis());
        let [raw, processed] = pipeline.data_topics();
        let (profiles, raw_scan, processed_scan, raw_dead, processed_dead, by_run) = tokio::join!(
            reference.profiles(run_id),
            self.scan(raw.to_owned(), run_id, since, HashSet::new()),
            self.scan(processed.to_owned(), run_id, since, HashSet::new()),
            self.scan_dead_letters(raw, run_id),
            self.scan_dead_letters(processed, run_id),
            tables.by_run(run_id),
        );
        let (profiles, raw_scan, processed_scan) = (profiles?, raw_scan?, processed_scan?);
        let (raw_dead, processed_dead, by_run) = (raw_dead?, processed_dead?, by_run?);
        let everyone: Ids = [&profiles.ids, &raw_scan.ids, &processed_scan.ids, &by_run.ids]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let (by_id, by_country) =
            tokio::join!(tables.by_id(run_id, &everyone), tables.by_country(run_id, &profiles.partitions),);

        let dead_letters = |dead: Scan| DeadLetters {
            records: dead.records_of_all,
            of_run: dead.records + dead.keys.iter().filter(|key| everyone.contains(key)).count() as u64,
            topic: dead.topic,
        };
        Ok(Report {
            run,
            stages: vec![
                Stage::plain("postgres", profiles.ids),
                raw_scan.into(),
                processed_scan.into(),
                by_id?,
                by_country?,
                by_run,
            ],
            dead_letters: vec![dead_letters(raw_dead), dead_letters(processed_dead)],
            elapsed: begun.elapsed(),
        })
    }

    async fn scan_dead_letters(&self, source: &str, run_id: &str) -> Result<Scan, VerifyError> {
        let topic = kafka::dead_letter::topic(source);
        let (kafka, name) = (self.settings.kafka.clone(), topic.clone());
        let resolved = tokio::task::spawn_blocking(move || dlq::resolved(&kafka, &name)).await?;
        let resolved = resolved.map_err(ScanError::from)?;
        self.scan(topic, run_id, None, resolved).await
    }

    /// Reads a topic on a thread of its own.
    async fn scan(
        &self,
        topic: String,
        run_id: &str,
        since: Option<i64>,
        resolved: HashSet<Position>,
    ) -> Result<Scan, VerifyError> {
        let reader = Reader {
            kafka: self.settings.kafka.clone(),
            registry: self.registry.clone(),
            runtime: Handle::current(),
            run_id: run_id.to_owned(),
            resolved,
        };
        let scan = tokio::task::spawn_blocking(move || reader.scan(topic, since)).await?;
        Ok(scan?)
    }
}
