//! The randomuser.me API over HTTP: one request, one answer, every error sorted.

mod error;
mod retry;

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use url::Url;

pub use error::{FetchError, OUTCOMES, Policy, RETRIED};
pub use retry::{Deadline, Fetcher, PageError};

use crate::config::Settings;
use crate::page::{self, PageRequest};

/// Set by a simulator on every answer.
pub const SIMULATED_HEADER: &str = "x-simulated";
/// How much of an unexpected answer is repeated in the error.
const MAX_ERROR_CHARS: usize = 200;
/// How much of an answer with a status of failure is read at all.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The HTTP client can't be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't set up the HTTP client; for an https API the system's CA certificates are needed (Debian: ca-certificates)"
)]
pub struct ClientError(#[from] reqwest::Error);

/// The API at one address.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: Url,
    request_timeout: Duration,
    max_response_bytes: usize,
}

/// An answer with a status of success.
#[derive(Debug)]
pub struct Answer {
    /// The whole body, uncompressed.
    pub body: Vec<u8>,
    /// Whether a simulator sent it.
    pub simulated: bool,
}

impl Api {
    /// A client for `fetcher.api_url`. Opens no connection yet.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        let config = &settings.fetcher;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("datastreaming-fetcher/", env!("CARGO_PKG_VERSION")))
            .gzip(config.gzip)
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .redirect(reqwest::redirect::Policy::limited(3));
        if settings.api_url.scheme() == "http" {
            // A machine without CA certificates can still use an API without TLS.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build()?;
        Ok(Self {
            http,
            url: settings.api_url.clone(),
            request_timeout: config.request_timeout,
            max_response_bytes: config.max_response_bytes,
        })
    }

    /// Asks for one page, once; waits no longer than `left`.
    ///
    /// # Errors
    /// Anything but a whole answer with a status of success.
    pub async fn get(&self, request: &PageRequest, left: Duration) -> Result<Answer, FetchError> {
        let timeout = self.request_timeout.min(left);
        let sent = self.http.get(self.url_of(request)).timeout(timeout).send().await;
        let response = sent.map_err(FetchError::request)?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, response).await);
        }
        let simulated = response.headers().contains_key(SIMULATED_HEADER);
        let body = read(response, self.max_response_bytes).await?;
        Ok(Answer { body, simulated })
    }

    fn url_of(&self, request: &PageRequest) -> Url {
        let mut url = self.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("results", &request.users.to_string());
            query.append_pair("seed", &request.seed);
            query.append_pair("page", &request.number.to_string());
            if !request.nationalities.is_empty() {
                query.append_pair("nat", &request.nationalities.join(","));
            }
        }
        url
    }
}

/// Sorts an answer without a status of success. The status decides before the body: the API's own 429 is an
/// `{"error": …}` too.
async fn refusal(status: StatusCode, response: Response) -> FetchError {
    let retry_after = retry_after(response.headers(), SystemTime::now());
    match status {
        StatusCode::TOO_MANY_REQUESTS => FetchError::RateLimited { retry_after },
        StatusCode::REQUEST_TIMEOUT => FetchError::Server { status: status.as_u16(), retry_after },
        _ if status.is_server_error() => FetchError::Server { status: status.as_u16(), retry_after },
        _ => {
            let body = read(response, MAX_ERROR_BYTES).await.unwrap_or_default();
            let status = status.as_u16();
            match page::error_of(&body) {
                Some(text) => FetchError::Api { status, text },
                None => {
                    let text = String::from_utf8_lossy(&body).chars().take(MAX_ERROR_CHARS).collect();
                    FetchError::Client { status, text }
                }
            }
        }
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, FetchError> {
    // The length is the sender's word; it saves copies and is not believed beyond the limit.
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if announced > limit {
        return Err(FetchError::TooLarge { limit });
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(FetchError::body)? {
        if body.len() + chunk.len() > limit {
            return Err(FetchError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `Retry-After` in either of its forms (RFC 9110, 10.2.3); a date that has passed is no wait.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests;
