//! Logical transactions as data: what callers make and every driver carries out in its own words.

pub(super) mod columns;
pub(super) mod control;
pub(super) mod cursor;
pub(super) mod encode;
pub(super) mod export;
pub(super) mod import;
pub(super) mod operation;
pub(super) mod outward;
pub(super) mod replay;
pub(super) mod schedule;
pub(super) mod slot;
pub(super) mod sweep;
pub(super) mod turns;
