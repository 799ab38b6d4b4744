//! The users that the load changes.

/// Users that are changed; those that were deleted are inserted again.
pub(crate) const USERS: u32 = 500;
/// Id of the first user; those of the others follow.
pub(crate) const FIRST_ID: u128 = 0xc4a0_5000_0000_4000_8000_0000_0000_0000;
