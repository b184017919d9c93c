//! `/state`: what the server's database holds, out and in as a stream.

pub(super) mod export;
pub(super) mod import;
