use std::collections::HashSet;

/// The id of a profile, as the number that its UUID is.
pub(super) type ProfileId = u128;
pub(super) type ProfileIds = HashSet<ProfileId>;
