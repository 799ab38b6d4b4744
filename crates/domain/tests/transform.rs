//! The transform: what each field becomes, which rule refuses what, and that hidden values stay hidden.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use chrono::DateTime;
use domain::pii::{NumberRule, PiiError, PiiPolicy, Rules, TextRule};
use domain::{ProcessedUser, RawBefore, RawUser, Reject, RejectKind, transform};
use proptest::prelude::*;
use serde_json::{Value, json};

fn micros(rfc3339: &str) -> i64 {
    DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros()
}

fn raw() -> RawUser<'static> {
    RawUser {
        id: "213fc6a6-7f17-4bba-b2f7-22cfd225c0ca",
        run_id: "manual__2026-01-01",
        nat: "CA",
        registered_at: micros("2018-05-05T19:55:54.726Z"),
        fetched_at: Some(micros("2026-01-01T00:00:00Z")),
        gender: Some("female"),
        title: Some("Ms"),
        first_name: Some("Léa "),
        last_name: Some(" van  'T Hartweg"),
        street_number: Some(3699),
        street_name: Some("3rd\u{a0}St "),
        city: Some("Selkirk"),
        state: Some("Manitoba"),
        country: Some("Canada"),
        postcode: Some("l6j  3e4 "),
        latitude: Some(-40.6289),
        longitude: Some(-136.7354),
        timezone_offset: Some("-6:00"),
        timezone_description: Some("Central Time (US & Canada), Mexico City"),
        email: Some("lea.vanthartweg@Example.com"),
        username: Some("whitekoala215"),
        date_of_birth: Some(micros("1952-08-26T12:12:38.043Z")),
        phone: Some("P62 M48-0819"),
        cell: Some("+1 (555) 010-0199"),
        document_name: Some("SIN"),
        document_value: Some("080502198"),
        picture_large: Some("https://randomuser.me/api/portraits/women/98.jpg"),
        picture_medium: Some("https://randomuser.me/api/portraits/med/women/98.jpg"),
        picture_thumbnail: Some("https://randomuser.me/api/portraits/thumb/women/98.jpg"),
        before: None,
        op: "c",
        lsn: 42,
        commit_ts: micros("2026-01-01T00:00:01Z"),
    }
}

fn open(raw: &RawUser<'static>) -> Result<ProcessedUser<'static>, Reject> {
    transform(raw, &PiiPolicy::keep_all())
}

fn refused(change: impl FnOnce(&mut RawUser<'static>)) -> RejectKind {
    let mut raw = raw();
    change(&mut raw);
    open(&raw).unwrap_err().kind
}

#[test]
fn every_field_is_made_as_documented() {
    let processed = serde_json::to_value(open(&raw()).unwrap()).unwrap();
    assert_eq!(
        processed,
        json!({
            "id": "213fc6a6-7f17-4bba-b2f7-22cfd225c0ca",
            "run_id": "manual__2026-01-01",
            "country": "CA",
            "registered_at": micros("2018-05-05T19:55:54.726Z"),
            "registered_month": "2018-05",
            "bucket": 10,
            "fetched_at": micros("2026-01-01T00:00:00Z"),
            "country_name": "Canada",
            "gender": "female",
            "title": "Ms",
            "first_name": "Léa",
            "last_name": "van 'T Hartweg",
            "full_name": "Léa van 'T Hartweg",
            "date_of_birth": micros("1952-08-26T12:12:38.043Z"),
            "age": 73,
            "age_band": "65-74",
            "email": "lea.vanthartweg@Example.com",
            "email_domain": "example.com",
            "username": "whitekoala215",
            "phone": "7626480819",
            "cell": "+15550100199",
            "street": "3699 3rd St",
            "city": "Selkirk",
            "state": "Manitoba",
            "postcode": "L6J 3E4",
            "address": "3699 3rd St, L6J 3E4 Selkirk, Manitoba, Canada",
            "latitude": -40.6289,
            "longitude": -136.7354,
            "timezone_offset": "-6:00",
            "timezone_description": "Central Time (US & Canada), Mexico City",
            "document_name": "SIN",
            "document_value": "080502198",
            "picture_large": "https://randomuser.me/api/portraits/women/98.jpg",
            "picture_medium": "https://randomuser.me/api/portraits/med/women/98.jpg",
            "picture_thumbnail": "https://randomuser.me/api/portraits/thumb/women/98.jpg",
            "__before": null,
            "__op": "c",
            "__lsn": 42,
            "__commit_ts": micros("2026-01-01T00:00:01Z"),
        })
    );
}

#[test]
fn a_delete_keeps_identity_and_metadata_only() {
    let deleted = open(&RawUser { op: "d", ..raw() }).unwrap();
    let fields = serde_json::to_value(&deleted).unwrap();
    let set: Vec<_> = fields.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()).collect();
    let mut names: Vec<_> = set.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "__commit_ts",
            "__lsn",
            "__op",
            "bucket",
            "country",
            "id",
            "registered_at",
            "registered_month",
            "run_id"
        ]
    );
}

