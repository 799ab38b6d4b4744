//! The transform of `users.raw` into `users.processed`.
//!
//! A pure function: the same record gives the same result at any time and on any engine. Texts lose white space at
//! their edges and runs of it inside; a text that is empty then becomes null. What the PII policy hides is hidden
//! before anything is derived from it; the rules look at the values as they were.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use uuid::Uuid;

use crate::pii::{NumberRule, PiiPolicy, TextRule};
use crate::processed::{Before, Month, ProcessedUser};
use crate::raw::{RawBefore, RawUser};
use crate::reject::{Reject, RejectKind};
use crate::text;

/// Greatest age in whole years at `fetched_at`; the oldest person known died at 122.
pub const MAX_AGE_YEARS: u32 = 130;

/// Bands of the age in whole years: first year and name, from the oldest.
pub const AGE_BANDS: [(i32, &str); 8] = [
    (75, "75+"),
    (65, "65-74"),
    (55, "55-64"),
    (45, "45-54"),
    (35, "35-44"),
    (25, "25-34"),
    (18, "18-24"),
    (0, "0-17"),
];

/// Clocks may differ: a registration may be this much later than the fetch.
const CLOCK_TOLERANCE: chrono::TimeDelta = chrono::TimeDelta::days(1);

/// Transforms one change. A delete keeps its identity and metadata only.
///
/// # Errors
/// The first rule that the record breaks.
pub fn transform<'a>(raw: &RawUser<'a>, policy: &PiiPolicy) -> Result<ProcessedUser<'a>, Reject> {
    let bucket = bucket(raw.id).ok_or_else(|| {
        Reject::new(RejectKind::InvalidId, "id is not a UUID of the form 8-4-4-4-12 in lower case")
    })?;
    let country = country(raw.nat).ok_or_else(|| {
        Reject::new(
            RejectKind::InvalidCountry,
            format!("nat is not two upper-case letters but {:?}", raw.nat),
        )
    })?;
    let registered_at = time("registered_at", raw.registered_at)?;
    let registered_month = Month::of(registered_at)
        .ok_or_else(|| implausible("registered_at", "is outside the years 0 to 9999"))?;
    let identity = ProcessedUser {
        id: raw.id,
        run_id: raw.run_id,
        country,
        registered_at: raw.registered_at,
        registered_month,
        bucket,
        fetched_at: None,
        country_name: None,
        gender: None,
        title: None,
        first_name: None,
        last_name: None,
        full_name: None,
        date_of_birth: None,
        age: None,
        age_band: None,
        email: None,
        email_domain: None,
        username: None,
        phone: None,
        cell: None,
        street: None,
        city: None,
        state: None,
        postcode: None,
        address: None,
        latitude: None,
        longitude: None,
        timezone_offset: None,
        timezone_description: None,
        document_name: None,
        document_value: None,
        picture_large: None,
        picture_medium: None,
        picture_thumbnail: None,
        before: raw.before.as_ref().and_then(before),
        op: raw.op,
        lsn: raw.lsn,
        commit_ts: raw.commit_ts,
    };
    match raw.op {
        "d" => Ok(identity),
        "c" | "u" | "r" => whole(raw, registered_at, identity, policy),
        other => Err(Reject::new(
            RejectKind::InvalidOperation,
            format!("__op is {other:?}; there are c, u, d and r"),
        )),
    }
}

