use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use randomuser_sim::{Fault, FaultPlan, NextFault, RateLimit, SimConfig, Simulator};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::{Api, Deadline, FetchError, Fetcher, OUTCOMES, PageError, Policy, RETRIED, retry_after};
use crate::config::{FetcherConfig, Settings};
use crate::page::{self, Page, PageRequest};

async fn simulator() -> Simulator {
    Simulator::bind(SimConfig::default()).await.unwrap()
}

fn next(faults: &[Fault]) -> FaultPlan {
    let next = faults.iter().map(|&fault| NextFault { fault, times: 1 }).collect();
    FaultPlan { next, slow_ms: 5_000, ..FaultPlan::default() }
}

fn config() -> FetcherConfig {
    FetcherConfig {
        backoff_initial: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        users_per_window: 0,
        ..FetcherConfig::default()
    }
}

fn api(url: &str, fetcher: FetcherConfig) -> Api {
    // Fails only when another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Api::new(&Settings::for_test(url, fetcher)).unwrap()
}

fn request(users: i32) -> PageRequest {
    PageRequest { seed: "alpha".to_owned(), number: 2, users, nationalities: Vec::new() }
}

async fn ask(api: &Api, request: &PageRequest) -> Result<Page, FetchError> {
    let answer = api.get(request, Duration::from_secs(60)).await?;
    page::parse(&answer.body, answer.simulated, request)
}

async fn page_of(
    simulator: &Simulator,
    config: &FetcherConfig,
    deadline: Duration,
) -> Result<Page, PageError> {
    let fetcher = Fetcher::new(api(&simulator.url(), config.clone()), config);
    fetcher.page(&Arc::new(request(10)), &Deadline::new(deadline)).await
}

#[tokio::test]
async fn each_fault_is_sorted() {
    let simulator = simulator().await;
    let api = api(&simulator.url(), FetcherConfig { read_timeout: Duration::from_millis(200), ..config() });
    for (fault, label, policy) in [
        (Fault::TooManyRequests, "rate_limited", Policy::After(Duration::from_secs(1))),
        (Fault::ServerError, "server_error", Policy::Backoff),
        (Fault::Truncated, "truncated", Policy::Backoff),
        (Fault::Cut, "truncated", Policy::Backoff),
        (Fault::NotJson, "not_json", Policy::Backoff),
        (Fault::Reset, "reset", Policy::Backoff),
        (Fault::Slow, "timeout", Policy::Backoff),
        (Fault::ErrorEnvelope, "api_error", Policy::Fail),
    ] {
        simulator.set_faults(next(&[fault])).unwrap();
        let error = ask(&api, &request(10)).await.unwrap_err();
        assert_eq!((error.label(), error.policy()), (label, policy), "{fault}: {error}");
        assert!(OUTCOMES.contains(&label));
        assert_eq!(RETRIED.contains(&label), policy != Policy::Fail, "{label}");
        let page = ask(&api, &request(10)).await.unwrap();
        assert_eq!((page.fetched, page.row_count, page.simulated), (10, 10, true));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let simulator = simulator().await;
    let url = simulator.url();
    simulator.shutdown().await.unwrap();
    let error = ask(&api(&url, config()), &request(10)).await.unwrap_err();
    assert_eq!((error.label(), error.policy()), ("connect", Policy::Backoff));
}

#[tokio::test]
async fn an_unknown_version_fails_at_once() {
    let simulator = simulator().await;
    let error = ask(&api(&format!("{}9.9/", simulator.url()), config()), &request(10)).await.unwrap_err();
    assert_eq!(error.to_string(), "the API answered 404: Not Found");
    assert_eq!(error.policy(), Policy::Fail);
}

#[tokio::test]
async fn what_the_api_silently_changes_is_an_error() {
    let simulator = simulator().await;
    let api = api(&simulator.url(), config());
    let eighteen = PageRequest { seed: "aaaaaaaaaaaaaaaa0f".to_owned(), ..request(1) };
    for (request, field) in [
        (request(5_001), "info.results is 1, expected 5001"),
        (PageRequest { number: 10_001, ..request(1) }, "info.page is 1, expected 10001"),
        (eighteen, "info.seed is aaaaaaaaaaaaaaaa0f0f, expected aaaaaaaaaaaaaaaa0f"),
    ] {
        let error = ask(&api, &request).await.unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
        assert_eq!(error.policy(), Policy::Fail);
    }
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let simulator = simulator().await;
    for gzip in [false, true] {
        let api = api(&simulator.url(), FetcherConfig { max_response_bytes: 100_000, gzip, ..config() });
        assert_eq!(ask(&api, &request(50)).await.unwrap().row_count, 50);
        let error = ask(&api, &request(1_000)).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: 100_000 }), "{error}");
    }
}

