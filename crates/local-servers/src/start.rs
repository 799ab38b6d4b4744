//! The start of a stack: downloads, preparations and starts side by side, in the order of the needs.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::try_join_all;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    artifacts,
    config::Server,
    error::{Error, Result},
    ports, servers,
    supervisor::Supervisor,
};

/// Starts all servers of a stack; returns when all are ready or one has failed.
pub(crate) async fn servers(stack: &Arc<Supervisor>) -> Result<()> {
    let wanted = stack.config.all_servers();
    // Everything that can be known to fail is checked before the first download.
    for server in &wanted {
        for port in servers::listens(*server, &stack.config) {
            ports::ensure_free(port, server.name()).await?;
        }
    }
    artifacts::check(&stack.config.cache, &stack.config.artifacts())?;
    let (ready, _) = watch::channel(BTreeSet::new());
    let mut starts = JoinSet::new();
    for server in wanted {
        let (stack, ready) = (Arc::clone(stack), ready.clone());
        starts.spawn(async move { start(&stack, server, &ready).await });
    }
    while let Some(started) = starts.join_next().await {
        let started =
            started.unwrap_or_else(|error| Err(Error::Config(format!("a start was cut short: {error}"))));
        if let Err(error) = started {
            // None of the others may start anything from here on.
            starts.shutdown().await;
            return Err(error);
        }
    }
    Ok(())
}

async fn start(
    stack: &Arc<Supervisor>,
    server: Server,
    ready: &watch::Sender<BTreeSet<Server>>,
) -> Result<()> {
    let config = &stack.config;
    artifacts::fetch(&config.cache, server.artifacts(config.kraft), &config.progress).await?;
    let needs = server.needs(config.kraft);
    let step = config.progress.step(server.name(), None);
    if !needs.is_empty() {
        let names: Vec<&str> = needs.iter().map(|need| need.name()).collect();
        step.say(&format!("waiting for {}", names.join(", ")));
        let met = |done: &BTreeSet<Server>| needs.iter().all(|need| done.contains(need));
        // The sender lives as long as we do.
        ready.subscribe().wait_for(met).await.map_err(|_| Error::NotRunning { name: names.join(", ") })?;
    }
    step.say("starting");
    let context = servers::Context { config, watchdog: &stack.watchdog, step: &step };
    let processes = servers::plan(server, &context).await?;
    try_join_all(processes.into_iter().map(|process| stack.start(process))).await?;
    ready.send_modify(|done| {
        done.insert(server);
    });
    step.done("ready");
    Ok(())
}
