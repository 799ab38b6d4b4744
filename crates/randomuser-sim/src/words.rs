//! The word lists under `data/`: names, places, passwords, time zones.
//!
//! A file has `[section]`s of entries that end in `;`. `{a,b}` stands for every alternative in turn, `_` for a
//! space at an entry's edge (the API has such), `~` for U+200C, `#` begins a comment line. The lists are our own:
//! the shapes follow the real API, the words do not.

use std::collections::BTreeMap;

use crate::nationality::{Nationality, PostcodeRule, Spec};
use crate::pattern::Pattern;
use crate::translit::email_part;

/// A word list that does not parse or lacks a section; only a damaged build has one.
#[derive(Debug, thiserror::Error)]
#[error("word list {file}.txt: {problem}; rebuild from an unchanged src/data")]
pub struct WordsError {
    file: &'static str,
    problem: String,
}

/// A name and what e-mail addresses make of it.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) email: String,
}

/// The words and compiled number shapes of one nationality.
#[derive(Debug)]
pub(crate) struct Locale {
    pub(crate) male: Vec<Name>,
    pub(crate) female: Vec<Name>,
    pub(crate) last: Vec<Name>,
    pub(crate) city: Vec<String>,
    pub(crate) state: Vec<String>,
    pub(crate) street: Vec<String>,
    pub(crate) phone: Vec<Pattern>,
    pub(crate) cell: Vec<Pattern>,
    /// Empty where the post code is a number.
    pub(crate) postcode: Vec<Pattern>,
    pub(crate) id: Option<Pattern>,
}

/// A time zone as the API lists it: unpadded offset (`-9:00`) and a description.
#[derive(Debug)]
pub(crate) struct Timezone {
    pub(crate) offset: String,
    pub(crate) description: String,
}

/// Everything users are made of; built once, about 1 MB.
#[derive(Debug)]
pub(crate) struct Catalogue {
    locales: Vec<Locale>,
    pub(crate) female_titles: Vec<String>,
    pub(crate) adjectives: Vec<String>,
    pub(crate) animals: Vec<String>,
    pub(crate) passwords: Vec<String>,
    pub(crate) timezones: Vec<Timezone>,
}

impl Catalogue {
    pub(crate) fn load() -> Result<Self, WordsError> {
        let mut common = Sections::parse("common")?;
        let timezones = common.take("timezone")?.into_iter().map(|entry| {
            let (offset, description) = entry.split_once(' ').unwrap_or((&entry, ""));
            Timezone { offset: offset.to_owned(), description: description.to_owned() }
        });
        let specs = Nationality::REAL.into_iter().chain([Nationality::Lego]).map(Nationality::spec);
        Ok(Self {
            timezones: timezones.collect(),
            locales: specs.map(Locale::load).collect::<Result<_, _>>()?,
            female_titles: common.take("title")?,
            adjectives: common.take("adjective")?,
            animals: common.take("animal")?,
            passwords: common.take("password")?,
        })
    }

    /// The words of a nationality; `load` made one entry for each, in the enum's order.
    pub(crate) fn locale(&self, nationality: Nationality) -> &Locale {
        &self.locales[nationality as usize]
    }
}

impl Locale {
    fn load(spec: &Spec) -> Result<Self, WordsError> {
        let mut words = Sections::default();
        for file in spec.word_files {
            words.append(Sections::parse(file)?);
        }
        let compile = |shapes: &[&str]| shapes.iter().map(|shape| Pattern::compile(shape)).collect();
        Ok(Self {
            male: names(words.take("male")?),
            female: names(words.take("female")?),
            last: names(words.take("last")?),
            city: words.take("city")?,
            state: words.take("state")?,
            street: words.take("street")?,
            phone: compile(spec.phone),
            cell: compile(spec.cell),
            postcode: match spec.postcode {
                PostcodeRule::Number(..) => Vec::new(),
                PostcodeRule::Text(shapes) => compile(shapes),
            },
            id: spec.id.shape().map(Pattern::compile),
        })
    }
}

fn names(words: Vec<String>) -> Vec<Name> {
    words.into_iter().map(|text| Name { email: email_part(&text), text }).collect()
}

/// The sections of one or more files.
#[derive(Debug, Default)]
struct Sections {
    file: &'static str,
    entries: BTreeMap<&'static str, Vec<String>>,
}

