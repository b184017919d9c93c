//! The loop in which a model calls tools: what it is told of them, what goes back to it, and when it comes to an end
//! (dialect §9).
//!
//! Everything here is pure. `node/step/agent.rs` asks the model and calls the tools, and does as it is told here.

mod guard;
mod offer;
mod reply;

pub use guard::{Heard, MOST_CALLS, Progress, Stop};
pub use offer::{checked, names, shown};
pub use reply::{Keys, MOST_CONVERSATION_BYTES, MOST_RESULT_BYTES, arguments, failure, success, system};
