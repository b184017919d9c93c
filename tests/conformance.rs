//! Every row of the dialect's template table (dialect.md §6.9) through the built wasm component.
