//! What the server says of itself.

pub(super) mod health;
pub(super) mod identity;
pub(super) mod index;
pub(super) mod problem;
