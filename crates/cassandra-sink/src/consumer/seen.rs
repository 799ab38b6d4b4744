//! What was seen of the partitions before they came to this process, and what is said of what is missing.

use kafka::sequence::Ledger;

use super::{POLL, Polling, group};

impl Polling<'_> {
    /// Once for partitions that came: what is missing is missing also if no record ever follows. What fails is tried
    /// again.
    pub(super) fn learn_what_was_seen(&mut self) {
        let poller = self.poller;
        let unknown = poller.offsets.unknown();
        if unknown.is_empty() {
            return;
        }
        match group::known(self.consumer, &poller.config.source_topic, &unknown) {
            Ok(known) => {
                for (partition, seen, snapshot) in known {
                    poller.offsets.begin_after(partition, seen, snapshot);
                }
                self.show_missing();
            }
            Err(error) => {
                poller.component.waiting(format!("Kafka: the group's positions can't be read: {error}"));
            }
        }
    }

    /// Before a record is taken. Tries until the brokers answer: without it a record that is missing would not be
    /// missed. `false` if the shutdown came first.
    pub(super) fn know_what_was_seen(&mut self) -> bool {
        while !self.poller.offsets.unknown().is_empty() {
            if self.poller.shutdown.is_cancelled() {
                return false;
            }
            self.learn_what_was_seen();
            if !self.poller.offsets.unknown().is_empty() {
                std::thread::sleep(POLL);
            }
        }
        true
    }

    pub(super) fn show_missing(&self) {
        let mut seen = self.poller.offsets.seen();
        for (partition, seen) in &mut seen {
            let ledger = Ledger { seen: seen.clone(), ..Ledger::default() };
            if !ledger.fits() {
                seen.forget();
            }
            self.watch.missing(*partition, Some(&*seen));
        }
        match self.watch.alarm(seen.iter().map(|(partition, seen)| (*partition, seen))) {
            Some(alarm) => self.poller.continuity.waiting(alarm),
            None => self.poller.continuity.ready(),
        }
    }
}