impl Sections {
    fn parse(file: &'static str) -> Result<Self, WordsError> {
        let fail = |problem: String| WordsError { file, problem };
        let text = embedded(file).ok_or_else(|| fail("is not part of this build".to_owned()))?;
        let mut sections = Self { file, ..Self::default() };
        let mut current: Option<&mut Vec<String>> = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                current = Some(sections.entries.entry(name).or_default());
                continue;
            }
            let entries = line.split(';').map(str::trim).filter(|entry| !entry.is_empty());
            for entry in entries {
                let list = current.as_mut().ok_or_else(|| fail(format!("{entry:?} is in no section")))?;
                list.extend(
                    expand(entry).into_iter().map(|word| word.replace('_', " ").replace('~', "\u{200c}")),
                );
            }
        }
        Ok(sections)
    }

    /// Adds another file's entries: names join, streets replace the ones before.
    fn append(&mut self, other: Self) {
        self.file = other.file;
        for (section, entries) in other.entries {
            let list = self.entries.entry(section).or_default();
            if section == "street" {
                list.clear();
            }
            list.extend(entries);
        }
    }

    fn take(&mut self, section: &str) -> Result<Vec<String>, WordsError> {
        self.entries.remove(section).filter(|entries| !entries.is_empty()).ok_or_else(|| WordsError {
            file: self.file,
            problem: format!("section [{section}] is empty or missing"),
        })
    }
}

/// Every combination of the `{…,…}` groups of an entry, as a shell expands them; groups do not nest.
fn expand(entry: &str) -> Vec<String> {
    let group = entry.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    let Some((head, (alternatives, tail))) = group else {
        return vec![entry.to_owned()];
    };
    let tails = expand(tail);
    let joined =
        alternatives.split(',').flat_map(|word| tails.iter().map(move |tail| format!("{head}{word}{tail}")));
    joined.collect()
}

macro_rules! embedded {
    ($($name:literal)*) => {
        /// The text of a word list by its file name.
        fn embedded(file: &str) -> Option<&'static str> {
            match file {
                $($name => Some(include_str!(concat!("data/", $name, ".txt"))),)*
                _ => None,
            }
        }
    };
}

embedded!("common" "en" "AU" "BR" "CA" "CH" "DE" "DK" "ES" "FI" "FR" "GB" "IE" "IN" "IR" "MX" "NL" "NO" "NZ" "RS"
          "TR" "UA" "US");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_expand_to_every_combination() {
        assert_eq!(expand("plain"), ["plain"]);
        assert_eq!(expand("{a,b}-{x,}"), ["a-x", "a-", "b-x", "b-"]);
    }

    #[test]
    fn every_list_can_be_written_into_json_as_it_is() {
        let catalogue = Catalogue::load().unwrap();
        assert_eq!(catalogue.timezones.len(), 30);
        let plain = |text: &str| {
            assert!(!text.contains(['"', '\\', '{', '}', ';']), "{text:?}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        };
        for list in
            [&catalogue.female_titles, &catalogue.adjectives, &catalogue.animals, &catalogue.passwords]
        {
            list.iter().for_each(|word| plain(word));
        }
        for locale in &catalogue.locales {
            for list in [&locale.city, &locale.state, &locale.street] {
                list.iter().for_each(|word| plain(word));
            }
            for name in [&locale.male, &locale.female, &locale.last].into_iter().flatten() {
                plain(&name.text);
                assert!(!name.email.is_empty(), "{} has no e-mail form", name.text);
                let allowed = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'\'' | b'-' | b'.');
                assert!(name.email.bytes().all(allowed), "{} gives {}", name.text, name.email);
            }
        }
    }

    #[test]
    fn names_combine_to_realistic_numbers() {
        let catalogue = Catalogue::load().unwrap();
        for (locale, nationality) in catalogue.locales.iter().zip(Nationality::REAL) {
            let code = nationality.spec().code;
            assert!(locale.male.len() >= 44 && locale.female.len() >= 44, "{code}: first names");
            assert!(locale.male.len() * locale.last.len() >= 1_700, "{code}: full names");
            assert!(locale.street.len() >= 25 && locale.city.len() >= 20, "{code}: places");
        }
    }
}
