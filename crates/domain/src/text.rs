//! Texts as the transform writes them.

use std::borrow::Cow;

/// Longest telephone number, country code included (ITU-T E.164, section 6.1).
pub(crate) const MAX_PHONE_DIGITS: usize = 15;

/// White space folded to single spaces, none at the edges. U+200C, which Persian words need, is no white space.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if is_folded(text) {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        push_with(&mut folded, " ", word);
    }
    Cow::Owned(folded)
}

fn is_folded(text: &str) -> bool {
    // Most texts are one word of ASCII, which a loop without branches sees sixteen bytes at a time.
    let is_word = text.bytes().fold(true, |is_word, byte| is_word & byte.is_ascii_graphic());
    is_word || are_words(text)
}

fn are_words(text: &str) -> bool {
    let mut after_space = true;
    for character in text.chars() {
        if character == ' ' {
            if after_space {
                return false;
            }
            after_space = true;
        } else if character.is_whitespace() {
            return false;
        } else {
            after_space = false;
        }
    }
    !after_space
}

/// Appends a part, after a separator if there is something to separate it from; an empty part is left out.
pub(crate) fn push_with(text: &mut String, separator: &str, part: &str) {
    if part.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push_str(separator);
    }
    text.push_str(part);
}

/// Folded and in upper case, as post codes are written.
pub(crate) fn upper(text: &str) -> Cow<'_, str> {
    let folded = fold(text);
    if folded.chars().any(|character| character.is_ascii_lowercase()) {
        Cow::Owned(folded.to_ascii_uppercase())
    } else {
        folded
    }
}

/// A telephone number as digits with a leading plus if it had one; everything else goes, and letters become the
/// digits of their keys on a telephone (ITU-T E.161: ABC is 2, … WXYZ is 9), which is what dialling them does. So
/// `F59 F90-2530` is `3593902530`.
///
/// `None` if the text has no digit of its own or the number would be longer than [`MAX_PHONE_DIGITS`].
pub(crate) fn phone(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = |number: &str| number.strip_prefix('+').unwrap_or(number).len();
    if text.bytes().enumerate().all(|(at, byte)| byte.is_ascii_digit() || (at == 0 && byte == b'+')) {
        return (digits(text) <= MAX_PHONE_DIGITS).then_some(Cow::Borrowed(text));
    }
    let mut number = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => number.push(byte.into()),
            b'+' if number.is_empty() => number.push('+'),
            letter if letter.is_ascii_alphabetic() => number.push(key(letter)),
            _ => {}
        }
    }
    (digits(&number) <= MAX_PHONE_DIGITS).then_some(Cow::Owned(number))
}

const fn key(letter: u8) -> char {
    match letter.to_ascii_uppercase() {
        b'A'..=b'C' => '2',
        b'D'..=b'F' => '3',
        b'G'..=b'I' => '4',
        b'J'..=b'L' => '5',
        b'M'..=b'O' => '6',
        b'P'..=b'S' => '7',
        b'T'..=b'V' => '8',
        _ => '9',
    }
}

/// The two sides of an email address, if there is one `@` and something without white space on both sides.
pub(crate) fn email_sides(email: &str) -> Option<(&str, &str)> {
    let (local, domain) = email.split_once('@')?;
    let sound = !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
        && !email.chars().any(|character| character.is_whitespace() || character.is_control());
    sound.then_some((local, domain))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folds_white_space_of_every_kind_and_keeps_what_joins_letters() {
        for (text, folded) in [
            ("", ""),
            (" \t", ""),
            ("Rua Santa Maria ", "Rua Santa Maria"),
            ("Kgs.  Lyngby", "Kgs. Lyngby"),
            ("a\u{a0}\nb", "a b"),
            ("نجف\u{200c}آباد", "نجف\u{200c}آباد"),
        ] {
            assert_eq!(fold(text), folded);
        }
    }

    #[test]
    fn reads_telephone_numbers_of_every_shape_of_the_api() {
        for (text, number) in [
            ("F59 F90-2530", "3593902530"),
            ("(096) X99-1234", "0969991234"),
            ("(85) 7358-2242", "8573582242"),
            ("+45 81 13 70 86", "+4581137086"),
            ("(+45) 1", "+451"),
            ("81137086", "81137086"),
            ("01-23-45-67-89", "0123456789"),
            ("12+3", "123"),
        ] {
            assert_eq!(phone(text).as_deref(), Some(number), "{text}");
        }
        for text in ["", "n/a", "CALL ME", "1234567890123456", "12345 67890 123456"] {
            assert_eq!(phone(text), None, "{text}");
        }
    }

    #[test]
    fn reads_emails() {
        assert_eq!(email_sides("dorothy.van'tveen@example.com"), Some(("dorothy.van'tveen", "example.com")));
        for text in ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n"] {
            assert_eq!(email_sides(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn folding_is_idempotent_and_loses_no_word(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert!(is_folded(&folded));
            prop_assert!(text.split_whitespace().eq(folded.split(' ').filter(|word| !word.is_empty())));
        }

        #[test]
        fn a_number_is_digits_and_reads_as_itself(text in any::<String>()) {
            if let Some(number) = phone(&text) {
                let digits = number.strip_prefix('+').unwrap_or(&number);
                prop_assert!((1..=MAX_PHONE_DIGITS).contains(&digits.len()));
                prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
                prop_assert_eq!(phone(&number), Some(Cow::Borrowed(&*number)));
            }
        }
    }
}
