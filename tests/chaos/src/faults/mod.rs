//! Which faults come when, and the proxies that break connections.

pub(crate) mod proxy;
pub(crate) mod schedule;
