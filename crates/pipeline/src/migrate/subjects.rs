//! Subjects in the Schema Registry: what changes they may go through, and the schema that is ours.

use std::time::Duration;

use events::{Registry, RegistryError, schemas};
use operate::config::Settings;
use service::BoxError;

use super::report::{Outcome, Report};
use crate::wait;

pub(crate) async fn migrate(
    settings: &Settings,
    within: Duration,
    report: &mut Report<'_>,
) -> Result<(), BoxError> {
    let registry = Registry::new(&settings.registry)?;
    let what = format!("the Schema Registry at {}", settings.registry.url);
    let transient = RegistryError::is_transient;
    let global =
        wait::until(&what, within, report.output, transient, || registry.global_compatibility()).await?;
    if let Some(wanted) = &settings.pipeline.global_compatibility {
        if global.as_deref() != Some(wanted) {
            registry.set_global_compatibility(wanted).await?;
        }
        add("compatibility of all subjects", global, wanted, report);
    }
    for topic in settings.pipeline.data_topics() {
        let subject = schemas::value_subject(topic);
        let found = registry.compatibility(&subject).await?;
        let object = format!("compatibility of {subject}");
        let wanted = &settings.pipeline.compatibility;
        if found.as_ref() != Some(wanted) {
            registry.set_compatibility(&subject, wanted).await?;
        }
        add(&object, found, wanted, report);
    }
    let subject = schemas::value_subject(&settings.pipeline.processed_topic);
    let known = registry.id_of(&subject, schemas::USERS_PROCESSED).await?;
    let id = registry.register(&subject, schemas::USERS_PROCESSED).await?;
    let outcome = if known.is_some() { Outcome::Unchanged } else { Outcome::Created };
    report.add(format!("schema of {subject}"), outcome, format!("id {id}"));
    Ok(())
}

fn add(object: &str, found: Option<String>, wanted: &str, report: &mut Report<'_>) {
    let (outcome, detail) = match found {
        None => (Outcome::Created, wanted.to_owned()),
        Some(found) if found == wanted => (Outcome::Unchanged, found),
        Some(found) => (Outcome::Changed, format!("{found} -> {wanted}")),
    };
    report.add(object, outcome, detail);
}
