//! What one render may still spend (dialect §6.8).

use crate::{problem::Fail, source::Limits};

/// All intermediate text of a render together may be this many times the limit of one value, so that a loop of large
/// values ends in a typed error and not in a memory trap.
const TOTAL_FACTOR: u64 = 16;

/// Counts steps and bytes down.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    steps_left: u64,
    bytes_left: u64,
    depth: usize,
}

impl Budget {
    /// A full budget.
    pub(crate) fn new(limits: Limits) -> Budget {
        Budget {
            limits,
            steps_left: limits.max_steps,
            bytes_left: limits.max_output.saturating_mul(TOTAL_FACTOR),
            depth: 0,
        }
    }

    /// Bytes one value, or the output, may have.
    pub(crate) fn max_output(&self) -> u64 {
        self.limits.max_output
    }

    /// Takes `count` steps.
    ///
    /// # Errors
    /// `Fail::Limit` if there are not that many left.
    pub(crate) fn spend(&mut self, count: usize) -> Result<(), Fail> {
        match self.steps_left.checked_sub(count as u64) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => Err(Fail::Limit { what: "step", limit: self.limits.max_steps }),
        }
    }

    /// Allows a text of `bytes` to be built; ask before building it.
    ///
    /// # Errors
    /// `Fail::Limit` if one value may not be that long, or all together would be too much.
    pub(crate) fn allow(&mut self, bytes: usize) -> Result<(), Fail> {
        let bytes = bytes as u64;
        match self.bytes_left.checked_sub(bytes) {
            Some(left) if bytes <= self.limits.max_output => {
                self.bytes_left = left;
                Ok(())
            }
            _ => Err(Fail::Limit { what: "output", limit: self.limits.max_output }),
        }
    }

    /// Goes one level down; pair it with [`Budget::leave`].
    ///
    /// # Errors
    /// `Fail::Limit` if that is too deep.
    pub(crate) fn enter(&mut self) -> Result<(), Fail> {
        if self.depth >= self.limits.max_depth {
            return Err(Fail::Limit { what: "nesting", limit: self.limits.max_depth as u64 });
        }
        self.depth += 1;
        Ok(())
    }

    /// Goes one level up.
    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}
