//! What the command line has to know of the services' own sections. The rest of a section is its service's matter,
//! which is why unknown keys are no error here.

use std::net::SocketAddr;

use serde::Deserialize;

/// Of `[fetcher]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Fetcher {
    /// Its API and admin routes.
    pub listen: SocketAddr,
    /// The profile API.
    pub api_url: String,
}

/// Of `[relay]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Relay {
    /// Its admin routes.
    pub listen: SocketAddr,
    /// Its replication slot.
    pub slot: String,
}

/// Of `[stream_processor]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Processor {
    /// Its admin routes.
    pub listen: SocketAddr,
    /// Its consumer group.
    pub group: String,
}

/// Of `[cassandra_sink]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Sink {
    /// Its admin routes.
    pub listen: SocketAddr,
    /// Its consumer group.
    pub group: String,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { listen: local(8000), api_url: "https://randomuser.me/api/1.4/".to_owned() }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self { listen: local(8001), slot: "datastreaming_relay".to_owned() }
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self { listen: local(8002), group: "stream-processor".to_owned() }
    }
}

impl Default for Sink {
    fn default() -> Self {
        Self { listen: local(8003), group: "cassandra-sink".to_owned() }
    }
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}
