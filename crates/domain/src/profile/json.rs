//! The profile's JSON, with types left open: whatever stands where a field should be is taken as found,
//! so that one pass gives either the values or a precise complaint. Keys the table has no column for,
//! the login secrets among them, are skipped without being read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{ProfileError, Reason, quote};

#[derive(serde::Deserialize)]
pub(super) struct Document<'a> {
    #[serde(borrow, default)]
    pub(super) gender: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) name: Section<Name<'a>>,
    #[serde(borrow, default)]
    pub(super) location: Section<Location<'a>>,
    #[serde(borrow, default)]
    pub(super) email: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) login: Section<Login<'a>>,
    #[serde(borrow, default)]
    pub(super) dob: Section<Moment<'a>>,
    #[serde(borrow, default)]
    pub(super) registered: Section<Moment<'a>>,
    #[serde(borrow, default)]
    pub(super) phone: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) cell: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) id: Section<DocumentId<'a>>,
    #[serde(borrow, default)]
    pub(super) picture: Section<Picture<'a>>,
    #[serde(borrow, default)]
    pub(super) nat: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Name<'a> {
    #[serde(borrow, default)]
    pub(super) title: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) first: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) last: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Location<'a> {
    #[serde(borrow, default)]
    pub(super) street: Section<Street<'a>>,
    #[serde(borrow, default)]
    pub(super) city: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) state: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) country: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) postcode: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) coordinates: Section<Coordinates<'a>>,
    #[serde(borrow, default)]
    pub(super) timezone: Section<Timezone<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Street<'a> {
    #[serde(borrow, default)]
    pub(super) number: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) name: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Coordinates<'a> {
    #[serde(borrow, default)]
    pub(super) latitude: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) longitude: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Timezone<'a> {
    #[serde(borrow, default)]
    pub(super) offset: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) description: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Login<'a> {
    #[serde(borrow, default)]
    pub(super) uuid: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) username: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Moment<'a> {
    #[serde(borrow, default)]
    pub(super) date: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct DocumentId<'a> {
    #[serde(borrow, default)]
    pub(super) name: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) value: Leaf<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Picture<'a> {
    #[serde(borrow, default)]
    pub(super) large: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) medium: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) thumbnail: Leaf<'a>,
}

pub(super) fn document(json: &str) -> Result<Document<'_>, ProfileError> {
    let profile: Section<Document<'_>> = serde_json::from_str(json).map_err(|error| {
        // serde_json's messages name keys and positions, never values, as every value has its own type below.
        ProfileError::new(Reason::MalformedJson, "profile", error.to_string())
    })?;
    profile.require("profile")
}

/// What stands at the place of a scalar.
#[derive(Debug, Default)]
pub(super) enum Leaf<'a> {
    #[default]
    Missing,
    Null,
    Text(Cow<'a, str>),
    /// i128 holds both of JSON's 64-bit ranges.
    Integer(i128),
    Float(f64),
    Bool(bool),
    Array,
    Object,
}

impl fmt::Display for Leaf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("nothing"),
            Self::Null => formatter.write_str("null"),
            Self::Text(text) => write!(formatter, "the text {}", quote(text)),
            Self::Integer(number) => write!(formatter, "the number {number}"),
            Self::Float(number) => write!(formatter, "the number {number}"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Array => formatter.write_str("an array"),
            Self::Object => formatter.write_str("an object"),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Leaf<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LeafVisitor)
    }
}

struct LeafVisitor;

impl<'de> Visitor<'de> for LeafVisitor {
    type Value = Leaf<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Leaf::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Leaf::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Leaf::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Leaf::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Leaf::Float(number))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Leaf::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Leaf::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Leaf::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Leaf::Object)
    }
}

/// What stands at the place of an object. The value of anything else is not kept: a `login` that is a
/// text may be a secret.
#[derive(Debug, Default)]
pub(super) enum Section<T> {
    #[default]
    Absent,
    Object(T),
    Other(&'static str),
}

impl<T> Section<T> {
    pub(super) fn require(self, field: &'static str) -> Result<T, ProfileError> {
        match self {
            Self::Object(section) => Ok(section),
            Self::Absent => Err(ProfileError::missing(field)),
            Self::Other(found) => Err(ProfileError::new(
                Reason::InvalidType,
                field,
                format!("expected an object, found {found}"),
            )),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Section::Other("a text"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Section::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Section::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Section::Other("a number"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Section::Other("true or false"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Section::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Section::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Section::Object)
    }
}
