//! The relay: every committed change of the published tables to Kafka, as Avro, exactly once.
//!
//! The way of a change: [`slot`] gains the replication slot and [`offsets`] reads back what was published;
//! [`stream`] takes PostgreSQL's messages apart with [`pgoutput`], skips what is published, and has [`change`] write
//! each change's records by the table's [`plan`] straight into the transaction of the [`sink`], which commits them
//! together with the [`progress`]. On the first start [`snapshot`] publishes the rows that are there already.
//! [`relay`] is the order of these steps, [`error`] decides what is waited for and what ends the process.

pub mod catalog;
pub mod change;
mod cli;
pub mod config;
pub mod error;
pub mod interrupts;
pub mod metrics;
pub mod monitor;
pub mod offsets;
pub mod order;
mod outbox;
pub mod pgoutput;
pub mod plan;
pub mod postgres;
pub mod preflight;
pub mod progress;
pub mod pulse;
pub mod relations;
pub mod relay;
pub mod repair;
pub mod report;
pub mod resnapshot;
pub mod schema;
pub mod sink;
pub mod slot;
pub mod snapshot;
pub mod stream;
pub mod table;
pub mod unchanged;
pub mod value;
pub mod visibility;

use events::Registry;
use futures::FutureExt as _;
use service::{BoxError, Context};

pub use cli::main;
use config::Settings;

/// Starts the service: the admin port at once, the stream as soon as everything it needs is there.
///
/// # Errors
/// The port can't be opened or the registry's client can't be made.
pub async fn serve(settings: Settings, context: Context) -> Result<(), BoxError> {
    metrics::describe();
    let registry = Registry::new(&settings.registry)?;
    let listen = settings.relay.listen;
    // Made first, so that it never looks ready before it is.
    let relay = relay::Relay::new(settings, registry, &context);
    context.serve_admin(listen, axum::Router::new()).await?;
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own, since Kafka's calls block.
    context.tasks.spawn_blocking("relay", move || runtime.block_on(relay.run().boxed_local()));
    Ok(())
}
