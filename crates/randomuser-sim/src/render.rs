//! Pages as JSON, written straight into a buffer.
//!
//! Key order and compactness are the real server's. Words go in unescaped: the lists hold nothing that JSON
//! escapes (a test of `words` checks it); only the seed of the request is escaped.

use std::collections::BTreeMap;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::clock::Stamp;
use crate::fields::Fields;
use crate::generate::{Postcode, User, Users};
use crate::nationality::Nationality;
use crate::poison::{Poison, PoisonPlan};
use crate::query::Query;
use crate::seed::Resolved;
use crate::words::Catalogue;

/// A user takes 1,024 to 1,158 bytes.
const USER_BYTES: usize = 1_160;

/// What a page is made from.
pub(crate) struct PageRequest<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) query: &'a Query,
    pub(crate) seed: Resolved,
    pub(crate) now: Stamp,
    pub(crate) poison: &'a PoisonPlan,
}

/// A finished page.
pub(crate) struct Page {
    pub(crate) json: Vec<u8>,
    /// Damaged profiles by kind.
    pub(crate) poisoned: BTreeMap<Poison, u64>,
}

/// The page, or `None` where the real server throws and never answers: `inc=id` without `name` needs the last
/// name of a German user, which is not there.
pub(crate) fn page(request: PageRequest<'_>) -> Option<Page> {
    let PageRequest { catalogue, query, seed, now, poison } = request;
    let fields = query.fields;
    let lacks_name = fields.has(Fields::ID) && !fields.has(Fields::NAME);
    let mut users = Users::new(catalogue, &seed.text, seed.choice, query.male);
    let mut json = Vec::with_capacity(query.results as usize * USER_BYTES + 256);
    let mut poisoned = BTreeMap::new();
    text(&mut json, "{\"results\":[");
    for position in 0..query.results {
        let user = users.next_user();
        if lacks_name && user.spec.nationality == Nationality::De {
            return None;
        }
        if position > 0 {
            json.push(b',');
        }
        let damage = poison.of(user.uuid).filter(|damage| touches(*damage, fields));
        if let Some(damage) = damage {
            *poisoned.entry(damage).or_insert(0) += 1;
        }
        profile(&mut json, &user, fields, &now, damage);
    }
    json.push(b']');
    if !query.no_info {
        text(&mut json, ",\"info\":{\"seed\":");
        // A string always serialises, and a Vec takes every byte.
        text(&mut json, &serde_json::Value::from(seed.shown).to_string());
        text(
            &mut json,
            &format!(",\"results\":{},\"page\":{},\"version\":\"1.4\"}}", query.results, query.page),
        );
    }
    json.push(b'}');
    Some(Page { json, poisoned })
}

/// Whether the damage shows in a profile of these fields.
fn touches(damage: Poison, fields: Fields) -> bool {
    fields.has(match damage {
        Poison::MissingUuid | Poison::InvalidUuid => Fields::LOGIN,
        Poison::ImpossibleDate => Fields::DOB,
        Poison::PostcodeObject | Poison::LatitudeText | Poison::LatitudeRange => Fields::LOCATION,
        Poison::MissingName => Fields::NAME,
        Poison::NullEmail => Fields::EMAIL,
        Poison::UnknownGender => Fields::GENDER,
        Poison::UnknownNationality => Fields::NAT,
        Poison::NotAnObject => return true,
    })
}

