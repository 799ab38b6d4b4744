//! `inc` and `exc`: which of a profile's twelve keys a page has.

/// A set of top-level keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields(u16);

impl Fields {
    pub(crate) const GENDER: Self = Self(1);
    pub(crate) const NAME: Self = Self(1 << 1);
    pub(crate) const LOCATION: Self = Self(1 << 2);
    pub(crate) const EMAIL: Self = Self(1 << 3);
    pub(crate) const LOGIN: Self = Self(1 << 4);
    pub(crate) const DOB: Self = Self(1 << 5);
    pub(crate) const REGISTERED: Self = Self(1 << 6);
    pub(crate) const PHONE: Self = Self(1 << 7);
    pub(crate) const CELL: Self = Self(1 << 8);
    pub(crate) const ID: Self = Self(1 << 9);
    pub(crate) const PICTURE: Self = Self(1 << 10);
    pub(crate) const NAT: Self = Self(1 << 11);
    const ALL: Self = Self((1 << 12) - 1);

    /// The keys of `inc` (all where it is absent) without those of `exc`; unknown names count for nothing.
    pub(crate) fn select(inc: Option<&str>, exc: Option<&str>) -> Self {
        let included = inc.map_or(Self::ALL, Self::parse);
        Self(included.0 & !exc.map_or(Self(0), Self::parse).0)
    }

    fn parse(list: &str) -> Self {
        Self(
            list.split(',')
                .map(|name| Self::named(&name.trim().to_lowercase()).0)
                .fold(0, |all, one| all | one),
        )
    }

    fn named(name: &str) -> Self {
        match name {
            "gender" => Self::GENDER,
            "name" => Self::NAME,
            "location" => Self::LOCATION,
            "email" => Self::EMAIL,
            "login" => Self::LOGIN,
            "dob" => Self::DOB,
            "registered" => Self::REGISTERED,
            "phone" => Self::PHONE,
            "cell" => Self::CELL,
            "id" => Self::ID,
            "picture" => Self::PICTURE,
            "nat" => Self::NAT,
            _ => Self(0),
        }
    }

    pub(crate) fn has(self, field: Self) -> bool {
        self.0 & field.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exc_takes_away_from_inc() {
        for (inc, exc, expected) in [
            (None, None, 0b1111_1111_1111),
            (None, Some("login"), 0b1111_1110_1111),
            (Some("Name, NAT,bogus"), None, 0b1000_0000_0010),
            (Some("name,nat"), Some("nat"), 0b10),
            (Some("bogus"), None, 0),
        ] {
            assert_eq!(Fields::select(inc, exc), Fields(expected), "inc={inc:?} exc={exc:?}");
        }
    }
}