#[test]
fn where_the_user_was_is_mapped() {
    let before = RawBefore {
        id: raw().id,
        run_id: "earlier",
        nat: "DK",
        registered_at: micros("1999-12-31T23:59:59Z"),
    };
    let moved = open(&RawUser { op: "u", before: Some(before), ..raw() }).unwrap();
    let expected = json!({
        "run_id": "earlier", "country": "DK", "registered_at": before.registered_at,
        "registered_month": "1999-12", "bucket": 10,
    });
    assert_eq!(serde_json::to_value(moved.before).unwrap(), expected);

    // The row with this country was refused, so there is nothing to remove.
    let before = RawBefore { nat: "LEGO", ..before };
    assert_eq!(open(&RawUser { op: "u", before: Some(before), ..raw() }).unwrap().before, None);
}

#[test]
fn the_bucket_is_the_last_digit_of_the_id() {
    for (id, bucket) in [
        ("213fc6a6-7f17-4bba-b2f7-22cfd225c0c0", 0),
        ("213fc6a6-7f17-4bba-b2f7-22cfd225c0c9", 9),
        ("213fc6a6-7f17-4bba-b2f7-22cfd225c0cf", 15),
    ] {
        assert_eq!(open(&RawUser { id, ..raw() }).unwrap().bucket, bucket);
    }
}

#[test]
fn age_is_whole_years_at_the_fetch() {
    let age = |birth: &str, fetch: &str| {
        let mut raw = raw();
        raw.date_of_birth = Some(micros(birth));
        raw.fetched_at = Some(micros(fetch));
        raw.registered_at = raw.date_of_birth.unwrap();
        let processed = open(&raw).unwrap();
        (processed.age.unwrap(), processed.age_band.unwrap())
    };
    assert_eq!(age("2000-06-15T12:00:00Z", "2018-06-15T11:59:59Z"), (17, "0-17"));
    assert_eq!(age("2000-06-15T12:00:00Z", "2018-06-15T12:00:00Z"), (18, "18-24"));
    assert_eq!(age("2000-02-29T00:00:00Z", "2025-02-28T00:00:00Z"), (24, "18-24"));
    assert_eq!(age("2000-02-29T00:00:00Z", "2025-03-01T00:00:00Z"), (25, "25-34"));
    assert_eq!(age("1950-01-01T00:00:00Z", "2025-01-01T00:00:00Z"), (75, "75+"));
}

#[test]
fn parts_that_are_missing_leave_no_gap() {
    let mut raw = raw();
    raw.postcode = Some(" ");
    raw.street_name = Some("");
    raw.state = None;
    raw.first_name = Some("");
    raw.phone = Some(" ");
    let processed = open(&raw).unwrap();
    assert_eq!(processed.address.as_deref(), Some("3699, Selkirk, Canada"));
    assert_eq!(processed.full_name.as_deref(), Some("van 'T Hartweg"));
    assert_eq!((processed.postcode, processed.first_name, processed.phone), (None, None, None));
}

