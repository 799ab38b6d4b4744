//! `[fetcher]` of the configuration, and what follows from it.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use service::config::units::{DurationText, duration};
use service::config::{Config, ConfigError, PostgresConfig};
use url::Url;

/// The most users the API gives in one answer; it answers a larger request with a single one.
pub const MAX_PAGE_SIZE: u32 = 5_000;
/// The last page the API knows; it answers a later one with page 1.
pub const MAX_PAGES: u32 = 10_000;

/// `[fetcher]`. Every key has a default but the token, which only the service needs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetcherConfig {
    /// Address of the HTTP API and the admin routes.
    pub listen: SocketAddr,
    /// What `POST /runs` must present as its bearer token.
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// Where the users come from, version included.
    pub api_url: String,
    /// Whether compressed answers are asked for: worth it over the internet, not on one machine.
    pub gzip: bool,
    /// Users a page, 1 to [`MAX_PAGE_SIZE`]; a run keeps the size it began with.
    pub page_size: u32,
    /// The most users of one run.
    pub max_count: u64,
    /// Runs worked on at the same time.
    pub concurrent_runs: usize,
    /// How often the table of runs is looked at when nothing was announced.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub poll_interval: Duration,
    /// How long a run may take from the moment it is taken up; time without PostgreSQL does not count.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub run_deadline: Duration,
    /// Tries a page gets before its run fails.
    pub max_attempts: u32,
    /// The first wait between two tries; it doubles each time.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub backoff_initial: Duration,
    /// The longest wait between two tries, unless the API asks for a longer one.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub backoff_max: Duration,
    /// Time to open a connection to the API.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub connect_timeout: Duration,
    /// Time without a byte from the API.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub read_timeout: Duration,
    /// Time for a whole answer of the API.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub request_timeout: Duration,
    /// Size of an answer, uncompressed.
    pub max_response_bytes: usize,
    /// Users asked for in one window at the most; 0 for no limit.
    pub users_per_window: u64,
    /// The API's window, and the wait after a 429 that names none.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// Time for the transaction of one page.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub store_timeout: Duration,
}

impl Default for FetcherConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            token: None,
            api_url: "https://randomuser.me/api/1.4/".to_owned(),
            gzip: true,
            page_size: MAX_PAGE_SIZE,
            max_count: 1_000_000,
            concurrent_runs: 1,
            poll_interval: Duration::from_secs(2),
            run_deadline: Duration::from_secs(6 * 3600),
            max_attempts: 10,
            backoff_initial: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(120),
            max_response_bytes: 64 * 1024 * 1024,
            users_per_window: 20_000,
            window: Duration::from_secs(300),
            store_timeout: Duration::from_secs(60),
        }
    }
}

/// The configuration of a fetcher, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[fetcher]`.
    pub fetcher: FetcherConfig,
    /// `[postgres]`.
    pub postgres: PostgresConfig,
    /// `fetcher.api_url`, parsed.
    pub api_url: Url,
}

impl Settings {
    /// Reads and checks both sections.
    ///
    /// # Errors
    /// A key that is unknown, missing or has a value that can't be used.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let fetcher: FetcherConfig = config.section("fetcher")?;
        let postgres = config.section("postgres")?;
        let api_url = api_url(&fetcher.api_url)?;
        check(&fetcher)?;
        Ok(Self { fetcher, postgres, api_url })
    }

    /// The same for the service, which can't do without a token.
    ///
    /// # Errors
    /// As [`Settings::load`], or the token is missing or empty.
    pub fn load_service(config: &Config) -> Result<Self, ConfigError> {
        let settings = Self::load(config)?;
        match &settings.fetcher.token {
            Some(token) if !token.expose_secret().trim().is_empty() => Ok(settings),
            _ => Err(ConfigError::invalid(
                "fetcher.token",
                "",
                "is required, as POST /runs needs it; set PIPELINE__FETCHER__TOKEN to a long random text",
            )),
        }
    }
}

fn api_url(text: &str) -> Result<Url, ConfigError> {
    let invalid = |why: &str| {
        let allowed = format!("{why}; write an http or https URL such as https://randomuser.me/api/1.4/");
        ConfigError::invalid("fetcher.api_url", text, allowed)
    };
    let url = Url::parse(text).map_err(|error| invalid(&format!("is not a URL ({error})")))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(invalid("has another scheme")) }
}

fn check(config: &FetcherConfig) -> Result<(), ConfigError> {
    let range = |key: &str, value: u64, allowed: std::ops::RangeInclusive<u64>| {
        if allowed.contains(&value) {
            Ok(())
        } else {
            let text = format!("allowed is {} to {}", allowed.start(), allowed.end());
            Err(ConfigError::invalid(&format!("fetcher.{key}"), value, text))
        }
    };
    range("page_size", config.page_size.into(), 1..=MAX_PAGE_SIZE.into())?;
    range("max_count", config.max_count, 1..=u64::from(config.page_size) * u64::from(MAX_PAGES))?;
    range("concurrent_runs", config.concurrent_runs as u64, 1..=64)?;
    range("max_attempts", config.max_attempts.into(), 1..=1_000)?;
    range("max_response_bytes", config.max_response_bytes as u64, 64 * 1024..=1024 * 1024 * 1024)?;
    let positive = |key: &str, value: Duration| {
        if value.is_zero() {
            let allowed = "must be longer than nothing, such as 250ms";
            Err(ConfigError::invalid(&format!("fetcher.{key}"), value, allowed))
        } else {
            Ok(())
        }
    };
    positive("poll_interval", config.poll_interval)?;
    positive("run_deadline", config.run_deadline)?;
    positive("backoff_initial", config.backoff_initial)?;
    positive("backoff_max", config.backoff_max)?;
    positive("connect_timeout", config.connect_timeout)?;
    positive("read_timeout", config.read_timeout)?;
    positive("request_timeout", config.request_timeout)?;
    positive("window", config.window)?;
    positive("store_timeout", config.store_timeout)?;
    // A page that never fits into a window would wait for ever.
    if config.users_per_window != 0 && config.users_per_window < u64::from(config.page_size) {
        let allowed = format!("must be 0 (no limit) or at least page_size, {}", config.page_size);
        return Err(ConfigError::invalid("fetcher.users_per_window", config.users_per_window, allowed));
    }
    Ok(())
}

#[cfg(test)]
impl Settings {
    /// For an API at `url` and no database.
    pub(crate) fn for_test(url: &str, fetcher: FetcherConfig) -> Self {
        let postgres = PostgresConfig {
            host: "127.0.0.1".to_owned(),
            port: 1,
            database: String::new(),
            user: String::new(),
            password: SecretString::default(),
            ssl_mode: service::config::sections::SslMode::Disable,
            max_connections: 1,
        };
        Self { fetcher, postgres, api_url: Url::parse(url).unwrap() }
    }
}

#[cfg(test)]
mod tests;
