//! Login secrets out of a profile that did not parse, whatever its shape.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Left out wherever they stand.
const SECRETS: [&str; 5] = ["password", "salt", "md5", "sha1", "sha256"];
/// All that is left of an object `login`.
const LOGIN_KEPT: [&str; 2] = ["uuid", "username"];
/// A profile nests four deep; what is deeper than this is no longer looked into and so left out.
const MAX_DEPTH: usize = 16;

/// The profile as JSON text without its login secrets, for `fetch_rejects.profile`.
///
/// Dropped are the members `password`, `salt`, `md5`, `sha1` and `sha256` (in any case) at any depth, and
/// every member of an object `login` but `uuid` and `username`. A `login` that is anything else but an
/// object or null is replaced by a note, as is what can't be read. All other values stay letter for letter.
#[must_use]
pub fn without_secrets(json: &str) -> String {
    let mut kept = String::with_capacity(json.len());
    if copy(json, false, MAX_DEPTH, &mut kept).is_err() {
        kept.clear();
        note(&format!("an unreadable profile of {} bytes", json.len()), &mut kept);
    }
    kept
}

fn copy(json: &str, login: bool, depth: usize, kept: &mut String) -> serde_json::Result<()> {
    let json = json.trim_ascii();
    match json.as_bytes().first() {
        Some(b'{' | b'[') if depth == 0 => note("a value nested too deeply", kept),
        Some(b'{') => {
            let Members(members) = serde_json::from_str(json)?;
            kept.push('{');
            let mut first = true;
            for (name, value) in members {
                if is_secret(&name) || (login && !LOGIN_KEPT.contains(&name.as_str())) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    kept.push(',');
                }
                kept.push_str(&serde_json::to_string(&name)?);
                kept.push(':');
                copy(value.get(), name.eq_ignore_ascii_case("login"), depth - 1, kept)?;
            }
            kept.push('}');
        }
        _ if login && json != "null" => note("a login that is not an object", kept),
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json)?;
            kept.push('[');
            for (index, value) in elements.iter().enumerate() {
                if index > 0 {
                    kept.push(',');
                }
                copy(value.get(), false, depth - 1, kept)?;
            }
            kept.push(']');
        }
        _ => {
            let value: &RawValue = serde_json::from_str(json)?;
            kept.push_str(value.get());
        }
    }
    Ok(())
}

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

fn note(what: &str, kept: &mut String) {
    kept.push_str("\"(left out: ");
    kept.push_str(what);
    kept.push_str(")\"");
}

/// An object's members in their order; a name that comes twice stays twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
