//! Whether two relays are ready at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use operate::status::ask_service;
use tokio::time::Instant;

use crate::faults::schedule::RELAY;

const LOOK: Duration = Duration::from_millis(500);

/// How long two relays may say that they are ready: one that was stopped, or whose connection was swallowed, says so
/// until it notices that the other one has taken over.
pub(crate) const AT_MOST: Duration = Duration::from_secs(30);

/// The longest time in which both have said so, until told to stop.
pub(crate) async fn watch(addresses: Vec<String>, stop: Arc<AtomicBool>) -> Duration {
    let mut since: Option<Instant> = None;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let asked = join_all(addresses.iter().map(|address| ask_service(RELAY, address.clone()))).await;
        if asked.iter().filter(|relay| relay.ready).count() > 1 {
            longest = longest.max(since.get_or_insert_with(Instant::now).elapsed());
        } else {
            since = None;
        }
        tokio::time::sleep(LOOK).await;
    }
    longest
}
