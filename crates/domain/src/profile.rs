//! One profile of the randomuser.me API (version 1.4) as the typed columns of the table `users`.
//!
//! [`parse`] reads a profile in one pass and borrows what needs no unescaping. It checks types and
//! ranges, so that one bad profile can't fail the statement that stores its page; what a profile
//! *means* (is this an email address, was the user born before registering) is for the transform.
//! [`without_secrets`] prepares what did not parse for `fetch_rejects`.

mod error;
mod json;
mod redact;

use std::borrow::Cow;

use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

pub use error::{ProfileError, Reason};
pub use redact::without_secrets;

use json::{Document, Leaf};

/// The longest text that a column takes, in bytes. The API's own longest is under 60 characters; PostgreSQL
/// can't index values over 2,704 bytes and Kafka refuses records over 1 MB.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Years that a date may fall in.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2199;

/// A profile, column by column. Passwords, salts and hashes are not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile<'a> {
    /// `login.uuid`, the only value of a profile that is unique.
    pub id: Uuid,
    /// `nat`: two upper-case letters, or `LEGO`.
    pub nat: Cow<'a, str>,
    /// `gender`.
    pub gender: Cow<'a, str>,
    /// `name.title`.
    pub title: Cow<'a, str>,
    /// `name.first`.
    pub first_name: Cow<'a, str>,
    /// `name.last`.
    pub last_name: Cow<'a, str>,
    /// `location.street.number`.
    pub street_number: i32,
    /// `location.street.name`; may be empty.
    pub street_name: Cow<'a, str>,
    /// `location.city`.
    pub city: Cow<'a, str>,
    /// `location.state`.
    pub state: Cow<'a, str>,
    /// `location.country`: the country's English name.
    pub country: Cow<'a, str>,
    /// `location.postcode`: a JSON number or string, as text; leading zeros stay.
    pub postcode: Cow<'a, str>,
    /// `location.coordinates.latitude`, degrees from -90 to 90.
    pub latitude: f64,
    /// `location.coordinates.longitude`, degrees from -180 to 180.
    pub longitude: f64,
    /// `location.timezone.offset`, unpadded as the API writes it: `-9:00`.
    pub timezone_offset: Cow<'a, str>,
    /// `location.timezone.description`.
    pub timezone_description: Cow<'a, str>,
    /// `email`; not unique.
    pub email: Cow<'a, str>,
    /// `login.username`; not unique.
    pub username: Cow<'a, str>,
    /// `dob.date`. `dob.age` is left out: it depends on the server's clock.
    pub date_of_birth: DateTime<Utc>,
    /// `registered.date`.
    pub registered_at: DateTime<Utc>,
    /// `phone`, as the API writes it.
    pub phone: Cow<'a, str>,
    /// `cell`, as the API writes it.
    pub cell: Cow<'a, str>,
    /// `id.name`, the kind of document; the API's empty text is none.
    pub document_name: Option<Cow<'a, str>>,
    /// `id.value`, the document's number; null for four nationalities.
    pub document_value: Option<Cow<'a, str>>,
    /// `picture.large`, a URL.
    pub picture_large: Cow<'a, str>,
    /// `picture.medium`, a URL.
    pub picture_medium: Cow<'a, str>,
    /// `picture.thumbnail`, a URL.
    pub picture_thumbnail: Cow<'a, str>,
}

/// Parses one element of the API's `results`.
///
/// # Errors
///
/// The first thing that is wrong, with a reason of a closed set ([`Reason`]).
pub fn parse(json: &str) -> Result<Profile<'_>, ProfileError> {
    let document = json::document(json)?;
    profile(document)
}