fn whole<'a>(
    raw: &RawUser<'a>,
    registered_at: DateTime<Utc>,
    identity: ProcessedUser<'a>,
    policy: &PiiPolicy,
) -> Result<ProcessedUser<'a>, Reject> {
    let rules = &policy.rules;
    let first_name = policy.text(rules.first_name, "first_name", present("first_name", raw.first_name)?);
    let last_name = policy.text(rules.last_name, "last_name", present("last_name", raw.last_name)?);
    let life = Life::of(raw, registered_at, rules.date_of_birth)?;
    let email = Email::of(raw, policy)?;
    let place = Place::of(raw, policy);

    let mut full_name = String::with_capacity(first_name.len() + 1 + last_name.len());
    text::push_with(&mut full_name, " ", &first_name);
    text::push_with(&mut full_name, " ", &last_name);

    let treated = |rule: TextRule, field: &str, value: Option<&'a str>| {
        folded(value).map(|value| policy.text(rule, field, value))
    };
    let picture = |field: &str, url: Option<&'a str>| folded(url).and_then(|url| policy.picture(field, url));
    Ok(ProcessedUser {
        fetched_at: raw.fetched_at,
        country_name: place.country_name,
        gender: treated(rules.gender, "gender", raw.gender),
        title: treated(rules.title, "title", raw.title),
        first_name: filled(first_name),
        last_name: filled(last_name),
        full_name: Some(full_name).filter(|name| !name.is_empty()),
        date_of_birth: Some(life.date_of_birth),
        age: Some(life.age),
        age_band: Some(life.age_band),
        email: Some(email.address),
        email_domain: email.domain,
        username: treated(rules.username, "username", raw.username),
        phone: phone("phone", raw.phone, rules.phone, policy)?,
        cell: phone("cell", raw.cell, rules.cell, policy)?,
        street: place.street,
        city: place.city,
        state: place.state,
        postcode: place.postcode,
        address: place.address,
        latitude: degrees("latitude", raw.latitude, 90.0, rules.latitude)?,
        longitude: degrees("longitude", raw.longitude, 180.0, rules.longitude)?,
        timezone_offset: folded(raw.timezone_offset),
        timezone_description: folded(raw.timezone_description),
        document_name: folded(raw.document_name),
        document_value: treated(rules.document_value, "document_value", raw.document_value),
        picture_large: picture("picture_large", raw.picture_large),
        picture_medium: picture("picture_medium", raw.picture_medium),
        picture_thumbnail: picture("picture_thumbnail", raw.picture_thumbnail),
        ..identity
    })
}

/// 0 to 15: the last hexadecimal digit of the id. The relay writes ids as PostgreSQL does, in lower case; another form
/// would be another key in Kafka.
fn bucket(id: &str) -> Option<i32> {
    let sound =
        id.len() == 36 && Uuid::try_parse(id).is_ok() && !id.bytes().any(|byte| byte.is_ascii_uppercase());
    let digit = id.chars().next_back().filter(|_| sound)?.to_digit(16)?;
    i32::try_from(digit).ok()
}

fn country(nat: &str) -> Option<&str> {
    (nat.len() == 2 && nat.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(nat)
}

/// Where the row was. A place that was refused when it was written holds nothing to be removed, so it is none.
fn before<'a>(raw: &RawBefore<'a>) -> Option<Before<'a>> {
    Some(Before {
        run_id: raw.run_id,
        country: country(raw.nat)?,
        registered_at: raw.registered_at,
        registered_month: Month::of(DateTime::from_timestamp_micros(raw.registered_at)?)?,
        bucket: bucket(raw.id)?,
    })
}

fn missing(field: &str) -> Reject {
    Reject::new(RejectKind::MissingField, format!("{field} is null"))
}

fn implausible(field: &str, why: &str) -> Reject {
    Reject::new(RejectKind::ImplausibleDate, format!("{field} {why}"))
}

fn time(field: &str, micros: i64) -> Result<DateTime<Utc>, Reject> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| implausible(field, "is no date of the calendar"))
}

fn present<'a>(field: &str, value: Option<&'a str>) -> Result<Cow<'a, str>, Reject> {
    value.map(text::fold).ok_or_else(|| missing(field))
}

fn folded(value: Option<&str>) -> Option<Cow<'_, str>> {
    value.map(text::fold).and_then(filled)
}

fn filled(value: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(value).filter(|value| !value.is_empty())
}

fn phone<'a>(
    field: &str,
    value: Option<&'a str>,
    rule: TextRule,
    policy: &PiiPolicy,
) -> Result<Option<Cow<'a, str>>, Reject> {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
        return Ok(None);
    };
    let number = text::phone(value).ok_or_else(|| {
        let allowed = text::MAX_PHONE_DIGITS;
        Reject::new(RejectKind::InvalidPhone, format!("{field} has no digit, or more than {allowed}"))
    })?;
    Ok(Some(policy.phone(rule, field, number)))
}

fn degrees(field: &str, value: Option<f64>, limit: f64, rule: NumberRule) -> Result<Option<f64>, Reject> {
    match value {
        Some(degrees) if degrees.is_nan() || degrees.abs() > limit => Err(Reject::new(
            RejectKind::InvalidCoordinates,
            format!("{field} is outside -{limit} to {limit} degrees"),
        )),
        Some(degrees) if rule == NumberRule::Mask => Ok(Some((degrees * 10.0).round() / 10.0)),
        kept => Ok(kept),
    }
}

/// Date of birth, and the age at `fetched_at` that follows from it.
struct Life {
    date_of_birth: i64,
    age: i32,
    age_band: &'static str,
}

