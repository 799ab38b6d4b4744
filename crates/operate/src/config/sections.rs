// The rest of a section is its service's matter, which is why unknown keys are no error here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

/// Has the keys of `[fetcher]` that others must know.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct FetcherSection {
    /// Where its API and its admin routes listen.
    pub listen: SocketAddr,
    /// The URL of the profile API.
    pub api_url: String,
}

/// Has the keys of `[relay]` that others must know.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct RelaySection {
    /// Where its admin routes listen.
    pub listen: SocketAddr,
    /// Names its replication slot.
    pub slot: String,
    /// Names its publication.
    pub publication: String,
    /// Has the tables whose topics are not named after them, by `SCHEMA.TABLE`.
    pub tables: BTreeMap<String, RelayedTable>,
}

/// Has the keys of a table in `[relay.tables]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RelayedTable {
    /// Names its topic.
    pub topic: Option<String>,
}

impl RelaySection {
    /// Returns the table whose topic this is as `SCHEMA.TABLE`; `public.users` if none says so.
    #[must_use]
    pub fn table_of(&self, topic: &str) -> String {
        let named = self.tables.iter().find(|(_, table)| table.topic.as_deref() == Some(topic));
        named.map_or_else(|| "public.users".to_owned(), |(name, _)| name.clone())
    }
}

/// Has the keys of `[stream_processor]` that others must know.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct StreamProcessorSection {
    /// Where its admin routes listen.
    pub listen: SocketAddr,
    /// Names its consumer group.
    pub group: String,
}

/// Has the keys of `[cassandra_sink]` that others must know.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct CassandraSinkSection {
    /// Where its admin routes listen.
    pub listen: SocketAddr,
    /// Names its consumer group.
    pub group: String,
}

impl Default for FetcherSection {
    fn default() -> Self {
        Self { listen: local(8000), api_url: "https://randomuser.me/api/1.4/".to_owned() }
    }
}

impl Default for RelaySection {
    fn default() -> Self {
        Self {
            listen: local(8001),
            slot: "datastreaming_relay".to_owned(),
            publication: "datastreaming".to_owned(),
            tables: BTreeMap::new(),
        }
    }
}

impl Default for StreamProcessorSection {
    fn default() -> Self {
        Self { listen: local(8002), group: "stream-processor".to_owned() }
    }
}

impl Default for CassandraSinkSection {
    fn default() -> Self {
        Self { listen: local(8003), group: "cassandra-sink".to_owned() }
    }
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}
