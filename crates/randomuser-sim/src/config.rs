//! What a simulator can be told when it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clock::Clock;
use crate::faults::FaultPlan;

/// Settings of a [`Simulator`](crate::Simulator). The default behaves like the real server without its rate limit,
/// on a free loopback port.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one. `/_sim/` answers loopback clients only, wherever this is.
    pub listen: SocketAddr,
    /// What `age` is computed from.
    pub clock: Clock,
    /// The real server has [`RateLimit::REAL`].
    pub rate_limit: Option<RateLimit>,
    /// Faults from the start; `POST /_sim/faults` changes them.
    pub faults: FaultPlan,
    /// How long a request hangs that the real server never answers; the connection is then reset.
    pub hang: Duration,
    /// Where the series of seeds for requests without one begins; random where it is None.
    pub first_seed: Option<u32>,
    /// Open connections; further ones wait to be accepted. Each holds one page (5.8 MB) at most.
    pub max_connections: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clock: Clock::System,
            rate_limit: None,
            faults: FaultPlan::default(),
            hang: Duration::from_secs(60),
            first_seed: None,
            max_connections: 512,
        }
    }
}

/// How many users a client may fetch. A client is an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Users in one window. Checked before a request, so the last one that is let through may go over.
    pub users: u64,
    /// All counts go back to zero this often.
    pub window: Duration,
}

impl RateLimit {
    /// 20,000 users in 5 minutes.
    pub const REAL: Self = Self { users: 20_000, window: Duration::from_secs(300) };
}
