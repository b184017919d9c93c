//! The way out to the network: which hosts a plugin may reach, and how the connection is made.
//!
//! 1. The target is matched against the granted patterns ([`pattern`]).
//! 2. Its name is resolved and every address is checked ([`address`]).
//! 3. The connection goes to a checked address and nowhere else ([`connect`]); the name is not resolved again.
//!
//! The host follows no redirect: the guest gets the 3xx answer, and a further request passes the same three steps.
//! Proxy variables are not read.

pub mod address;
pub mod connect;
pub mod pattern;
pub mod peer;
