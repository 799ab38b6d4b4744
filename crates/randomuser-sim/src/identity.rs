//! `id`: the national number of each nationality, with the real server's formats and check digits.

use crate::clock::Stamp;
use crate::draw::Draw;
use crate::pattern::{Pattern, ShortText};

/// How a nationality forms its `id`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IdRule {
    /// `{"name":"","value":null}`.
    Absent,
    /// Name and shape of the value.
    Shape(&'static str, &'static str),
    /// Canada: nine digits with a Luhn check.
    Sin,
    /// Germany: pension area, birth date, initial, serial; one character longer for births from 2000.
    Svnr,
    /// Denmark: birth date and four digits; one character longer for births from 2000.
    Cpr,
    /// France: sex, year, month counted from 0, eight digits, check; one character longer from 2000.
    Insee,
    /// Norway: birth date, individual number, two check digits modulo 11.
    NorwegianFn,
    /// United States: the areas, groups and serials that are never issued do not occur.
    Ssn,
}

impl IdRule {
    /// `id.name`; empty when there is no number.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Shape(name, _) => name,
            Self::Sin => "SIN",
            Self::Svnr => "SVNR",
            Self::Cpr => "CPR",
            Self::Insee => "INSEE",
            Self::NorwegianFn => "FN",
            Self::Ssn => "SSN",
        }
    }

    /// The shape of the value where it is nothing but one.
    pub(crate) fn shape(self) -> Option<&'static str> {
        match self {
            Self::Shape(_, shape) => Some(shape),
            Self::Absent
            | Self::Sin
            | Self::Svnr
            | Self::Cpr
            | Self::Insee
            | Self::NorwegianFn
            | Self::Ssn => None,
        }
    }
}

/// The person a number is made for.
pub(crate) struct Holder<'a> {
    pub(crate) male: bool,
    pub(crate) born: &'a Stamp,
    pub(crate) last_name: &'a str,
}

/// `id.value`, or `None` for null. `shape` is the compiled pattern of an [`IdRule::Shape`].
pub(crate) fn number(
    rule: IdRule,
    shape: Option<&Pattern>,
    holder: &Holder<'_>,
    draw: &mut Draw,
) -> Option<ShortText> {
    let mut text = ShortText::default();
    match rule {
        IdRule::Absent => return None,
        IdRule::Shape(..) => shape?.fill(draw, &mut text),
        IdRule::Sin => sin(draw, &mut text),
        IdRule::Svnr => svnr(holder, draw, &mut text),
        IdRule::Cpr => {
            day_month_year(holder.born, &mut text);
            text.push(b'-');
            digits(draw, 4, &mut text);
        }
        IdRule::Insee => insee(holder, draw, &mut text),
        IdRule::NorwegianFn => norwegian_fn(holder, draw, &mut text),
        IdRule::Ssn => ssn(draw, &mut text),
    }
    Some(text)
}

fn digits(draw: &mut Draw, count: usize, text: &mut ShortText) {
    (0..count).for_each(|_| text.push(draw.digit()));
}

/// `DDMMYY`, with a third year digit from 2000 on as JavaScript's `getYear()` gives it.
fn day_month_year(born: &Stamp, text: &mut ShortText) {
    text.push_number(born.day, 2);
    text.push_number(born.month, 2);
    text.push_number(born.year_since_1900(), 2);
}

/// Luhn: every second digit doubled, the digit sum is a multiple of ten.
fn sin(draw: &mut Draw, text: &mut ShortText) {
    let mut sum = 0;
    for position in 0..8 {
        let digit = draw.below(10);
        let doubled = if position % 2 == 1 { digit * 2 } else { digit };
        sum += doubled / 10 + doubled % 10;
        text.push_number(digit, 1);
    }
    text.push_number((10 - sum % 10) % 10, 1);
}

fn svnr(holder: &Holder<'_>, draw: &mut Draw, text: &mut ShortText) {
    // The areas of the German pension insurers.
    const AREAS: &[&str] = &[
        "02", "03", "04", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21",
        "23", "24", "25", "26", "28", "29", "38", "39", "40", "42", "43", "44", "45", "46", "47", "48", "49",
        "50", "51", "52", "53", "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", "64", "65", "66",
        "67", "68", "69", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "80", "81", "82", "89",
    ];
    text.push_str(draw.pick::<&str>(AREAS));
    text.push(b' ');
    day_month_year(holder.born, text);
    text.push(b' ');
    text.push(holder.last_name.bytes().next().unwrap_or(b'X'));
    text.push(b' ');
    text.push_number(if holder.male { draw.below(50) } else { 50 + draw.below(50) }, 2);
    text.push(draw.digit());
}

fn insee(holder: &Holder<'_>, draw: &mut Draw, text: &mut ShortText) {
    let sex = if holder.male { 1 } else { 2 };
    let (year, month) = (holder.born.year_since_1900(), holder.born.month - 1);
    let serial = draw.below(100_000_000);
    let year_width = if year < 100 { 100 } else { 1_000 };
    let number =
        ((u64::from(sex * year_width + year)) * 100 + u64::from(month)) * 100_000_000 + u64::from(serial);
    text.push_number(sex, 1);
    text.push_number(year, 2);
    text.push_number(month, 2);
    text.push_number(serial, 8);
    text.push(b' ');
    text.push_number(u32::try_from(97 - number % 97).unwrap_or(97), 2);
}

fn norwegian_fn(holder: &Holder<'_>, draw: &mut Draw, text: &mut ShortText) {
    const FIRST: [u32; 9] = [3, 7, 6, 1, 8, 9, 4, 5, 2];
    const SECOND: [u32; 10] = [5, 4, 3, 2, 7, 6, 5, 4, 3, 2];
    let born = holder.born;
    let year = born.year_since_1900() % 100;
    loop {
        let mut serial = if born.year >= 2000 { 999 - draw.below(500) } else { 499 - draw.below(500) };
        // Men have odd numbers, women even ones.
        if (serial % 2 == 1) != holder.male {
            serial = serial.saturating_sub(1);
        }
        let mut ten = [0; 10];
        let parts = [born.day / 10, born.day % 10, born.month / 10, born.month % 10, year / 10, year % 10];
        ten[..6].copy_from_slice(&parts);
        ten[6..9].copy_from_slice(&[serial / 100, serial / 10 % 10, serial % 10]);
        let Some(first) = check_digit(&FIRST, &ten) else { continue };
        ten[9] = first;
        // Numbers whose check digit would be 10, or end in 0, are not given out by the real server.
        let Some(second) = check_digit(&SECOND, &ten).filter(|&digit| digit != 0) else { continue };
        ten.into_iter().chain([second]).for_each(|digit| text.push_number(digit, 1));
        return;
    }
}

/// Modulo 11; `None` where the digit would be 10.
fn check_digit(weights: &[u32], digits: &[u32]) -> Option<u32> {
    let sum: u32 = weights.iter().zip(digits).map(|(weight, digit)| weight * digit).sum();
    match (11 - sum % 11) % 11 {
        10 => None,
        digit => Some(digit),
    }
}

fn ssn(draw: &mut Draw, text: &mut ShortText) {
    loop {
        let (area, group, serial) = (draw.below(1_000), draw.below(100), draw.below(10_000));
        let advertised = matches!((area, group, serial), (219, 9, 9_999) | (78, 5, 1_120));
        if area == 0 || area == 666 || area >= 900 || group == 0 || serial == 0 || advertised {
            continue;
        }
        text.push_number(area, 3);
        text.push(b'-');
        text.push_number(group, 2);
        text.push(b'-');
        text.push_number(serial, 4);
        return;
    }
}
