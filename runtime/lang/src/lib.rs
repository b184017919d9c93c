#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod source;
pub mod diagnostic;
pub mod dotenv;
pub mod duration;
pub mod environment;
pub mod size;
pub mod suggest;
pub mod yaml;
pub mod plan;
pub mod settings;