#[tokio::test]
async fn the_last_page_is_the_beginning_of_a_whole_one() {
    let simulator = simulator().await;
    let api = api(&simulator.url(), config());
    let whole = ask(&api, &PageRequest { number: 1, ..request(100) }).await.unwrap();
    let again = ask(&api, &PageRequest { number: 1, ..request(100) }).await.unwrap();
    let part = ask(&api, &PageRequest { number: 1, ..request(40) }).await.unwrap();
    assert_eq!(whole.rows, again.rows);
    let contains = |page: &Page, id: &[u8]| page.rows.windows(16).any(|bytes| bytes == id);
    // A row begins with its number of fields and the length of its id.
    let first_row = 19 + 2 + 4;
    assert!(contains(&whole, &part.rows[first_row..first_row + 16]));
}

#[tokio::test]
async fn a_page_is_tried_until_it_is_there() {
    let simulator = simulator().await;
    let faults = [Fault::ServerError, Fault::Truncated, Fault::Cut, Fault::NotJson, Fault::Reset];
    simulator.set_faults(next(&faults)).unwrap();
    let page = page_of(&simulator, &config(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(page.row_count, 10);
    assert_eq!(simulator.faults().next, []);
}

#[tokio::test]
async fn the_apis_error_ends_it_at_once() {
    let simulator = simulator().await;
    simulator.set_faults(next(&[Fault::ErrorEnvelope, Fault::Reset])).unwrap();
    let error = page_of(&simulator, &config(), Duration::from_secs(60)).await.unwrap_err();
    assert!(service::error_chain(&error).contains("Uh oh, something has gone wrong"), "{error:?}");
    assert_eq!(simulator.faults().next.len(), 1, "there was no second request");
}

#[tokio::test]
async fn tries_are_counted() {
    let simulator = simulator().await;
    simulator.set_faults(next(&[Fault::ServerError; 5])).unwrap();
    let config = FetcherConfig { max_attempts: 3, ..config() };
    let error = page_of(&simulator, &config, Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, PageError::Attempts { attempts: 3, page: 2, .. }), "{error:?}");
    assert_eq!(simulator.faults().next.len(), 2);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let simulator = simulator().await;
    let plan = FaultPlan { retry_after_s: 3_600, ..next(&[Fault::TooManyRequests]) };
    simulator.set_faults(plan).unwrap();
    let started = Instant::now();
    let error = page_of(&simulator, &config(), Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, PageError::Retry { attempts: 1, .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
    let error = page_of(&simulator, &config(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, PageError::Deadline { page: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn retry_after_is_kept() {
    let simulator = simulator().await;
    simulator.set_faults(next(&[Fault::TooManyRequests])).unwrap();
    let started = Instant::now();
    page_of(&simulator, &config(), Duration::from_secs(60)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_429_without_retry_after_waits_for_the_next_window() {
    let window = Duration::from_millis(300);
    let rate_limit = Some(RateLimit { users: 10, window });
    let simulator = Simulator::bind(SimConfig { rate_limit, ..SimConfig::default() }).await.unwrap();
    let config = FetcherConfig { window, ..config() };
    page_of(&simulator, &config, Duration::from_secs(60)).await.unwrap();
    let started = Instant::now();
    page_of(&simulator, &config, Duration::from_secs(60)).await.unwrap();
    assert!(started.elapsed() >= window);
}

#[tokio::test]
async fn the_own_limit_avoids_the_429() {
    let window = Duration::from_millis(300);
    let rate_limit = Some(RateLimit { users: 30, window });
    let simulator = Simulator::bind(SimConfig { rate_limit, ..SimConfig::default() }).await.unwrap();
    // Twice the window: the simulator's window does not begin with ours.
    let config = FetcherConfig { window: 2 * window, users_per_window: 30, max_attempts: 1, ..config() };
    let fetcher = Fetcher::new(api(&simulator.url(), config.clone()), &config);
    for _ in 0..7 {
        fetcher.page(&Arc::new(request(10)), &Deadline::new(Duration::from_secs(60))).await.unwrap();
    }
}

#[test]
fn retry_after_has_two_forms() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let of = |text: &str| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        retry_after(&headers, now)
    };
    assert_eq!(of("120"), Some(Duration::from_secs(120)));
    assert_eq!(of("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
    assert_eq!(of("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
    for other in ["-1", "soon", ""] {
        assert_eq!(of(other), None, "{other}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}
