//! The query string, with the real server's way of reading it.
//!
//! Nothing here is an error: a value the server can't use falls back (one user, page 1, no filter) without a word.
//! Where a value is read with JavaScript's `Number()`, so it is here: `5e1` and `0x10` are numbers.

use crate::fields::Fields;
use crate::nationality::Nationality;

/// Most users of one page; asking for more yields one.
pub(crate) const MAX_RESULTS: u32 = 5_000;
const MAX_PAGE: f64 = 10_000.0;
const UNSUPPORTED_FORMATS: [&str; 5] = ["csv", "pretty", "prettyjson", "xml", "yaml"];

/// A request as the server understands it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    /// Users on the page, 1 to 5,000.
    pub(crate) results: u32,
    /// 1 to 10,000. A fraction stays one (`page=2.5` is a page of its own).
    pub(crate) page: f64,
    /// None lets the server choose.
    pub(crate) seed: Option<String>,
    /// Some(true) for male; ignored by the server as soon as a seed is given.
    pub(crate) male: Option<bool>,
    /// Empty for no filter.
    pub(crate) nationalities: Vec<Nationality>,
    pub(crate) lego: bool,
    pub(crate) fields: Fields,
    pub(crate) no_info: bool,
    /// A format of the real server that is not simulated.
    pub(crate) unsupported_format: Option<&'static str>,
}

impl Query {
    /// Reads decoded key-value pairs. Of a repeated key the last value counts, but repeated `results` yield one user.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Self {
        let get =
            |key: &str| pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let given = |key: &str| get(key).filter(|value| !value.is_empty());
        let repeated_results = pairs.iter().filter(|(name, _)| name == "results").count() > 1;
        let seed = given("seed").map(str::to_owned);
        let format = given("fmt").or(given("format")).map(str::to_lowercase);
        Self {
            results: if repeated_results { 1 } else { results(given("results")) },
            page: page(given("page")),
            male: match given("gender") {
                Some("male") if seed.is_none() => Some(true),
                Some("female") if seed.is_none() => Some(false),
                _ => None,
            },
            nationalities: nationalities(given("nat").or(given("nationality")).unwrap_or("")),
            lego: get("lego").is_some_and(|value| value != "false"),
            fields: Fields::select(given("inc"), given("exc")),
            // The real server tests `lego`, not `noinfo`, for "false" here.
            no_info: get("noinfo").is_some() && get("lego") != Some("false"),
            unsupported_format: UNSUPPORTED_FORMATS.into_iter().find(|&name| format.as_deref() == Some(name)),
            seed,
        }
    }
}

fn results(text: Option<&str>) -> u32 {
    // Written out and read back: only whole, positive numbers survive.
    let wanted = js_number(text.unwrap_or("1")).to_string().parse().ok();
    wanted.filter(|wanted| (1..=MAX_RESULTS).contains(wanted)).unwrap_or(1)
}

fn page(text: Option<&str>) -> f64 {
    let wanted = js_number(text.unwrap_or("1"));
    if wanted > 0.0 && wanted <= MAX_PAGE { wanted } else { 1.0 }
}

/// The filter of a comma list; one unknown code drops all of it.
fn nationalities(list: &str) -> Vec<Nationality> {
    let codes = list.split(',').filter(|code| !code.is_empty());
    codes.map(|code| Nationality::from_code(&code.to_uppercase())).collect::<Option<_>>().unwrap_or_default()
}

/// JavaScript's `Number(text)`; NaN for what is no number. (ECMA-262, StringToNumber, without octal and binary.)
fn js_number(text: &str) -> f64 {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).map_or(f64::NAN, f64::from);
    }
    match text.trim_start_matches(['+', '-']) {
        "" if text.is_empty() => 0.0,
        // Rust reads these names in any case, JavaScript `Infinity` only; for pages and counts it is out of range.
        name if name.starts_with(|first: char| first.is_ascii_alphabetic()) => f64::NAN,
        _ => text.parse().unwrap_or(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        });
        Query::parse(&pairs.collect::<Vec<_>>())
    }

    #[test]
    fn results_and_page_fall_back_without_an_error() {
        for (text, results, page) in [
            ("", 1, 1.0),
            ("results=5000&page=10000", 5_000, 10_000.0),
            ("results=5001&page=10001", 1, 1.0),
            ("results=0&page=0", 1, 1.0),
            ("results=-3&page=-1", 1, 1.0),
            ("results=2.5&page=2.5", 1, 2.5),
            ("results=ten&page=two", 1, 1.0),
            ("results=&page=", 1, 1.0),
            ("results=inf&page=nan", 1, 1.0),
            ("results=5e1&page=1e1", 50, 10.0),
            ("results=0x10&page=0x2", 16, 2.0),
            ("results= 7 &page= 3 ", 7, 3.0),
            ("results=99999999999999999999&page=99999999999999999999", 1, 1.0),
            ("results=4294967297", 1, 1.0),
            ("results=2&results=3&page=2&page=3", 1, 3.0),
        ] {
            let query = parse(text);
            assert_eq!((query.results, query.page), (results, page), "{text}");
        }
    }

    #[test]
    fn filters_follow_the_servers_rules() {
        use Nationality::{De, Gb, Us};
        for (text, expected) in [
            ("nat=us", vec![Us]),
            ("nat=us,gb,,De", vec![Us, Gb, De]),
            ("nat=us,xx", vec![]),
            ("nat=us, gb", vec![]),
            ("nat=lego", vec![]),
            ("nationality=gb", vec![Gb]),
            ("nat=us&nat=gb", vec![Gb]),
        ] {
            assert_eq!(parse(text).nationalities, expected, "{text}");
        }
        assert_eq!(parse("gender=male").male, Some(true));
        assert_eq!(parse("gender=Male").male, None);
        assert_eq!(parse("gender=female&seed=x").male, None, "a seed switches the gender filter off");
        assert_eq!(parse("gender=female&seed=").male, Some(false));
    }

    #[test]
    fn switches_count_by_presence() {
        for (text, no_info, lego) in [
            ("", false, false),
            ("noinfo", true, false),
            ("noinfo=false", true, false),
            ("noinfo&lego=false", false, false),
            ("lego", false, true),
            ("lego=0", false, true),
        ] {
            let query = parse(text);
            assert_eq!((query.no_info, query.lego), (no_info, lego), "{text}");
        }
    }

    #[test]
    fn formats_beside_json_are_named() {
        assert_eq!(parse("format=json").unsupported_format, None);
        assert_eq!(parse("format=nonsense").unsupported_format, None, "the real server answers with JSON");
        assert_eq!(parse("format=CSV").unsupported_format, Some("csv"));
        assert_eq!(parse("fmt=xml&format=json").unsupported_format, Some("xml"));
    }
}