#[test]
fn each_rule_refuses() {
    use RejectKind::{
        ImplausibleDate, InvalidCoordinates, InvalidCountry, InvalidEmail, InvalidId, InvalidOperation,
        InvalidPhone, MissingField, RegisteredBeforeBirth,
    };
    assert_eq!(refused(|raw| raw.first_name = None), MissingField);
    assert_eq!(refused(|raw| raw.last_name = None), MissingField);
    assert_eq!(refused(|raw| raw.email = None), MissingField);
    assert_eq!(refused(|raw| raw.fetched_at = None), MissingField);
    assert_eq!(refused(|raw| raw.date_of_birth = None), MissingField);
    assert_eq!(refused(|raw| raw.id = "213FC6A6-7F17-4BBA-B2F7-22CFD225C0CA"), InvalidId);
    assert_eq!(refused(|raw| raw.id = "213fc6a67f174bbab2f722cfd225c0ca"), InvalidId);
    assert_eq!(refused(|raw| raw.op = "t"), InvalidOperation);
    for nat in ["", "C", "ca", "LEGO", "ÅÄ", "C1"] {
        assert_eq!(refused(|raw| raw.nat = nat), InvalidCountry);
    }
    assert_eq!(refused(|raw| raw.email = Some("lea at example.com")), InvalidEmail);
    assert_eq!(refused(|raw| raw.phone = Some("unknown")), InvalidPhone);
    assert_eq!(refused(|raw| raw.cell = Some("1234567890123456")), InvalidPhone);
    assert_eq!(refused(|raw| raw.latitude = Some(90.01)), InvalidCoordinates);
    assert_eq!(refused(|raw| raw.longitude = Some(f64::NAN)), InvalidCoordinates);
    assert_eq!(refused(|raw| raw.registered_at = i64::MAX), ImplausibleDate);
    assert_eq!(refused(|raw| raw.registered_at = micros("2026-01-03T00:00:00Z")), ImplausibleDate);
    assert_eq!(refused(|raw| raw.date_of_birth = Some(micros("1890-01-01T00:00:00Z"))), ImplausibleDate);
    assert_eq!(refused(|raw| raw.registered_at = micros("1952-08-26T12:12:38.042Z")), RegisteredBeforeBirth);
}

#[test]
fn masks_show_the_kind_only() {
    let rules = Rules {
        first_name: TextRule::Mask,
        phone: TextRule::Mask,
        city: TextRule::Mask,
        picture: TextRule::Mask,
        latitude: NumberRule::Mask,
        date_of_birth: NumberRule::Mask,
        ..Rules::default()
    };
    let processed = transform(&raw(), &PiiPolicy::new(rules, None).unwrap()).unwrap();
    assert_eq!(processed.full_name.as_deref(), Some("*** van 'T Hartweg"));
    assert_eq!(processed.email.as_deref(), Some("***@example.com"));
    assert_eq!(processed.email_domain.as_deref(), Some("example.com"));
    assert_eq!(processed.phone.as_deref(), Some("***19"));
    assert_eq!(processed.address.as_deref(), Some("3699 3rd St, L6J 3E4 ***, Manitoba, Canada"));
    assert_eq!(processed.picture_large, None);
    assert_eq!(processed.latitude, Some(-40.6));
    assert_eq!(processed.longitude, Some(-136.7354));
    assert_eq!(processed.date_of_birth, Some(micros("1952-01-01T00:00:00Z")));
    assert_eq!(processed.age, Some(74));
}

#[test]
fn pseudonyms_are_hmac_sha256_of_field_and_value() {
    let rules = Rules { last_name: TextRule::Hmac, username: TextRule::Hmac, ..Rules::default() };
    let policy = PiiPolicy::new(rules, Some(b"0123456789abcdef")).unwrap();
    let processed = transform(&raw(), &policy).unwrap();
    // printf 'username\0whitekoala215' | openssl dgst -sha256 -hmac 0123456789abcdef, the first 32 digits.
    assert_eq!(processed.username.as_deref(), Some("660a307799eb231d6bc2fbf50007d725"));
    assert_eq!(processed.email.as_deref().map(str::len), Some(32));
    assert_eq!(processed.email_domain, None);
    let last_name = processed.last_name.unwrap();
    assert_eq!(processed.full_name, Some(format!("Léa {last_name}")));
}

#[test]
fn a_policy_needs_its_key() {
    let rules = Rules { username: TextRule::Hmac, ..Rules::default() };
    assert_eq!(PiiPolicy::new(rules, None).unwrap_err(), PiiError::NoKey);
    assert_eq!(PiiPolicy::new(rules, Some(b"short")).unwrap_err(), PiiError::ShortKey(5));
    assert!(!format!("{:?}", PiiPolicy::new(rules, Some(b"0123456789abcdef")).unwrap()).contains("0123"));
    let unknown = serde_json::from_value::<Rules>(json!({"surname": "mask"})).unwrap_err();
    assert!(unknown.to_string().contains("last_name"), "{unknown}");
    assert!(serde_json::from_value::<Rules>(json!({"latitude": "hmac"})).is_err());
}

