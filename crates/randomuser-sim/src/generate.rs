//! Users, one after the other, from a stream of draws.
//!
//! Every value is drawn whether or not the page shows it, so `inc` and `exc` never change the other fields.

use crate::clock::Stamp;
use crate::draw::Draw;
use crate::identity::{self, Holder};
use crate::nationality::{Nationality, PostcodeRule, Spec};
use crate::pattern::{Pattern, ShortText};
use crate::seed::Choice;
use crate::words::{Catalogue, Name, Timezone};

/// "Now" of API version 1.4 in epoch milliseconds: nobody registered later or was born in the 21 years before it.
const RELEASED: i64 = 1_653_344_189_000;
const BORN: (i64, i64) = (-800_000_000_000, RELEASED - 86_400_000 * 365 * 21);
const REGISTERED: (i64, i64) = (1_016_688_461_000, RELEASED);
/// The real list of Ukrainian streets has one blank line among this many.
const UKRAINIAN_STREETS: u32 = 4_250;
/// The real password list has one blank and two HTML entities among about this many.
const PASSWORDS: u32 = 7_500;

/// A post code as its JSON type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Postcode {
    Number(u32),
    Text(ShortText),
}

/// A user before it is written; text is borrowed from the word lists.
pub(crate) struct User<'c> {
    pub(crate) spec: &'static Spec,
    pub(crate) male: bool,
    pub(crate) title: &'c str,
    pub(crate) first: &'c Name,
    pub(crate) last: &'c Name,
    pub(crate) street_number: u32,
    pub(crate) street: &'c str,
    pub(crate) city: &'c str,
    pub(crate) state: &'c str,
    pub(crate) postcode: Postcode,
    /// In ten-thousandths of a degree.
    pub(crate) latitude: i64,
    /// In ten-thousandths of a degree.
    pub(crate) longitude: i64,
    pub(crate) timezone: &'c Timezone,
    /// Version 4, variant 1.
    pub(crate) uuid: u128,
    /// Adjective, animal and three digits.
    pub(crate) username: (&'c str, &'c str, u32),
    pub(crate) password: &'c str,
    pub(crate) salt: [u8; 8],
    pub(crate) born: Stamp,
    pub(crate) registered: Stamp,
    pub(crate) phone: ShortText,
    pub(crate) cell: ShortText,
    pub(crate) id: Option<ShortText>,
    pub(crate) picture: u32,
}

/// An endless series of users.
pub(crate) struct Users<'c> {
    catalogue: &'c Catalogue,
    draw: Draw,
    choice: Choice,
    male: Option<bool>,
}

impl<'c> Users<'c> {
    pub(crate) fn new(catalogue: &'c Catalogue, seed_text: &str, choice: Choice, male: Option<bool>) -> Self {
        Self { catalogue, draw: Draw::from_text(seed_text), choice, male }
    }

    pub(crate) fn next_user(&mut self) -> User<'c> {
        let Self { catalogue, draw, .. } = self;
        let nationality = match &self.choice {
            Choice::Always(nationality) => *nationality,
            Choice::OneOf(list) => *draw.pick(list),
        };
        let (spec, locale) = (nationality.spec(), catalogue.locale(nationality));
        let drawn_male = draw.below(2) == 0;
        let male = self.male.unwrap_or(drawn_male);
        let first = draw.pick(if male { &locale.male } else { &locale.female });
        let last = draw.pick(&locale.last);
        let title = title(catalogue, nationality, male, draw);
        let born = Stamp::from_epoch_ms(draw.between(BORN.0, BORN.1));
        let mut shaped = |shapes| {
            let mut text = ShortText::default();
            draw.pick::<Pattern>(shapes).fill(draw, &mut text);
            text
        };
        let (phone, cell) = (shaped(&locale.phone), shaped(&locale.cell));
        let postcode = match spec.postcode {
            PostcodeRule::Text(_) => Postcode::Text(shaped(&locale.postcode)),
            PostcodeRule::Number(min, max) => Postcode::Number(min + draw.below(max - min + 1)),
        };
        let holder = Holder { male, born: &born, last_name: &last.text };
        User {
            spec,
            male,
            title,
            first,
            last,
            street_number: 1 + draw.below(9_999),
            street: match nationality {
                Nationality::Ua if draw.once_in(UKRAINIAN_STREETS) => "",
                _ => draw.word(&locale.street),
            },
            city: draw.word(&locale.city),
            state: draw.word(&locale.state),
            postcode,
            latitude: draw.between(-900_000, 900_000),
            longitude: draw.between(-1_800_000, 1_800_000),
            timezone: draw.pick(&catalogue.timezones),
            uuid: draw.bits128() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62),
            username: (
                draw.word(&catalogue.adjectives),
                draw.word(&catalogue.animals),
                100 + draw.below(900),
            ),
            password: match draw.below(PASSWORDS) {
                0 => "",
                1 => "&amp",
                2 => "&amp;",
                _ => draw.word(&catalogue.passwords),
            },
            salt: std::array::from_fn(|_| *draw.pick(SALT)),
            born,
            registered: Stamp::from_epoch_ms(draw.between(REGISTERED.0, REGISTERED.1)),
            phone,
            cell,
            id: identity::number(spec.id, locale.id.as_ref(), &holder, draw),
            // As many portraits as there are: 100 men, 97 women, 10 figures.
            picture: match (nationality, male) {
                (Nationality::Lego, _) => draw.below(10),
                (_, true) => draw.below(100),
                (_, false) => draw.below(97),
            },
        }
    }
}

const SALT: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890";

fn title<'c>(catalogue: &'c Catalogue, nationality: Nationality, male: bool, draw: &mut Draw) -> &'c str {
    match (nationality, male) {
        (Nationality::Ch, true) => "Monsieur",
        (Nationality::Ch, false) => draw.pick::<&str>(&["Mademoiselle", "Madame"]),
        (_, true) => "Mr",
        (_, false) => draw.word(&catalogue.female_titles),
    }
}
