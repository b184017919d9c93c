//! compozy.
