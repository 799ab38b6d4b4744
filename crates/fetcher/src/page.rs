//! One answer of the API, checked against what was asked for and turned into rows.
//!
//! The API answers many a wrong request with other users instead of an error, so `info` and the number of results
//! must match the request before anything of it is stored. A single profile that does not parse is a reject and
//! does not concern the others.

use chrono::{DateTime, SubsecRound as _, Utc};
use domain::profile::{self, Profile};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::FetchError;
use crate::copy::Rows;
use crate::runs::Run;

/// A rejected profile that is longer is not kept, only its size.
const MAX_REJECT_BYTES: usize = 64 * 1024;
/// A profile of a nationality that was filtered out.
pub const UNREQUESTED_NATIONALITY: &str = "unrequested_nationality";

/// What is asked of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The run's seed.
    pub seed: String,
    /// Page number, from 1.
    pub number: i32,
    /// Users wanted.
    pub users: i32,
    /// Codes wanted; empty for all.
    pub nationalities: Vec<String>,
}

impl PageRequest {
    /// Page `number` of a run.
    #[must_use]
    pub fn of(run: &Run, number: i32) -> Self {
        Self {
            seed: run.seed.clone(),
            number,
            users: run.users_of_page(number),
            nationalities: run.nationalities.clone(),
        }
    }
}

/// A page ready to be stored.
#[derive(Debug)]
pub struct Page {
    /// Page number, from 1.
    pub number: i32,
    /// Profiles received.
    pub fetched: usize,
    /// Profiles to store, as binary COPY, sorted by id, each id once.
    pub rows: Vec<u8>,
    /// How many those are.
    pub row_count: usize,
    /// Profiles to keep aside.
    pub rejects: Vec<Reject>,
    /// When it was received: `users.fetched_at` of all its rows.
    pub fetched_at: DateTime<Utc>,
    /// Whether a simulator sent it.
    pub simulated: bool,
}

/// A profile that is not stored in `users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index in the page, from 0.
    pub position: i32,
    /// Of a closed set.
    pub reason: &'static str,
    /// Field and value.
    pub message: String,
    /// JSON, less the login secrets.
    pub profile: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    results: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Info {
    seed: String,
    results: i64,
    page: i64,
}

/// Parses an answer with a status of success.
///
/// # Errors
/// The body is no JSON or ends too early, is the API's error, or is not what was asked for.
pub fn parse(body: &[u8], simulated: bool, request: &PageRequest) -> Result<Page, FetchError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(FetchError::json)?;
    if let Some(error) = envelope.error {
        return Err(FetchError::Api { status: 200, text: error_text(error) });
    }
    let results = envelope.results.ok_or_else(|| FetchError::mismatch("results", "an array", "nothing"))?;
    check_info(envelope.info, results.len(), request)?;

    let mut rejects = Vec::new();
    let mut profiles = Vec::with_capacity(results.len());
    for (position, raw) in results.iter().enumerate() {
        match accept(raw.get(), request) {
            Ok(profile) => profiles.push(profile),
            Err((reason, message)) => rejects.push(Reject {
                position: i32::try_from(position).unwrap_or(i32::MAX),
                reason,
                message,
                profile: keep(raw.get()),
            }),
        }
    }
    // In order of the key, so that two runs that write the same users take their row locks in one order; of users
    // that come twice the first one stays, as the sort is stable.
    profiles.sort_by_key(|profile| profile.id);
    profiles.dedup_by_key(|profile| profile.id);
    let mut rows = Rows::with_capacity(profiles.len());
    for profile in &profiles {
        rows.push(profile);
    }
    Ok(Page {
        number: request.number,
        fetched: results.len(),
        row_count: rows.count(),
        rows: rows.finish(),
        rejects,
        // As exact as PostgreSQL keeps it.
        fetched_at: Utc::now().trunc_subsecs(6),
        simulated,
    })
}

fn accept<'a>(raw: &'a str, request: &PageRequest) -> Result<Profile<'a>, (&'static str, String)> {
    let profile = profile::parse(raw).map_err(|error| (error.reason(), error.to_string()))?;
    if request.nationalities.is_empty() || request.nationalities.iter().any(|code| *code == profile.nat) {
        Ok(profile)
    } else {
        let wanted = request.nationalities.join(", ");
        Err((UNREQUESTED_NATIONALITY, format!("nat: {:?} was not asked for, only {wanted}", profile.nat)))
    }
}

fn keep(raw: &str) -> String {
    if raw.len() > MAX_REJECT_BYTES {
        return format!("\"(left out: a profile of {} bytes)\"", raw.len());
    }
    profile::without_secrets(raw)
}

fn check_info(info: Option<&RawValue>, received: usize, request: &PageRequest) -> Result<(), FetchError> {
    let raw = info.ok_or_else(|| FetchError::mismatch("info", "an object", "nothing"))?;
    let info: Info = serde_json::from_str(raw.get())
        .map_err(|error| FetchError::mismatch("info", "seed, results and page", error))?;
    if info.results != i64::from(request.users) {
        return Err(FetchError::mismatch("info.results", request.users, info.results));
    }
    if info.page != i64::from(request.number) {
        return Err(FetchError::mismatch("info.page", request.number, info.page));
    }
    if info.seed != request.seed {
        return Err(FetchError::mismatch("info.seed", &request.seed, &info.seed));
    }
    if usize::try_from(request.users).ok() != Some(received) {
        return Err(FetchError::mismatch("length of results", request.users, received));
    }
    Ok(())
}

/// The API's error as text: usually a JSON string.
pub fn error_text(error: &RawValue) -> String {
    serde_json::from_str(error.get()).unwrap_or_else(|_| error.get().to_owned())
}

/// The text of `{"error": …}`, if that is what the body is.
#[must_use]
pub fn error_of(body: &[u8]) -> Option<String> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    envelope.error.map(error_text)
}

#[cfg(test)]
mod tests;