fn profile(out: &mut Vec<u8>, user: &User<'_>, fields: Fields, now: &Stamp, damage: Option<Poison>) {
    if damage == Some(Poison::NotAnObject) {
        return text(out, "\"not a profile\"");
    }
    let open = out.len();
    out.push(b'{');
    // Every field ends in a comma; the last one's becomes the brace.
    if fields.has(Fields::GENDER) {
        let gender = match damage {
            Some(Poison::UnknownGender) => "unspecified",
            _ if user.male => "male",
            _ => "female",
        };
        texts(out, &["\"gender\":\"", gender, "\","]);
    }
    if fields.has(Fields::NAME) && damage != Some(Poison::MissingName) {
        let parts = [user.title, "\",\"first\":\"", &user.first.text, "\",\"last\":\"", &user.last.text];
        text(out, "\"name\":{\"title\":\"");
        texts(out, &parts);
        text(out, "\"},");
    }
    if fields.has(Fields::LOCATION) {
        location(out, user, damage);
    }
    if fields.has(Fields::EMAIL) {
        match damage {
            Some(Poison::NullEmail) => text(out, "\"email\":null,"),
            _ => texts(out, &["\"email\":\"", &user.first.email, ".", &user.last.email, "@example.com\","]),
        }
    }
    if fields.has(Fields::LOGIN) {
        login(out, user, damage);
    }
    if fields.has(Fields::DOB) {
        match damage {
            Some(Poison::ImpossibleDate) => {
                text(out, "\"dob\":{\"date\":\"2001-02-30T12:00:00.000Z\",\"age\":25},")
            }
            _ => date_and_age(out, "\"dob\":", &user.born, now),
        }
    }
    if fields.has(Fields::REGISTERED) {
        date_and_age(out, "\"registered\":", &user.registered, now);
    }
    if fields.has(Fields::PHONE) {
        quoted(out, "\"phone\":", user.phone.as_bytes());
        out.push(b',');
    }
    if fields.has(Fields::CELL) {
        quoted(out, "\"cell\":", user.cell.as_bytes());
        out.push(b',');
    }
    if fields.has(Fields::ID) {
        texts(out, &["\"id\":{\"name\":\"", user.spec.id.name(), "\",\"value\":"]);
        match &user.id {
            Some(value) => quoted(out, "", value.as_bytes()),
            None => text(out, "null"),
        }
        text(out, "},");
    }
    if fields.has(Fields::PICTURE) {
        picture(out, user);
    }
    if fields.has(Fields::NAT) {
        let code = if damage == Some(Poison::UnknownNationality) { "XX" } else { user.spec.code };
        texts(out, &["\"nat\":\"", code, "\","]);
    }
    if out.len() > open + 1 {
        out.pop();
    }
    out.push(b'}');
}

fn location(out: &mut Vec<u8>, user: &User<'_>, damage: Option<Poison>) {
    text(out, "\"location\":{\"street\":{\"number\":");
    number(out, user.street_number, 1);
    texts(
        out,
        &[",\"name\":\"", user.street, "\"},\"city\":\"", user.city, "\",\"state\":\"", user.state, "\""],
    );
    if let Some(country) = user.spec.country {
        texts(out, &[",\"country\":\"", country, "\""]);
    }
    text(out, ",\"postcode\":");
    match user.postcode {
        _ if damage == Some(Poison::PostcodeObject) => text(out, "{\"code\":\"12345\"}"),
        Postcode::Number(code) => number(out, code, 1),
        Postcode::Text(code) => quoted(out, "", code.as_bytes()),
    }
    text(out, ",\"coordinates\":{\"latitude\":\"");
    match damage {
        Some(Poison::LatitudeText) => text(out, "abc"),
        Some(Poison::LatitudeRange) => text(out, "123.4567"),
        _ => degrees(out, user.latitude),
    }
    text(out, "\",\"longitude\":\"");
    degrees(out, user.longitude);
    let zone = user.timezone;
    texts(
        out,
        &[
            "\"},\"timezone\":{\"offset\":\"",
            &zone.offset,
            "\",\"description\":\"",
            &zone.description,
            "\"}},",
        ],
    );
}

