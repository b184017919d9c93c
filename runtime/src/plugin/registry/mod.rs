//! Components from registries, by the protocol of OCI.
//!
//! [`pull`] fetches what the project names, pins it in [`lock`] and keeps it in [`cache`]; it is the only part of the
//! runtime that asks a registry. A run only looks ([`resolve`]): lock and cache say which bytes are meant, and their
//! digest is checked on each load.

mod auth;
pub mod cache;
mod client;
mod error;
pub mod lock;
mod manifest;
pub mod pull;
mod resolve;

pub use error::Error;
pub(super) use resolve::component;
