use std::collections::HashSet;

/// Is the id of a profile, as the number that its UUID is.
pub(super) type ProfileId = u128;
pub(super) type ProfileIds = HashSet<ProfileId>;