impl Life {
    fn of(raw: &RawUser<'_>, registered_at: DateTime<Utc>, rule: NumberRule) -> Result<Self, Reject> {
        let fetched_at = time("fetched_at", raw.fetched_at.ok_or_else(|| missing("fetched_at"))?)?;
        let micros = raw.date_of_birth.ok_or_else(|| missing("date_of_birth"))?;
        let born_at = time("date_of_birth", micros)?;
        if registered_at < born_at {
            return Err(Reject::new(
                RejectKind::RegisteredBeforeBirth,
                "registered_at is earlier than date_of_birth",
            ));
        }
        if registered_at > fetched_at + CLOCK_TOLERANCE {
            return Err(implausible("registered_at", "is later than fetched_at"));
        }
        match fetched_at.years_since(born_at) {
            None => return Err(implausible("date_of_birth", "is later than fetched_at")),
            Some(years) if years > MAX_AGE_YEARS => {
                return Err(implausible("date_of_birth", "makes the user older than anyone has been"));
            }
            Some(_) => {}
        }
        let shown = match rule {
            NumberRule::Keep => born_at,
            NumberRule::Mask => new_year(born_at).unwrap_or(born_at),
        };
        let age =
            fetched_at.years_since(shown).and_then(|years| i32::try_from(years).ok()).unwrap_or_default();
        let age_band = AGE_BANDS.iter().find(|(from, _)| age >= *from).map_or("", |(_, band)| band);
        Ok(Self { date_of_birth: shown.timestamp_micros(), age, age_band })
    }
}

fn new_year(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    Some(NaiveDate::from_ymd_opt(time.year(), 1, 1)?.and_hms_opt(0, 0, 0)?.and_utc())
}

struct Email<'a> {
    address: Cow<'a, str>,
    domain: Option<String>,
}

impl<'a> Email<'a> {
    fn of(raw: &RawUser<'a>, policy: &PiiPolicy) -> Result<Self, Reject> {
        let address = raw.email.ok_or_else(|| missing("email"))?.trim();
        let (_, domain) = text::email_sides(address).ok_or_else(|| {
            Reject::new(RejectKind::InvalidEmail, "email has not one @ between two texts without white space")
        })?;
        let domain = domain.to_ascii_lowercase();
        Ok(Self {
            address: policy.email(address, &domain),
            domain: (policy.email_rule() != TextRule::Hmac).then_some(domain),
        })
    }
}

/// Where the user lives.
struct Place<'a> {
    street: Option<Cow<'a, str>>,
    city: Option<Cow<'a, str>>,
    state: Option<Cow<'a, str>>,
    postcode: Option<Cow<'a, str>>,
    country_name: Option<Cow<'a, str>>,
    address: Option<String>,
}

impl<'a> Place<'a> {
    fn of(raw: &RawUser<'a>, policy: &PiiPolicy) -> Self {
        let rules = &policy.rules;
        let treat = |rule: TextRule, field: &str, value: Option<Cow<'a, str>>| {
            value.and_then(filled).map(|value| policy.text(rule, field, value))
        };
        let street = treat(rules.street, "street", street(raw));
        let city = treat(rules.city, "city", raw.city.map(text::fold));
        let state = treat(rules.state, "state", raw.state.map(text::fold));
        let postcode = treat(rules.postcode, "postcode", raw.postcode.map(text::upper));
        let country_name = folded(raw.country);
        let address = address(
            street.as_deref(),
            postcode.as_deref(),
            city.as_deref(),
            state.as_deref(),
            country_name.as_deref(),
        );
        Self { street, city, state, postcode, country_name, address }
    }
}

/// House number, then the street's name, as all nationalities of the API have them.
fn street<'a>(raw: &RawUser<'a>) -> Option<Cow<'a, str>> {
    let name = raw.street_name.map(text::fold).unwrap_or_default();
    let Some(number) = raw.street_number else {
        return Some(name);
    };
    let mut street = number.to_string();
    text::push_with(&mut street, " ", &name);
    Some(Cow::Owned(street))
}

/// One line: street, postcode city, state, country.
fn address(
    street: Option<&str>,
    postcode: Option<&str>,
    city: Option<&str>,
    state: Option<&str>,
    country: Option<&str>,
) -> Option<String> {
    let mut line = String::with_capacity(96);
    let before_city = if postcode.is_some() { " " } else { ", " };
    let parts = [(", ", street), (", ", postcode), (before_city, city), (", ", state), (", ", country)];
    for (separator, part) in parts {
        text::push_with(&mut line, separator, part.unwrap_or_default());
    }
    Some(line).filter(|line| !line.is_empty())
}
