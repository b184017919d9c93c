//! compozy's engine.

pub mod time;
