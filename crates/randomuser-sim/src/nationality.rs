//! The 21 nationalities (and LEGO): codes, countries, shapes of numbers.
//!
//! Order is the real server's: an 18-character seed names a nationality by its position in this list.

use crate::identity::IdRule;

/// A nationality of API version 1.4; `Lego` is reachable through the `lego` parameter only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nationality {
    Au,
    Br,
    Ca,
    Ch,
    De,
    Dk,
    Es,
    Fi,
    Fr,
    Gb,
    Ie,
    In,
    Ir,
    Mx,
    Nl,
    No,
    Nz,
    Rs,
    Tr,
    Ua,
    Us,
    Lego,
}

/// What a post code looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PostcodeRule {
    /// A JSON number in this inclusive range.
    Number(u32, u32),
    /// A JSON string of one of these shapes.
    Text(&'static [&'static str]),
}

/// What sets a nationality apart.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) nationality: Nationality,
    pub(crate) code: &'static str,
    /// None for LEGO: the key `location.country` is then absent.
    pub(crate) country: Option<&'static str>,
    /// Word lists by file, in the order in which they are joined.
    pub(crate) word_files: &'static [&'static str],
    /// Shapes of `phone`, all equally likely.
    pub(crate) phone: &'static [&'static str],
    /// Shapes of `cell`, all equally likely.
    pub(crate) cell: &'static [&'static str],
    pub(crate) postcode: PostcodeRule,
    pub(crate) id: IdRule,
}

impl Nationality {
    /// The nationalities that a request without a filter draws from, in the real server's order.
    pub(crate) const REAL: [Self; 21] = {
        use Nationality::*;
        [Au, Br, Ca, Ch, De, Dk, Es, Fi, Fr, Gb, Ie, In, Ir, Mx, Nl, No, Nz, Rs, Tr, Ua, Us]
    };

    /// The nationality of an upper-case code; LEGO is none.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::REAL.into_iter().find(|nat| nat.spec().code == code)
    }

    pub(crate) fn spec(self) -> &'static Spec {
        &SPECS[self as usize]
    }
}

use IdRule::{Absent, Shape};
use PostcodeRule::{Number, Text};

const FIVE_DIGITS: PostcodeRule = Number(10_000, 99_999);
const DASHED: &[&str] = &["(###)-###-####"];
const NORTH_AMERICAN: &[&str] = &["([2-9]##) [2-9]##-####"];
const CANADIAN: &[&str] = &["@## @##-####"];
const BRAZILIAN: &[&str] = &["(##) ####-####"];
const SWISS: &[&str] = &["07[5-9] ### ## ##"];
const INDIAN: &[&str] = &["[7-9]#########"];
const MEXICAN: &[&str] = &["(6##) ### ####"];
const DANISH: &[&str] = &["########"];
// Three of the seven prefixes begin with 06, four with 09.
const UKRAINIAN: &[&str] = &[
    "(066) @##-####",
    "(067) @##-####",
    "(068) @##-####",
    "(096) @##-####",
    "(097) @##-####",
    "(098) @##-####",
    "(099) @##-####",
];
const BRITISH: &[&str] = &[
    "01### #####",
    "01### ######",
    "011#### ### ####",
    "01#1 ### ####",
    "013873 #####",
    "015242 #####",
    "015394 #####",
    "015395 #####",
    "015396 #####",
    "016973 #####",
    "016974 #####",
    "016977 ####",
    "016977 #####",
    "017683 #####",
    "017684 #####",
    "017687 #####",
    "019467 #####",
    "02# #### ####",
];
const BRITISH_POSTCODES: &[&str] = &[
    "@# #[ABD-HJLNP-UW-Z][ABD-HJLNP-UW-Z]",
    "@@# #[ABD-HJLNP-UW-Z][ABD-HJLNP-UW-Z]",
    "@## #[ABD-HJLNP-UW-Z][ABD-HJLNP-UW-Z]",
    "@@## #[ABD-HJLNP-UW-Z][ABD-HJLNP-UW-Z]",
    "@@#@ #[ABD-HJLNP-UW-Z][ABD-HJLNP-UW-Z]",
    "@#@ #[ABD-HJLNP-UW-Z][ABD-HJLNP-UW-Z]",
];

macro_rules! spec {
    ($nat:ident $code:literal $country:expr, $files:expr, $phone:expr, $cell:expr, $postcode:expr, $id:expr) => {
        Spec {
            nationality: Nationality::$nat,
            code: $code,
            country: $country,
            word_files: &$files,
            phone: $phone,
            cell: $cell,
            postcode: $postcode,
            id: $id,
        }
    };
}

