use std::collections::HashSet;
use std::time::{Duration, Instant};

use events::Registry;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::cassandra::Tables;
use super::error::VerifyError;
use super::ids::ProfileIds;
use super::postgres::Reference;
use super::report::{Stage, TopicDeadLetters, Verification};
use super::topic::{Scan, ScanError, TopicScanner};
use crate::config::Settings;
use crate::dlq::{self, RecordPosition};
use crate::wait::{self, Note};

/// Compares the stages of a run once at least, and again until all are equal or `within` has passed. A server that
/// does not answer is asked again within that time; `note` is told the first such failure.
///
/// # Errors
/// Fails if a server does not answer or refuses, or PostgreSQL does not know the run.
pub async fn until_equal(
    settings: &Settings,
    run_id: &str,
    within: Duration,
    note: Note<'_>,
) -> Result<Verification, VerifyError> {
    let verifier =
        Verifier { settings, registry: Registry::new(&settings.registry)?, tables: OnceCell::new() };
    let look = || verifier.verify(run_id);
    wait::until_reached(within, note, VerifyError::is_transient, Verification::equal, look).await
}

/// Keeps the connections for as many comparisons as needed.
struct Verifier<'a> {
    settings: &'a Settings,
    registry: Registry,
    tables: OnceCell<Tables>,
}

impl Verifier<'_> {
    /// Compares all stages as they are now.
    async fn verify(&self, run_id: &str) -> Result<Verification, VerifyError> {
        let begun = Instant::now();
        let tables = self.tables.get_or_try_init(|| Tables::connect(&self.settings.cassandra)).await?;
        let mut reference = Reference::connect(self.settings).await?;
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
        let everyone: ProfileIds = [&profiles.ids, &raw_scan.ids, &processed_scan.ids, &by_run.ids]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let (by_id, by_country) =
            tokio::join!(tables.by_id(run_id, &everyone), tables.by_country(run_id, &profiles.partitions),);

        let dead_letters = |dead: Scan| TopicDeadLetters {
            records: dead.records_of_all,
            of_run: dead.records + dead.keys.iter().filter(|key| everyone.contains(key)).count() as u64,
            topic: dead.topic,
        };
        Ok(Verification {
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
        resolved: HashSet<RecordPosition>,
    ) -> Result<Scan, VerifyError> {
        let scanner = TopicScanner {
            kafka: self.settings.kafka.clone(),
            registry: self.registry.clone(),
            runtime: Handle::current(),
            run_id: run_id.to_owned(),
            resolved,
        };
        let scan = tokio::task::spawn_blocking(move || scanner.scan(topic, since)).await?;
        Ok(scan?)
    }
}
