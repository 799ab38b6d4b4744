//! The start of a stack: downloads, preparations and starts side by side, in the order of the needs.

use std::{collections::BTreeSet, sync::Arc};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    artifacts,
    config::Server,
    error::{Error, Result},
    ports, servers,
    stack::Inner,
};

/// Starts all servers of a stack; returns when all are ready or one has failed.
pub(crate) async fn servers(stack: &Arc<Inner>) -> Result<()> {
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
        started.map_err(|error| Error::Config(format!("a start was cut short: {error}")))??;
    }
    Ok(())
}

async fn start(stack: &Arc<Inner>, server: Server, ready: &watch::Sender<BTreeSet<Server>>) -> Result<()> {
    let config = &stack.config;
    artifacts::fetch(&config.cache, &[server.artifact()], &config.progress).await?;
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
    let mut starts = JoinSet::new();
    for process in processes {
        let stack = Arc::clone(stack);
        starts.spawn(async move { stack.start(process).await });
    }
    while let Some(started) = starts.join_next().await {
        started.map_err(|error| Error::Config(format!("a start was cut short: {error}")))??;
    }
    ready.send_modify(|done| {
        done.insert(server);
    });
    step.done("ready");
    Ok(())
}
