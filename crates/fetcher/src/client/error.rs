//! What can go wrong with a page, and what each kind means for the next try.

use std::fmt::Display;
use std::time::Duration;

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// 429: too many users in the API's window.
    #[error("the API answered 429, too many requests")]
    RateLimited {
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the API answered {status}")]
    Server {
        /// HTTP status.
        status: u16,
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No connection: refused, unknown host, TLS.
    #[error("can't connect to the API")]
    Connect(#[source] reqwest::Error),
    /// No answer, or no further byte of it, in time.
    #[error("the API did not answer in time")]
    Timeout(#[source] reqwest::Error),
    /// The connection broke before there was an answer.
    #[error("the connection to the API broke")]
    Reset(#[source] reqwest::Error),
    /// The connection broke in the body, or the body can't be uncompressed.
    #[error("the API's answer broke off")]
    Broken(#[source] reqwest::Error),
    /// The body is the beginning of a JSON text.
    #[error("the API's answer is cut off")]
    Truncated(#[source] serde_json::Error),
    /// The body is no JSON.
    #[error("the API's answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The body is longer than `fetcher.max_response_bytes`.
    #[error("the API's answer is longer than {limit} bytes (fetcher.max_response_bytes)")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// `{"error": …}`.
    #[error("the API refused ({status}): {text}")]
    Api {
        /// HTTP status.
        status: u16,
        /// The API's own words.
        text: String,
    },
    /// Any other status.
    #[error("the API answered {status}: {text}")]
    Client {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
    /// The answer is in order and not that of the request: the API ignored a parameter.
    #[error("the API answered another request: {field} is {found}, expected {expected}")]
    Mismatch {
        /// Where in the answer.
        field: &'static str,
        /// What was asked for.
        expected: String,
        /// What came.
        found: String,
    },
    /// The parser did not end; a defect of this program.
    #[error("the page's parser was cut short")]
    Parser(#[source] tokio::task::JoinError),
}

/// What to do about a [`FetchError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Try again with exponential backoff.
    Backoff,
    /// Try again after this time, which the API named.
    After(Duration),
    /// Try again when the API's window has passed.
    NextWindow,
    /// The same request would get the same answer: the run fails.
    Fail,
}

impl FetchError {
    /// The one place that decides about another try.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        match self {
            Self::RateLimited { retry_after: Some(wait) } | Self::Server { retry_after: Some(wait), .. } => {
                Policy::After(*wait)
            }
            Self::RateLimited { retry_after: None } => Policy::NextWindow,
            Self::Server { retry_after: None, .. }
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::Reset(_)
            | Self::Broken(_)
            | Self::Truncated(_)
            | Self::NotJson(_) => Policy::Backoff,
            Self::TooLarge { .. }
            | Self::Api { .. }
            | Self::Client { .. }
            | Self::Mismatch { .. }
            | Self::Parser(_) => Policy::Fail,
        }
    }

    /// The kind as a metric label: one of [`OUTCOMES`].
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "rate_limited",
            Self::Server { .. } => "server_error",
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Reset(_) => "reset",
            Self::Broken(_) | Self::Truncated(_) => "truncated",
            Self::NotJson(_) => "not_json",
            Self::TooLarge { .. } => "too_large",
            Self::Api { .. } => "api_error",
            Self::Client { .. } => "client_error",
            Self::Mismatch { .. } => "mismatch",
            Self::Parser(_) => "parser",
        }
    }

    /// An answer that is not that of the request.
    pub fn mismatch(field: &'static str, expected: impl Display, found: impl Display) -> Self {
        Self::Mismatch { field, expected: expected.to_string(), found: found.to_string() }
    }

    /// A body that does not parse.
    #[must_use]
    pub fn json(error: serde_json::Error) -> Self {
        if error.is_eof() { Self::Truncated(error) } else { Self::NotJson(error) }
    }

    /// An error of the HTTP client before the body.
    #[must_use]
    pub fn request(error: reqwest::Error) -> Self {
        if error.is_connect() {
            Self::Connect(error)
        } else if error.is_timeout() {
            Self::Timeout(error)
        } else {
            Self::Reset(error)
        }
    }

    /// An error of the HTTP client in the body.
    #[must_use]
    pub fn body(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout(error) } else { Self::Broken(error) }
    }
}

/// Every label a request can end with.
pub const OUTCOMES: [&str; 13] = [
    "ok",
    "rate_limited",
    "server_error",
    "connect",
    "timeout",
    "reset",
    "truncated",
    "not_json",
    "too_large",
    "api_error",
    "client_error",
    "mismatch",
    "parser",
];

/// The labels of what is tried again.
pub const RETRIED: [&str; 7] =
    ["rate_limited", "server_error", "connect", "timeout", "reset", "truncated", "not_json"];
