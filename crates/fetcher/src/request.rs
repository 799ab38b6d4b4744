//! What a caller may ask for: one run, checked field by field.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::{FetcherConfig, MAX_PAGES};
use crate::seed;

/// The nationalities of API version 1.4, sorted. One that it does not know makes the API drop the whole filter.
pub const NATIONALITIES: [&str; 21] = [
    "AU", "BR", "CA", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IN", "IR", "MX", "NL", "NO", "NZ",
    "RS", "TR", "UA", "US",
];

const FIELDS: [&str; 4] = ["run_id", "count", "nationalities", "seed"];
const MAX_RUN_ID_CHARS: usize = 250;
const MAX_SEED_BYTES: usize = 100;

/// A field of a request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field's name.
    pub field: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

impl FieldError {
    /// A complaint about `field`.
    #[must_use]
    pub fn new(field: &str, detail: impl Into<String>) -> Self {
        Self { field: field.to_owned(), detail: detail.into() }
    }
}

/// Bounds that the configuration sets on a request.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most users of one run.
    pub max_count: u64,
    /// Users a page.
    pub page_size: u32,
}

impl From<&FetcherConfig> for Bounds {
    fn from(config: &FetcherConfig) -> Self {
        Self { max_count: config.max_count, page_size: config.page_size }
    }
}

/// A run as it will be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRequest {
    /// The caller's name for it, 1 to 250 printable characters.
    pub run_id: String,
    /// Users wanted, at least 1.
    pub count: u64,
    /// Codes of [`NATIONALITIES`], sorted, each once; none for all.
    pub nationalities: Vec<String>,
    /// As sent to the API.
    pub seed: String,
    /// Users a page; the last page has what is left.
    pub page_size: u32,
}

/// The four fields before they are checked, as the body of `POST /runs` or the command line gave them.
#[derive(Debug, Default)]
pub struct Draft {
    /// `run_id`.
    pub run_id: String,
    /// `count`.
    pub count: u64,
    /// `nationalities`.
    pub nationalities: Vec<String>,
    /// `seed`.
    pub seed: Option<String>,
}

impl RunRequest {
    /// Reads and checks the body of `POST /runs`.
    ///
    /// # Errors
    /// Every field that is wrong, missing or unknown.
    pub fn from_json(body: &Value, bounds: Bounds) -> Result<Self, Vec<FieldError>> {
        let Value::Object(body) = body else {
            return Err(vec![FieldError::new("body", "must be a JSON object")]);
        };
        let mut errors: Vec<FieldError> = body
            .keys()
            .filter(|key| !FIELDS.contains(&key.as_str()))
            .map(|key| FieldError::new(key, format!("is unknown; there are: {}", FIELDS.join(", "))))
            .collect();
        let mut keep = |error| errors.push(error);
        let draft = Draft {
            run_id: run_id_of(body).map_err(&mut keep).unwrap_or_default(),
            count: count_of(body).map_err(&mut keep).unwrap_or_default(),
            nationalities: nationalities_of(body).map_err(&mut keep).unwrap_or_default(),
            seed: seed_of(body).map_err(&mut keep).unwrap_or_default(),
        };
        // A field that has the wrong type is named once, not again for the value it defaulted to.
        match Self::check(draft, bounds) {
            Ok(request) if errors.is_empty() => Ok(request),
            Ok(_) => Err(errors),
            Err(further) => {
                for error in further {
                    if errors.iter().all(|known| known.field != error.field) {
                        errors.push(error);
                    }
                }
                Err(errors)
            }
        }
    }

