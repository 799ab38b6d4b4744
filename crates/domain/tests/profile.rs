//! Profiles of the real API: what must parse, what must not, and that no login secret is kept.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use chrono::{DateTime, Utc};
use domain::profile::{self, MAX_TEXT_BYTES, Profile};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

fn results(page: &str) -> Vec<&str> {
    let page: Page<'_> = serde_json::from_str(page).unwrap();
    page.results.into_iter().map(RawValue::get).collect()
}

const PROFILES: &str = include_str!("data/profiles.json");

fn first() -> Value {
    serde_json::from_str(results(PROFILES)[0]).unwrap()
}

/// The first profile with the value at `pointer` replaced; `None` takes the field away.
fn with(pointer: &str, value: Option<Value>) -> String {
    let mut profile = first();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = profile.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(key.to_owned(), value),
        None => parent.remove(key),
    };
    profile.to_string()
}

fn refusal(json: &str) -> (&'static str, String) {
    let error = profile::parse(json).unwrap_err();
    (error.reason(), error.to_string())
}

#[test]
fn every_field_of_every_sample_arrives() {
    for json in results(PROFILES) {
        let expected: Value = serde_json::from_str(json).unwrap();
        let profile = profile::parse(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_matches_source(&profile, &expected);
    }
}

fn assert_matches_source(profile: &Profile<'_>, source: &Value) {
    let text = |pointer: &str| source.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let date = |pointer: &str| text(pointer).parse::<DateTime<Utc>>().unwrap();
    assert_eq!(profile.id.to_string(), text("/login/uuid"));
    assert_eq!(profile.nat, text("/nat"));
    assert_eq!(profile.gender, text("/gender"));
    assert_eq!(profile.title, text("/name/title"));
    assert_eq!(profile.first_name, text("/name/first"));
    assert_eq!(profile.last_name, text("/name/last"));
    assert_eq!(
        i64::from(profile.street_number),
        source.pointer("/location/street/number").unwrap().as_i64().unwrap()
    );
    assert_eq!(profile.street_name, text("/location/street/name"));
    assert_eq!(profile.city, text("/location/city"));
    assert_eq!(profile.state, text("/location/state"));
    assert_eq!(profile.country, text("/location/country"));
    assert_eq!(profile.postcode, source.pointer("/location/postcode").unwrap().to_string().trim_matches('"'));
    assert_eq!(profile.latitude, text("/location/coordinates/latitude").parse::<f64>().unwrap());
    assert_eq!(profile.longitude, text("/location/coordinates/longitude").parse::<f64>().unwrap());
    assert_eq!(profile.timezone_offset, text("/location/timezone/offset"));
    assert_eq!(profile.timezone_description, text("/location/timezone/description"));
    assert_eq!(profile.email, text("/email"));
    assert_eq!(profile.username, text("/login/username"));
    assert_eq!(profile.date_of_birth, date("/dob/date"));
    assert_eq!(profile.registered_at, date("/registered/date"));
    assert_eq!(profile.phone, text("/phone"));
    assert_eq!(profile.cell, text("/cell"));
    let document = source.pointer("/id/value").unwrap().as_str();
    assert_eq!(profile.document_value.as_deref(), document);
    assert_eq!(profile.document_name.as_deref(), document.map(|_| text("/id/name")).as_deref());
    assert_eq!(profile.picture_large, text("/picture/large"));
    assert_eq!(profile.picture_medium, text("/picture/medium"));
    assert_eq!(profile.picture_thumbnail, text("/picture/thumbnail"));
}

#[test]
fn profiles_that_lack_fields_are_refused_by_name() {
    for (page, message) in [
        (include_str!("data/without-login.json"), "login: the field is missing or null"),
        (include_str!("data/name-and-nat-only.json"), "login: the field is missing or null"),
    ] {
        for json in results(page) {
            assert_eq!(refusal(json), ("missing_field", message.to_owned()));
        }
    }
}

#[test]
fn a_lego_figure_which_has_no_country_is_refused() {
    let lego = with("/location/country", None);
    assert_eq!(refusal(&lego).1, "location.country: the field is missing or null");
}

#[test]
fn bad_values_are_refused_with_reason_field_and_value() {
    for (pointer, value, reason, message) in [
        (
            "/login/uuid",
            json!("8f2c"),
            "invalid_uuid",
            r#"login.uuid: "8f2c" is not a UUID of the form 8-4-4-4-12"#,
        ),
        (
            "/login/uuid",
            json!("{213fc6a6-7f17-4bba-b2f7-22cfd225c0ca}"),
            "invalid_uuid",
            r#"login.uuid: "{213fc6a6-7f17-4bba-b2f7-22cfd225c0ca}" is not a UUID of the form 8-4-4-4-12"#,
        ),
        ("/login/uuid", Value::Null, "missing_field", "login.uuid: the field is missing or null"),
        (
            "/dob/date",
            json!("1990-02-30T00:00:00.000Z"),
            "invalid_date",
            r#"dob.date: "1990-02-30T00:00:00.000Z" is not an RFC 3339 date and time"#,
        ),
        (
            "/registered/date",
            json!("0001-01-01T00:00:00Z"),
            "out_of_range",
            r#"registered.date: "0001-01-01T00:00:00Z" is outside the years 1900 to 2199"#,
        ),
        (
            "/location/postcode",
            json!(12.5),
            "invalid_type",
            "location.postcode: expected a whole number or a text, found the number 12.5",
        ),
        (
            "/location/postcode",
            json!(["1"]),
            "invalid_type",
            "location.postcode: expected a whole number or a text, found an array",
        ),
        ("/location/postcode", json!(-1), "out_of_range", "location.postcode: -1 is negative"),
        (
            "/location/street/number",
            json!("7"),
            "invalid_type",
            r#"location.street.number: expected a whole number, found the text "7""#,
        ),
        (
            "/location/street/number",
            json!(3_000_000_000_u32),
            "out_of_range",
            "location.street.number: 3000000000 is outside -2147483648 to 2147483647",
        ),
        (
            "/location/coordinates/latitude",
            json!("90.0001"),
            "out_of_range",
            r#"location.coordinates.latitude: "90.0001" is outside -90 to 90"#,
        ),
        (
            "/location/coordinates/longitude",
            json!("NaN"),
            "out_of_range",
            r#"location.coordinates.longitude: "NaN" is outside -180 to 180"#,
        ),
        (
            "/location/coordinates/longitude",
            json!("west"),
            "invalid_number",
            r#"location.coordinates.longitude: "west" is not a number"#,
        ),
        ("/name/first", json!("a\0b"), "invalid_text", "name.first: the text contains U+0000"),
        ("/name/first", json!(true), "invalid_type", "name.first: expected a text, found true"),
        ("/email", json!({}), "invalid_type", "email: expected a text, found an object"),
        (
            "/nat",
            json!("D".repeat(MAX_TEXT_BYTES + 1)),
            "out_of_range",
            "nat: a text of 1025 bytes, the limit is 1024",
        ),
        ("/location", json!([1]), "invalid_type", "location: expected an object, found an array"),
    ] {
        assert_eq!(refusal(&with(pointer, Some(value))), (reason, message.to_owned()));
    }
    assert_eq!(refusal("[]").1, "profile: expected an object, found an array");
    assert_eq!(refusal("{\"nat\":").0, "malformed_json");
    assert_eq!(refusal(r#"{"nat":"DK","nat":"NO"}"#).0, "malformed_json");
}

#[test]
fn every_field_is_required() {
    for pointer in [
        "/gender",
        "/name",
        "/name/title",
        "/name/first",
        "/name/last",
        "/location",
        "/location/street",
        "/location/street/number",
        "/location/street/name",
        "/location/city",
        "/location/state",
        "/location/country",
        "/location/postcode",
        "/location/coordinates",
        "/location/coordinates/latitude",
        "/location/coordinates/longitude",
        "/location/timezone",
        "/location/timezone/offset",
        "/location/timezone/description",
        "/email",
        "/login",
        "/login/uuid",
        "/login/username",
        "/dob",
        "/dob/date",
        "/registered",
        "/registered/date",
        "/phone",
        "/cell",
        "/id",
        "/id/name",
        "/id/value",
        "/picture",
        "/picture/large",
        "/picture/medium",
        "/picture/thumbnail",
        "/nat",
    ] {
        let (reason, message) = refusal(&with(pointer, None));
        assert_eq!(reason, "missing_field");
        assert_eq!(message.split(':').next().unwrap(), pointer[1..].replace('/', "."));
    }
}

#[test]
fn what_is_not_part_of_the_table_may_be_missing_or_strange() {
    for pointer in ["/login/password", "/login/sha256", "/dob/age", "/registered/age"] {
        profile::parse(&with(pointer, None)).unwrap();
        profile::parse(&with(pointer, Some(json!([{}])))).unwrap();
    }
    profile::parse(&with("/new", Some(json!({"deep": [1, 2]})))).unwrap();
}

#[test]
fn document_number_that_is_empty_is_none() {
    let json = with("/id/value", Some(json!("")));
    assert_eq!(profile::parse(&json).unwrap().document_value, None);
}

#[test]
fn leading_zeros_and_escapes_survive() {
    let json = with("/location/postcode", Some(json!("0215")));
    assert_eq!(profile::parse(&json).unwrap().postcode, "0215");
    let json = json.replace("0215", r"02\u0031\ud83d\ude00");
    assert_eq!(profile::parse(&json).unwrap().postcode, "021\u{1F600}");
}

#[test]
fn a_login_that_is_a_text_is_not_quoted() {
    let json = with("/login", Some(json!("hunter2")));
    assert_eq!(refusal(&json), ("invalid_type", "login: expected an object, found a text".to_owned()));
    let kept: Value = serde_json::from_str(&profile::without_secrets(&json)).unwrap();
    assert_eq!(kept["login"], "(left out: a login that is not an object)");
}

#[test]
fn secrets_are_left_out_and_the_rest_stays() {
    for json in results(PROFILES) {
        let mut expected: Value = serde_json::from_str(json).unwrap();
        let login = expected["login"].as_object_mut().unwrap();
        login.retain(|key, _| key == "uuid" || key == "username");
        let kept: Value = serde_json::from_str(&profile::without_secrets(json)).unwrap();
        assert_eq!(kept, expected);
    }
}

#[test]
fn secrets_are_left_out_of_any_shape() {
    for (json, kept) in [
        (r#"{"login":["hunter2"]}"#, r#"{"login":"(left out: a login that is not an object)"}"#),
        (r#"{"login":{"uuid":1,"p\u0061ssword":"x","sha512":"x"}}"#, r#"{"login":{"uuid":1}}"#),
        (r#"[{"Password":"x","a":1.50},{"login":null}]"#, r#"[{"a":1.50},{"login":null}]"#),
        (r#"{"a":{"salt":"x","b":[{"md5":"x"}]}}"#, r#"{"a":{"b":[{}]}}"#),
        (r#"{"a":"\ud800"}"#, r#"{"a":"\ud800"}"#),
        (r#"{"a""#, r#""(left out: an unreadable profile of 4 bytes)""#),
        ("", r#""(left out: an unreadable profile of 0 bytes)""#),
    ] {
        assert_eq!(profile::without_secrets(json), kept);
    }
    let deep = format!("{}{}{}", "[".repeat(10_000), r#"{"password":"x"}"#, "]".repeat(10_000));
    assert!(!profile::without_secrets(&deep).contains("password"));
}

proptest! {
    #[test]
    fn anything_gets_an_answer(json in ".{0,200}") {
        let _ = profile::parse(&json);
        serde_json::from_str::<Value>(&profile::without_secrets(&json)).unwrap();
    }

    #[test]
    fn a_value_of_any_kind_in_any_place_never_panics(
        pointer in prop::sample::select(vec!["/login", "/login/uuid", "/name", "/dob/date", "/location/postcode", "/id/value"]),
        value in prop_oneof![
            Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from), any::<String>().prop_map(Value::from),
            Just(json!([])), Just(json!({"password": "hunter2"})),
        ],
    ) {
        let json = with(pointer, Some(value));
        let _ = profile::parse(&json);
        let kept = profile::without_secrets(&json);
        prop_assert!(!kept.contains("hunter2") && !kept.contains("sha256"));
    }
}
