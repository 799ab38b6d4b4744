//! Shapes of phone numbers, post codes and personal numbers, filled with random characters.
//!
//! `#` is a digit, `@` a letter A–Z, `[2-9A-C]` one of a set, everything else stands for itself.

use crate::draw::Draw;

/// Short ASCII text without allocation: the longest value, a Swiss AVS or French INSEE number, has 17 characters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShortText {
    bytes: [u8; 24],
    len: u8,
}

impl ShortText {
    /// Appends a byte; what does not fit is dropped (24 bytes are more than any pattern's length, see the tests).
    pub(crate) fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = byte;
            self.len += 1;
        }
    }

    pub(crate) fn push_str(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.push(byte));
    }

    /// Appends `number` in decimal, padded with zeros to `width` digits (at most 10).
    pub(crate) fn push_number(&mut self, number: u32, width: u32) {
        let digits = (1..10).take_while(|&power| number >= 10u32.pow(power)).count();
        let width = usize::try_from(width).unwrap_or(10).clamp(digits + 1, 10);
        for power in (0..width).rev() {
            let digit = number / 10u32.pow(u32::try_from(power).unwrap_or(0)) % 10;
            self.push(b'0' + u8::try_from(digit).unwrap_or(0));
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
enum Token {
    Literal(u8),
    Digit,
    OneOf(Vec<u8>),
}

/// A compiled shape.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Vec<Token>);

impl Pattern {
    pub(crate) fn compile(shape: &str) -> Self {
        let mut tokens = Vec::new();
        let mut bytes = shape.bytes();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'#' => Token::Digit,
                b'@' => Token::OneOf((b'A'..=b'Z').collect()),
                b'[' => Token::OneOf(members(&bytes.by_ref().take_while(|&b| b != b']').collect::<Vec<_>>())),
                literal => Token::Literal(literal),
            });
        }
        Self(tokens)
    }

    pub(crate) fn fill(&self, draw: &mut Draw, out: &mut ShortText) {
        for token in &self.0 {
            out.push(match token {
                Token::Literal(byte) => *byte,
                Token::Digit => draw.digit(),
                Token::OneOf(set) => *draw.pick(set),
            });
        }
    }
}

/// The bytes of `A-CX`: single ones and ranges.
fn members(set: &[u8]) -> Vec<u8> {
    let mut members = Vec::new();
    let mut rest = set;
    while let [first, tail @ ..] = rest {
        if let [b'-', last, after @ ..] = tail {
            members.extend(*first..=*last);
            rest = after;
        } else {
            members.push(*first);
            rest = tail;
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_literals() {
        assert_eq!(members(b"A-CX7-9"), b"ABCX789");
        let mut text = ShortText::default();
        Pattern::compile("(0[5-5]) [AA]-").fill(&mut Draw::from_number(1), &mut text);
        assert_eq!(text.as_bytes(), b"(05) A-");
    }

    #[test]
    fn numbers_keep_their_digits_and_pad() {
        for (number, width, expected) in
            [(7, 2, "07"), (101, 2, "101"), (0, 1, "0"), (0, 3, "000"), (4_294_967_295, 1, "4294967295")]
        {
            let mut text = ShortText::default();
            text.push_number(number, width);
            assert_eq!(text.as_bytes(), expected.as_bytes());
        }
    }
}
