//! Compares every stage with PostgreSQL: the state that each ends in, and each change on the way to it.

mod dead;
mod history;
mod runs;
mod stage;
mod state;
mod tables;
#[cfg(test)]
mod tests;

use events::Registry;
use operate::config::Settings;
use tokio::runtime::Handle;

use self::history::Reader;
pub(crate) use self::stage::Comparison;
use self::stage::{Differences, Stage};
use crate::error::ChaosError;
use crate::load::Done;

/// Compares once. Takes the longer the more was changed; the topics are read from their beginning.
pub(crate) async fn compare(settings: &Settings, load: &Done) -> Result<Comparison, ChaosError> {
    let (expected, changes) = tables::expected(settings).await?;
    let [raw_topic, processed_topic] = settings.pipeline.data_topics();
    let reader = || -> Result<Reader, ChaosError> {
        let registry = Registry::new(&settings.registry)?;
        Ok(Reader { kafka: settings.kafka.clone(), registry, runtime: Handle::current() })
    };
    let (raw, processed, rows) =
        tokio::join!(reader()?.read(raw_topic), reader()?.read(processed_topic), tables::found(settings),);
    let (raw, processed) = (raw?, processed?);

    let mut differences = Differences::default();
    let mut stages = vec![Stage {
        records: changes.values().map(|ops| ops.len() as u64).sum(),
        ..Stage::named("postgres")
    }];
    stages.push(history::with_changes(raw_topic, &raw, &changes, &expected, &mut differences));
    stages.push(history::with_source(processed_topic, &processed, &raw, &expected, &mut differences));
    for (table, is_whole, found) in rows? {
        stages.push(tables::compare(&table, is_whole, found, &expected, &mut differences));
    }
    runs::compare(settings, load.runs, &mut differences).await?;
    let [of_raw, of_processed] = &load.poison;
    let mut dead_letters = Vec::new();
    for (topic, histories, sent) in [(raw_topic, &raw, of_raw), (processed_topic, &processed, of_processed)] {
        let found = dead::read(settings, topic).await?;
        let mut letters = dead::compare(topic, found, histories, &mut differences);
        // The sink's are written at least once.
        letters.may_repeat = topic == processed_topic;
        if letters.repeated > 0 && !letters.may_repeat {
            differences.add(topic, &"poison", || format!("{} dead letters too many", letters.repeated));
        }
        if letters
            .kinds
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .ne(sent.iter().map(|(k, n)| (*k, *n)))
        {
            differences
                .add(topic, &"poison", || format!("{sent:?} were sent, {:?} set aside", letters.kinds));
        }
        dead_letters.push(letters);
    }
    Ok(Comparison { users: expected.len() as u64, stages, dead_letters, differences })
}
