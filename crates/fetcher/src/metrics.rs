//! What the fetcher measures. Labels come from closed sets; every counter is there, at zero, from the start.

use std::time::Duration;

use domain::profile::Reason;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::client::{OUTCOMES, RETRIED};
use crate::page::UNREQUESTED_NATIONALITY;
use crate::runs::Status;
use crate::store::Stored;

const PAGES: &str = "pipeline_fetcher_pages_total";
const USERS: &str = "pipeline_fetcher_users_total";
const REJECTS: &str = "pipeline_fetcher_rejects_total";
const REQUESTS: &str = "pipeline_fetcher_http_requests_total";
const RETRIES: &str = "pipeline_fetcher_retries_total";
const UNAUTHORIZED: &str = "pipeline_fetcher_unauthorized_total";
const RUNS: &str = "pipeline_fetcher_runs";
const RUNS_FINISHED: &str = "pipeline_fetcher_runs_finished_total";
const FETCH: &str = "pipeline_fetcher_page_fetch_seconds";
const PARSE: &str = "pipeline_fetcher_page_parse_seconds";
const STORE: &str = "pipeline_fetcher_page_store_seconds";

/// Describes every metric. To be called once the recorder is installed.
pub fn describe() {
    describe_counter!(PAGES, Unit::Count, "Pages committed.");
    describe_counter!(USERS, Unit::Count, "Profiles of committed pages, by outcome.");
    describe_counter!(REJECTS, Unit::Count, "Profiles kept in fetch_rejects, by reason.");
    describe_counter!(REQUESTS, Unit::Count, "Requests to the API, by outcome.");
    describe_counter!(RETRIES, Unit::Count, "Tries of a page after the first, by what made them necessary.");
    describe_counter!(UNAUTHORIZED, Unit::Count, "POST /runs without the token or with a wrong one.");
    describe_counter!(RUNS_FINISHED, Unit::Count, "Runs that this process ended, by outcome.");
    describe_gauge!(RUNS, Unit::Count, "Runs in the table, by status.");
    describe_histogram!(FETCH, Unit::Seconds, "A request to the API, parsing included.");
    describe_histogram!(PARSE, Unit::Seconds, "Parsing a page and encoding its rows.");
    describe_histogram!(STORE, Unit::Seconds, "The transaction of a page.");
    counter!(PAGES).absolute(0);
    counter!(UNAUTHORIZED).absolute(0);
    for outcome in ["stored", "duplicate", "rejected"] {
        counter!(USERS, "outcome" => outcome).absolute(0);
    }
    for outcome in OUTCOMES {
        counter!(REQUESTS, "outcome" => outcome).absolute(0);
    }
    for reason in RETRIED {
        counter!(RETRIES, "reason" => reason).absolute(0);
    }
    for reason in Reason::ALL.map(Reason::as_str).into_iter().chain([UNREQUESTED_NATIONALITY]) {
        counter!(REJECTS, "reason" => reason).absolute(0);
    }
    for outcome in [Status::Succeeded, Status::Failed] {
        counter!(RUNS_FINISHED, "outcome" => outcome.as_str()).absolute(0);
    }
}

/// A request to the API ended.
pub fn requested(outcome: &'static str, took: Duration) {
    counter!(REQUESTS, "outcome" => outcome).increment(1);
    histogram!(FETCH).record(took);
}

/// A page was parsed.
pub fn parsed(took: Duration) {
    histogram!(PARSE).record(took);
}

/// A page will be tried again.
pub fn retried(reason: &'static str) {
    counter!(RETRIES, "reason" => reason).increment(1);
}

/// A page's transaction ended.
pub fn stored(outcome: Stored, took: Duration) {
    histogram!(STORE).record(took);
    if let Stored::Page { stored, duplicates, rejected } = outcome {
        counter!(PAGES).increment(1);
        counter!(USERS, "outcome" => "stored").increment(stored);
        counter!(USERS, "outcome" => "duplicate").increment(duplicates);
        counter!(USERS, "outcome" => "rejected").increment(rejected);
    }
}

/// A profile of a committed page was kept aside.
pub fn rejected(reason: &'static str) {
    counter!(REJECTS, "reason" => reason).increment(1);
}

/// A request without the right token.
pub fn unauthorized() {
    counter!(UNAUTHORIZED).increment(1);
}

/// A run ended.
pub fn finished(status: Status) {
    counter!(RUNS_FINISHED, "outcome" => status.as_str()).increment(1);
}

/// How many runs of one status the table has.
pub fn runs(status: Status, count: i64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double; exact to 2^53 runs")]
    gauge!(RUNS, "outcome" => status.as_str()).set(count as f64);
}
