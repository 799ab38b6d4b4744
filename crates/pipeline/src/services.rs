//! What the command line has to know of the services' own sections. The rest of a section is its service's matter,
//! which is why unknown keys are no error here.

use std::collections::BTreeMap;
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
    /// Its publication.
    pub publication: String,
    /// Topics of tables that are not named after them.
    pub tables: BTreeMap<String, RelayedTable>,
}

/// Of `[relay.tables]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RelayedTable {
    /// Its topic.
    pub topic: Option<String>,
}

impl Relay {
    /// The table whose topic this is; `public.users` if none says so.
    #[must_use]
    pub fn table_of(&self, topic: &str) -> String {
        let named = self.tables.iter().find(|(_, table)| table.topic.as_deref() == Some(topic));
        named.map_or_else(|| "public.users".to_owned(), |(name, _)| name.clone())
    }
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
        Self {
            listen: local(8001),
            slot: "datastreaming_relay".to_owned(),
            publication: "datastreaming".to_owned(),
            tables: BTreeMap::new(),
        }
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
