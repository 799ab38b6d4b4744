//! Dates and timestamps: PostgreSQL's binary form (from 2000-01-01), its ISO text, and Avro's (from 1970-01-01).
//!
//! Dates are proleptic Gregorian, as PostgreSQL's. `infinity` and `-infinity`, which Avro does not have, become
//! the largest and smallest number.

use std::io::Write as _;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 2000-01-01 to days since 1970-01-01.
pub(super) const fn date_from_binary(days: i32) -> i32 {
    if days == i32::MIN { days } else { days.saturating_add(EPOCH_DAYS) }
}

/// Microseconds since 2000-01-01 to microseconds since 1970-01-01.
#[must_use]
pub const fn timestamp_from_binary(micros: i64) -> i64 {
    if micros == i64::MIN { micros } else { micros.saturating_add(EPOCH_MICROS) }
}

/// The way back from [`date_from_binary`].
pub(crate) const fn date_to_binary(days: i32) -> i32 {
    if days == i32::MAX { days } else { days.saturating_sub(EPOCH_DAYS) }
}

/// The way back from [`timestamp_from_binary`].
pub(crate) const fn timestamp_to_binary(micros: i64) -> i64 {
    if micros == i64::MAX { micros } else { micros.saturating_sub(EPOCH_MICROS) }
}

/// Days since 1970-01-01 of a date as PostgreSQL writes it: `2024-02-29`, `0044-03-15 BC`, `infinity`.
pub(super) fn parse_date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => return Some(i32::MAX),
        b"-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, bc) = strip_era(text);
    let (days, rest) = take_date(text, bc)?;
    if rest.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Microseconds since 1970-01-01 of a timestamp as PostgreSQL writes it: `2024-02-29 12:00:00.25`, with `+00`,
/// `+05:30` or nothing for the time zone, `BC` at the end, or `infinity`.
pub(super) fn parse_timestamp(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => return Some(i64::MAX),
        b"-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, bc) = strip_era(text);
    let (days, rest) = take_date(text, bc)?;
    let (hours, rest) = take_number(rest.strip_prefix(b" ")?)?;
    let (minutes, rest) = take_number(rest.strip_prefix(b":")?)?;
    let (seconds, mut rest) = take_number(rest.strip_prefix(b":")?)?;
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (value, after) = take_number(fraction)?;
        let digits = u32::try_from(fraction.len() - after.len()).ok()?;
        micros = value.checked_mul(10_i64.checked_pow(6_u32.checked_sub(digits)?)?)?;
        rest = after;
    }
    let clock = ((hours * 60 + minutes) * 60 + seconds - take_zone(rest)?) * 1_000_000 + micros;
    // Only the last years that PostgreSQL can store do not fit a 64-bit count from 1970.
    Some(days.saturating_mul(DAY_MICROS).saturating_add(clock))
}

/// Appends the ISO text of a date in days since 2000-01-01.
pub(super) fn write_date(days: i32, out: &mut Vec<u8>) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let bc = put_date(i64::from(days) + i64::from(EPOCH_DAYS), out);
            put_era(bc, out);
        }
    }
}

/// Appends the ISO text of a timestamp in microseconds since 2000-01-01, followed by `zone`.
pub(super) fn write_timestamp(micros: i64, zone: &str, out: &mut Vec<u8>) {
    match micros {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let bc = put_date(micros.div_euclid(DAY_MICROS) + i64::from(EPOCH_DAYS), out);
    let clock = micros.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (clock / 1_000_000, clock % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Writing to a vector can't fail.
    let _ = write!(out, " {hours:02}:{minutes:02}:{seconds:02}");
    if fraction > 0 {
        let _ = write!(out, ".{fraction:06}");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.extend_from_slice(zone.as_bytes());
    put_era(bc, out);
}

fn strip_era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC").map_or((text, false), |text| (text, true))
}

fn put_era(bc: bool, out: &mut Vec<u8>) {
    if bc {
        out.extend_from_slice(b" BC");
    }
}

/// Days since 1970-01-01 and what follows the date.
fn take_date(text: &[u8], bc: bool) -> Option<(i64, &[u8])> {
    let (year, rest) = take_number(text)?;
    let (month, rest) = take_number(rest.strip_prefix(b"-")?)?;
    let (day, rest) = take_number(rest.strip_prefix(b"-")?)?;
    // 1 BC is the year 0.
    let year = if bc { 1 - year } else { year };
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| (days_from_civil(year, month, day), rest))
}

/// Writes year, month and day of days since 1970-01-01; true if the year is before Christ.
fn put_date(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil_from_days(days);
    let (year, bc) = if year > 0 { (year, false) } else { (1 - year, true) };
    // Writing to a vector can't fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
    bc
}

/// A number of at most 9 digits and what follows it.
fn take_number(text: &[u8]) -> Option<(i64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')), rest))
}

/// Seconds east of Greenwich of nothing, `+02`, `-03:30` or `+00:19:32`.
fn take_zone(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (mut seconds, mut unit, mut rest) = (0, 3600, rest);
    loop {
        let (value, after) = take_number(rest)?;
        seconds += value * unit;
        if after.is_empty() {
            return Some(sign * seconds);
        }
        (rest, unit) = (after.strip_prefix(b":")?, unit / 60);
    }
}

/// Days since 1970-01-01 (Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of days since 1970-01-01, the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