fn login(out: &mut Vec<u8>, user: &User<'_>, damage: Option<Poison>) {
    text(out, "\"login\":{");
    match damage {
        Some(Poison::MissingUuid) => {}
        Some(Poison::InvalidUuid) => text(out, "\"uuid\":\"not-a-uuid\","),
        _ => {
            text(out, "\"uuid\":\"");
            uuid(out, user.uuid);
            text(out, "\",");
        }
    }
    let (adjective, animal, suffix) = user.username;
    texts(out, &["\"username\":\"", adjective, animal]);
    number(out, suffix, 3);
    texts(out, &["\",\"password\":\"", user.password]);
    quoted(out, "\",\"salt\":", &user.salt);
    // The real server hashes the password followed by the salt.
    text(out, ",\"md5\":\"");
    hex(out, &Md5::new().chain_update(user.password).chain_update(user.salt).finalize());
    text(out, "\",\"sha1\":\"");
    hex(out, &Sha1::new().chain_update(user.password).chain_update(user.salt).finalize());
    text(out, "\",\"sha256\":\"");
    hex(out, &Sha256::new().chain_update(user.password).chain_update(user.salt).finalize());
    text(out, "\"},");
}

fn picture(out: &mut Vec<u8>, user: &User<'_>) {
    let folder = match (user.spec.nationality, user.male) {
        (Nationality::Lego, _) => "lego",
        (_, true) => "men",
        (_, false) => "women",
    };
    text(out, "\"picture\":{");
    for (key, size) in [("\"large", ""), ("\"medium", "med/"), ("\"thumbnail", "thumb/")] {
        texts(out, &[key, "\":\"https://randomuser.me/api/portraits/", size, folder, "/"]);
        number(out, user.picture, 1);
        text(out, ".jpg\",");
    }
    out.pop();
    text(out, "},");
}

fn date_and_age(out: &mut Vec<u8>, key: &str, date: &Stamp, now: &Stamp) {
    texts(out, &[key, "{\"date\":\""]);
    let year = u32::try_from(date.year).unwrap_or(0);
    for (value, width, end) in [
        (year, 4, b'-'),
        (date.month, 2, b'-'),
        (date.day, 2, b'T'),
        (date.hour, 2, b':'),
        (date.minute, 2, b':'),
        (date.second, 2, b'.'),
        (date.millisecond, 3, b'Z'),
    ] {
        number(out, value, width);
        out.push(end);
    }
    text(out, "\",\"age\":");
    number(out, date.years_until(now), 1);
    text(out, "},");
}

/// Ten-thousandths as `-12.0345`; zero has no sign.
fn degrees(out: &mut Vec<u8>, ten_thousandths: i64) {
    if ten_thousandths < 0 {
        out.push(b'-');
    }
    let size = u32::try_from(ten_thousandths.unsigned_abs()).unwrap_or(0);
    number(out, size / 10_000, 1);
    out.push(b'.');
    number(out, size % 10_000, 4);
}

fn uuid(out: &mut Vec<u8>, bits: u128) {
    let bytes = bits.to_be_bytes();
    let (mut rest, groups) = (bytes.as_slice(), [4, 2, 2, 2, 6]);
    for (position, length) in groups.into_iter().enumerate() {
        if position > 0 {
            out.push(b'-');
        }
        let (group, after) = rest.split_at(length);
        hex(out, group);
        rest = after;
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|&byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

/// Decimal digits, padded with zeros to `width` (at most 10).
fn number(out: &mut Vec<u8>, value: u32, width: usize) {
    let mut digits = [b'0'; 10];
    let (mut rest, mut start) = (value, digits.len());
    while rest > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

fn quoted(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    text(out, key);
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
}

fn texts(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| text(out, part));
}

fn text(out: &mut Vec<u8>, part: &str) {
    out.extend_from_slice(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_degrees() {
        let mut out = Vec::new();
        number(&mut out, 0, 1);
        number(&mut out, 7, 3);
        number(&mut out, u32::MAX, 2);
        assert_eq!(out, b"00074294967295");
        for (value, expected) in
            [(0, "0.0000"), (-1, "-0.0001"), (-899_999, "-89.9999"), (1_050_000, "105.0000")]
        {
            out.clear();
            degrees(&mut out, value);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn a_uuid_is_written_in_five_groups() {
        let mut out = Vec::new();
        uuid(&mut out, 0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        assert_eq!(out, b"01234567-89ab-4def-8123-456789abcdef");
    }
}