/// All fields that a policy can hide, and the texts that they are hidden in.
fn hide_all(rule: TextRule) -> PiiPolicy {
    let rules = Rules {
        gender: rule,
        title: rule,
        first_name: rule,
        last_name: rule,
        email: rule,
        username: rule,
        phone: rule,
        cell: rule,
        street: rule,
        city: rule,
        state: rule,
        postcode: rule,
        document_value: rule,
        picture: rule,
        latitude: NumberRule::Mask,
        longitude: NumberRule::Mask,
        date_of_birth: NumberRule::Mask,
    };
    PiiPolicy::new(rules, Some(b"0123456789abcdef")).unwrap()
}

fn texts(value: &Value) -> String {
    value.to_string().to_lowercase()
}

proptest! {
    /// What differs only in what is hidden gives the same bytes: no derived field tells.
    #[test]
    fn a_masked_user_looks_like_any_other(
        first in "[A-Z][a-z]{3,9}", last in "[A-Z][a-z]{3,9}", number in 1..9999_i64, day in 0..365_i64,
    ) {
        let policy = hide_all(TextRule::Mask);
        let expected = serde_json::to_value(transform(&raw(), &policy).unwrap()).unwrap();
        let (email, phone) = (format!("{first}.{last}@example.com"), format!("{number:04}0819"));
        let cell = format!("+{number}99");
        let other = RawUser {
            first_name: Some(&first), last_name: Some(&last), email: Some(&email), username: Some(&last),
            gender: Some(&first), title: Some(&last),
            phone: Some(&phone), cell: Some(&cell), street_number: Some(number), street_name: Some(&last),
            city: Some(&first), state: Some(&last), postcode: Some(&first), document_value: Some(&last),
            picture_large: Some(&first), latitude: Some(-40.6499), longitude: Some(-136.74),
            date_of_birth: Some(micros("1952-01-01T00:00:00Z") + day * 86_400_000_000), ..raw()
        };
        let masked = serde_json::to_value(transform(&other, &policy).unwrap()).unwrap();
        // The last two digits of a number are shown; both users have the same.
        prop_assert_eq!(masked, expected);
    }

    #[test]
    fn no_pseudonymised_value_appears_anywhere(
        first in "[a-z]{12}", last in "[a-z]{12}", street in "[a-z]{12}", username in "[a-z]{12}",
    ) {
        let email = format!("{first}.{last}@{street}.com");
        let user = RawUser {
            first_name: Some(&first), last_name: Some(&last), email: Some(&email), username: Some(&username),
            street_name: Some(&street), city: Some(&street), state: Some(&street), ..raw()
        };
        let hidden = texts(&serde_json::to_value(transform(&user, &hide_all(TextRule::Hmac)).unwrap()).unwrap());
        for value in [&first, &last, &street, &username] {
            prop_assert!(!hidden.contains(value.as_str()));
        }
    }

    #[test]
    fn any_record_gets_an_answer_and_the_same_one_twice(
        id in any::<String>(), nat in "[A-Z]{2}|\\PC{0,4}", email in "\\PC{0,5}@\\PC{0,5}", name in any::<String>(),
        phone in any::<String>(), registered_at in any::<i64>(), birth in any::<i64>(), latitude in any::<f64>(),
        op in "[cudrx]", sound in any::<bool>(),
    ) {
        let mut user = RawUser {
            nat: &nat, email: Some(&email), first_name: Some(&name), phone: Some(&phone), op: &op,
            latitude: Some(latitude), ..raw()
        };
        if !sound {
            user = RawUser { id: &id, registered_at, date_of_birth: Some(birth), ..user };
        }
        let policy = PiiPolicy::keep_all();
        let (once, twice) = (transform(&user, &policy), transform(&user, &policy));
        prop_assert_eq!(&once, &twice);
        if let Err(reject) = once {
            prop_assert!(RejectKind::ALL.contains(&reject.kind));
        }
    }
}
