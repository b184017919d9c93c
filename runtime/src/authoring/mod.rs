//! Writing plugins: projects made from templates, built with each language's usual tools, looked into and tried out.
//!
//! Nothing here runs on behalf of a workflow. A language is one file in [`language`] and one line in its list; what its
//! compiler gives, a core module or a component, becomes a component by [`encode`].

pub mod build;
pub mod cases;
pub mod encode;
pub mod error;
mod go_wasi;
pub mod inspect;
pub mod interfaces;
pub mod language;
pub mod programs;
pub mod project;
pub mod sdk;

pub use error::Error;
