//! Durations as people write them: `250ms`, `10s`, `5m`, `1h`. Use with `#[serde(with = "units::duration")]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The schema of a duration, for `#[schemars(with = "DurationText")]`.
#[derive(Debug)]
pub struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^\\s*[0-9]+\\s*(ms|s|m|h)\\s*$",
        })
    }
}

/// A [`std::time::Duration`] as a number and a unit: ms, s, m or h.
pub mod duration {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads `250ms`, `10s`, `5m` or `1h`.
    ///
    /// # Errors
    /// A text without a unit, with another unit, or that is no text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is not a duration; write a whole number and ms, s, m or h, such as 250ms"
            ))
        })
    }

    /// Writes it in the largest unit of which it is a whole number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        const UNITS: [(&str, u128); 3] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let millis = duration.as_millis();
        let largest = UNITS.into_iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
        let (name, unit) = largest.unwrap_or(if millis == 0 { ("s", 1_000) } else { ("ms", 1) });
        serializer.collect_str(&format_args!("{}{name}", millis / unit))
    }

    /// `None` if the text is not a whole number followed by ms, s, m or h.
    #[must_use]
    pub fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text.get(..digits)?.parse().ok()?;
        match text.get(digits..)?.trim() {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => None,
        }
    }
}