fn profile(document: Document<'_>) -> Result<Profile<'_>, ProfileError> {
    let login = document.login.require("login")?;
    let name = document.name.require("name")?;
    let location = document.location.require("location")?;
    let street = location.street.require("location.street")?;
    let coordinates = location.coordinates.require("location.coordinates")?;
    let timezone = location.timezone.require("location.timezone")?;
    let birth = document.dob.require("dob")?;
    let registered = document.registered.require("registered")?;
    let id = document.id.require("id")?;
    let picture = document.picture.require("picture")?;
    Ok(Profile {
        id: uuid("login.uuid", login.uuid)?,
        nat: text("nat", document.nat)?,
        gender: text("gender", document.gender)?,
        title: text("name.title", name.title)?,
        first_name: text("name.first", name.first)?,
        last_name: text("name.last", name.last)?,
        street_number: integer("location.street.number", &street.number)?,
        street_name: text("location.street.name", street.name)?,
        city: text("location.city", location.city)?,
        state: text("location.state", location.state)?,
        country: text("location.country", location.country)?,
        postcode: number_or_text("location.postcode", location.postcode)?,
        latitude: degrees("location.coordinates.latitude", coordinates.latitude, 90.0)?,
        longitude: degrees("location.coordinates.longitude", coordinates.longitude, 180.0)?,
        timezone_offset: text("location.timezone.offset", timezone.offset)?,
        timezone_description: text("location.timezone.description", timezone.description)?,
        email: text("email", document.email)?,
        username: text("login.username", login.username)?,
        date_of_birth: date("dob.date", birth.date)?,
        registered_at: date("registered.date", registered.date)?,
        phone: text("phone", document.phone)?,
        cell: text("cell", document.cell)?,
        document_name: optional_text("id.name", id.name)?,
        document_value: optional_text("id.value", id.value)?,
        picture_large: text("picture.large", picture.large)?,
        picture_medium: text("picture.medium", picture.medium)?,
        picture_thumbnail: text("picture.thumbnail", picture.thumbnail)?,
    })
}

fn text<'a>(field: &'static str, leaf: Leaf<'a>) -> Result<Cow<'a, str>, ProfileError> {
    match leaf {
        Leaf::Text(text) => storable(field, text),
        Leaf::Missing | Leaf::Null => Err(ProfileError::missing(field)),
        other => Err(ProfileError::wrong_type(field, "a text", &other)),
    }
}

/// PostgreSQL's text takes anything but U+0000, which JSON has in escaped form only: a borrowed text had no escapes.
fn storable<'a>(field: &'static str, text: Cow<'a, str>) -> Result<Cow<'a, str>, ProfileError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ProfileError::out_of_range(
            field,
            format!("a text of {} bytes, the limit is {MAX_TEXT_BYTES}", text.len()),
        ));
    }
    if matches!(text, Cow::Owned(_)) && text.as_bytes().contains(&0) {
        return Err(ProfileError::new(Reason::InvalidText, field, "the text contains U+0000".to_owned()));
    }
    Ok(text)
}

fn optional_text<'a>(field: &'static str, leaf: Leaf<'a>) -> Result<Option<Cow<'a, str>>, ProfileError> {
    match leaf {
        Leaf::Missing => Err(ProfileError::missing(field)),
        Leaf::Null => Ok(None),
        other => text(field, other).map(|text| if text.is_empty() { None } else { Some(text) }),
    }
}

fn number_or_text<'a>(field: &'static str, leaf: Leaf<'a>) -> Result<Cow<'a, str>, ProfileError> {
    match leaf {
        Leaf::Integer(number) if number >= 0 => Ok(Cow::Owned(number.to_string())),
        Leaf::Integer(number) => Err(ProfileError::out_of_range(field, format!("{number} is negative"))),
        Leaf::Text(text) => storable(field, text),
        Leaf::Missing | Leaf::Null => Err(ProfileError::missing(field)),
        other => Err(ProfileError::wrong_type(field, "a whole number or a text", &other)),
    }
}

fn integer(field: &'static str, leaf: &Leaf<'_>) -> Result<i32, ProfileError> {
    match leaf {
        Leaf::Integer(number) => i32::try_from(*number).map_err(|_| {
            ProfileError::out_of_range(field, format!("{number} is outside {} to {}", i32::MIN, i32::MAX))
        }),
        Leaf::Missing | Leaf::Null => Err(ProfileError::missing(field)),
        other => Err(ProfileError::wrong_type(field, "a whole number", other)),
    }
}

/// The API writes coordinates as texts.
fn degrees(field: &'static str, leaf: Leaf<'_>, limit: f64) -> Result<f64, ProfileError> {
    let text = text(field, leaf)?;
    let degrees: f64 = text.parse().map_err(|_| {
        ProfileError::new(Reason::InvalidNumber, field, format!("{} is not a number", error::quote(&text)))
    })?;
    if degrees.is_nan() || degrees.abs() > limit {
        return Err(ProfileError::out_of_range(
            field,
            format!("{} is outside -{limit} to {limit}", error::quote(&text)),
        ));
    }
    Ok(degrees)
}

fn uuid(field: &'static str, leaf: Leaf<'_>) -> Result<Uuid, ProfileError> {
    let text = text(field, leaf)?;
    // The crate also reads braces, URNs and forms without hyphens; the API writes none of them.
    match Uuid::try_parse(&text) {
        Ok(uuid) if text.len() == 36 => Ok(uuid),
        _ => Err(ProfileError::new(
            Reason::InvalidUuid,
            field,
            format!("{} is not a UUID of the form 8-4-4-4-12", error::quote(&text)),
        )),
    }
}

fn date(field: &'static str, leaf: Leaf<'_>) -> Result<DateTime<Utc>, ProfileError> {
    let text = text(field, leaf)?;
    let date = DateTime::parse_from_rfc3339(&text).map_err(|_| {
        ProfileError::new(
            Reason::InvalidDate,
            field,
            format!("{} is not an RFC 3339 date and time", error::quote(&text)),
        )
    })?;
    let date = date.with_timezone(&Utc);
    if YEARS.contains(&date.year()) {
        Ok(date)
    } else {
        Err(ProfileError::out_of_range(
            field,
            format!("{} is outside the years {} to {}", error::quote(&text), YEARS.start(), YEARS.end()),
        ))
    }
}