    /// Checks values, normalises nationalities and seed.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(draft: Draft, bounds: Bounds) -> Result<Self, Vec<FieldError>> {
        let Draft { run_id, count, nationalities, seed } = draft;
        let mut errors = Vec::new();
        if let Err(detail) = check_run_id(&run_id) {
            errors.push(FieldError::new("run_id", detail));
        }
        let limit = bounds.max_count.min(u64::from(bounds.page_size) * u64::from(MAX_PAGES));
        if !(1..=limit).contains(&count) {
            errors
                .push(FieldError::new("count", format!("{count} is out of range; allowed is 1 to {limit}")));
        }
        let mut codes = Vec::new();
        for given in nationalities {
            let code = given.trim().to_ascii_uppercase();
            if NATIONALITIES.contains(&code.as_str()) {
                codes.push(code);
            } else {
                let detail = format!("{given:?} is unknown; there are: {}", NATIONALITIES.join(", "));
                errors.push(FieldError::new("nationalities", detail));
            }
        }
        codes.sort_unstable();
        codes.dedup();
        if let Some(given) = &seed
            && !((1..=MAX_SEED_BYTES).contains(&given.len())
                && given.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        {
            let detail = format!("must be 1 to {MAX_SEED_BYTES} printable ASCII characters");
            errors.push(FieldError::new("seed", detail));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let seed = seed.map_or_else(|| seed::for_run(&run_id), |given| seed::safe(&given));
        // Both bounds fit: page_size is at most MAX_PAGE_SIZE.
        let page_size = u32::try_from(count).unwrap_or(u32::MAX).min(bounds.page_size);
        Ok(Self { run_id, count, nationalities: codes, seed, page_size })
    }
}

fn check_run_id(run_id: &str) -> Result<(), String> {
    let length = run_id.chars().count();
    if !(1..=MAX_RUN_ID_CHARS).contains(&length) {
        return Err(format!("has {length} characters; allowed are 1 to {MAX_RUN_ID_CHARS}"));
    }
    match run_id.chars().find(|c| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        Some(found) => Err(format!("contains {found:?}; only printable characters are allowed")),
        None => Ok(()),
    }
}

fn run_id_of(body: &Map<String, Value>) -> Result<String, FieldError> {
    match body.get("run_id") {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Err(FieldError::new("run_id", "is required")),
        Some(other) => Err(wrong_type("run_id", "a text", other)),
    }
}

fn count_of(body: &Map<String, Value>) -> Result<u64, FieldError> {
    match body.get("count") {
        None | Some(Value::Null) => Err(FieldError::new("count", "is required")),
        Some(value) => value.as_u64().ok_or_else(|| wrong_type("count", "a whole number from 1", value)),
    }
}

fn nationalities_of(body: &Map<String, Value>) -> Result<Vec<String>, FieldError> {
    let wrong = |value| wrong_type("nationalities", "a list of codes such as [\"DE\", \"FR\"]", value);
    match body.get("nationalities") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(codes)) => {
            codes.iter().map(|code| code.as_str().map(str::to_owned).ok_or_else(|| wrong(code))).collect()
        }
        Some(other) => Err(wrong(other)),
    }
}

fn seed_of(body: &Map<String, Value>) -> Result<Option<String>, FieldError> {
    match body.get("seed") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type("seed", "a text", other)),
    }
}

fn wrong_type(field: &str, wanted: &str, found: &Value) -> FieldError {
    let found: String = found.to_string().chars().take(60).collect();
    FieldError::new(field, format!("must be {wanted}, found {found}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOUNDS: Bounds = Bounds { max_count: 1_000_000, page_size: 5_000 };

    fn fields(body: &Value) -> Vec<String> {
        RunRequest::from_json(body, BOUNDS).unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_full_request_is_normalised() {
        let body = json!({"run_id": "a", "count": 7, "nationalities": ["us", "DE", " de"], "seed": "q1"});
        let run = RunRequest::from_json(&body, BOUNDS).unwrap();
        assert_eq!(run.nationalities, ["DE", "US"]);
        assert_eq!((run.count, run.seed.as_str(), run.page_size), (7, "q1-s", 7));
    }

    #[test]
    fn nulls_are_defaults() {
        let body = json!({"run_id": "a", "count": 12_000, "nationalities": null, "seed": null});
        let run = RunRequest::from_json(&body, BOUNDS).unwrap();
        assert_eq!((run.seed, run.page_size), (seed::for_run("a"), 5_000));
    }

    #[test]
    fn each_wrong_field_is_named_once() {
        let long = "x".repeat(251);
        for (body, wrong) in [
            (json!([]), vec!["body"]),
            (json!({}), vec!["run_id", "count"]),
            (json!({"run_id": "a", "count": 0}), vec!["count"]),
            (json!({"run_id": "a", "count": -1}), vec!["count"]),
            (json!({"run_id": "a", "count": 1.5}), vec!["count"]),
            (json!({"run_id": "a", "count": "5"}), vec!["count"]),
            (json!({"run_id": "a", "count": 1_000_001}), vec!["count"]),
            (json!({"run_id": "", "count": 1}), vec!["run_id"]),
            (json!({"run_id": long, "count": 1}), vec!["run_id"]),
            (json!({"run_id": "a\u{0}", "count": 1}), vec!["run_id"]),
            (json!({"run_id": "a\nb", "count": 1}), vec!["run_id"]),
            (json!({"run_id": "a", "count": 1, "nationalities": ["DE", "LEGO"]}), vec!["nationalities"]),
            (json!({"run_id": "a", "count": 1, "nationalities": "DE"}), vec!["nationalities"]),
            (json!({"run_id": "a", "count": 1, "nationalities": [1]}), vec!["nationalities"]),
            (json!({"run_id": "a", "count": 1, "seed": ""}), vec!["seed"]),
            (json!({"run_id": "a", "count": 1, "seed": "ä"}), vec!["seed"]),
            (json!({"run_id": "a", "count": 1, "seed": 5}), vec!["seed"]),
            (json!({"run_id": "a", "count": 1, "pages": 5}), vec!["pages"]),
            (json!({"run_id": 1, "count": 0, "x": 5, "seed": ""}), vec!["x", "run_id", "count", "seed"]),
        ] {
            assert_eq!(fields(&body), wrong, "{body}");
        }
    }
}
