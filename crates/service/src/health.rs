//! What a service waits for, kept where `/readyz`, the log and the operator can see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The parts a service depends on; ready when each of them is.
#[derive(Debug, Clone, Default)]
pub struct Health {
    waiting: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Health {
    /// Adds a part, not ready yet. The same name again is the same part.
    #[must_use]
    pub fn component(&self, name: &'static str) -> Component {
        self.lock().entry(name).or_insert_with(|| Some("starting".to_owned()));
        Component { health: self.clone(), name }
    }

    /// What is still waited for, by part; empty when ready.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<&'static str, String> {
        self.lock().iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    /// Whether the service does its work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part of a [`Health`].
#[derive(Debug, Clone)]
pub struct Component {
    health: Health,
    name: &'static str,
}

impl Component {
    /// Not ready, and why. A new reason is logged; the same one again is not.
    pub fn waiting(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let changed = {
            let mut parts = self.health.lock();
            let before = parts.insert(self.name, Some(reason.clone()));
            before.flatten().as_deref() != Some(reason.as_str())
        };
        if changed {
            tracing::warn!(component = self.name, reason, "waiting");
        }
    }

    /// Ready. Logged when it was not.
    pub fn ready(&self) {
        let before = self.health.lock().insert(self.name, None);
        if before.flatten().is_some() {
            tracing::info!(component = self.name, "ready");
        }
    }

    /// The part's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn ready_when_every_part_is() {
        let health = Health::default();
        let kafka = health.component("kafka");
        let postgres = health.component("postgres");
        kafka.ready();
        postgres.waiting("connection refused");
        assert!(!health.is_ready());
        assert_eq!(
            health.waiting().into_iter().collect::<Vec<_>>(),
            [("postgres", "connection refused".to_owned())]
        );
        postgres.ready();
        assert!(health.is_ready());
    }
}