/// Indexed by `Nationality as usize`.
#[rustfmt::skip]
static SPECS: [Spec; 22] = [
    spec!(Au "AU" Some("Australia"), ["en", "AU"], &["0#-####-####"], &["04##-###-###"], Number(200, 9_999), Shape("TFN", "#########")),
    spec!(Br "BR" Some("Brazil"), ["BR"], BRAZILIAN, BRAZILIAN, FIVE_DIGITS, Shape("CPF", "###.###.###-##")),
    spec!(Ca "CA" Some("Canada"), ["en", "CA"], CANADIAN, CANADIAN, Text(&["@#@ #@#"]), IdRule::Sin),
    spec!(Ch "CH" Some("Switzerland"), ["CH"], SWISS, SWISS, Number(1_000, 9_999), Shape("AVS", "756.####.####.##")),
    spec!(De "DE" Some("Germany"), ["DE"], &["0###-#######"], &["017#-#######"], FIVE_DIGITS, IdRule::Svnr),
    spec!(Dk "DK" Some("Denmark"), ["DK"], DANISH, DANISH, FIVE_DIGITS, IdRule::Cpr),
    spec!(Es "ES" Some("Spain"), ["ES"], &["9##-###-###"], &["6##-###-###"], FIVE_DIGITS, Shape("DNI", "########-@")),
    // The real server formats a broken date here; the literal text is what it sends.
    spec!(Fi "FI" Some("Finland"), ["FI"], &["0[2-9]-###-###"], &["04#-###-##-##"], FIVE_DIGITS, Shape("HETU", "NaNNA###undefined")),
    spec!(Fr "FR" Some("France"), ["FR"], &["0[1-5]-##-##-##-##"], &["06-##-##-##-##"], FIVE_DIGITS, IdRule::Insee),
    spec!(Gb "GB" Some("United Kingdom"), ["en", "GB"], BRITISH, &["07### ######"], Text(BRITISH_POSTCODES),
          Shape("NINO", "[A-CEGHJ-PRSTW-Z][A-CEGHJ-NPRSTW-Z] ## ## ## @")),
    spec!(Ie "IE" Some("Ireland"), ["en", "IE"], &["0[1-7]1-###-####"], &["081-###-####"], FIVE_DIGITS, Shape("PPS", "#######T")),
    spec!(In "IN" Some("India"), ["IN"], INDIAN, INDIAN, FIVE_DIGITS, Shape("UIDAI", "############")),
    spec!(Ir "IR" Some("Iran"), ["IR"], &["0##-########"], &["09##-###-####"], FIVE_DIGITS, Absent),
    spec!(Mx "MX" Some("Mexico"), ["MX"], MEXICAN, MEXICAN, FIVE_DIGITS, Shape("NSS", "## ## ## #### #")),
    spec!(Nl "NL" Some("Netherlands"), ["NL"], DASHED, DASHED, FIVE_DIGITS, Shape("BSN", "########")),
    spec!(No "NO" Some("Norway"), ["NO"], &["[235-8]#######"], &["[49]#######"], Text(&["####"]), IdRule::NorwegianFn),
    spec!(Nz "NZ" Some("New Zealand"), ["en", "NZ"], DASHED, DASHED, FIVE_DIGITS, Absent),
    spec!(Rs "RS" Some("Serbia"), ["RS"], &["0[1-3]#-####-###"], &["06#-####-###"], FIVE_DIGITS, Shape("SID", "#########")),
    spec!(Tr "TR" Some("Turkey"), ["TR"], DASHED, DASHED, FIVE_DIGITS, Absent),
    spec!(Ua "UA" Some("Ukraine"), ["UA"], UKRAINIAN, UKRAINIAN, FIVE_DIGITS, Absent),
    spec!(Us "US" Some("United States"), ["en", "US"], NORTH_AMERICAN, NORTH_AMERICAN, FIVE_DIGITS, IdRule::Ssn),
    spec!(Lego "LEGO" None, ["en", "US"], DASHED, DASHED, FIVE_DIGITS, Shape("SN", "############")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_enums_order() {
        for (position, spec) in SPECS.iter().enumerate() {
            assert_eq!(spec.nationality as usize, position, "{}", spec.code);
        }
        assert_eq!(Nationality::from_code("LEGO"), None);
        assert_eq!(Nationality::from_code("US"), Some(Nationality::Us));
        assert_eq!(Nationality::REAL[0x14], Nationality::Us);
    }
}
