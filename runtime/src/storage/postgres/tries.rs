//! How often something is tried again, and how long is waited in between.

use std::time::Duration;

use super::error::Refused;
use crate::clock::{Clock, random_bytes};

/// Most tries after a deadlock or a serialisation failure (cli-and-api §9.3).
const IN_THE_WAY: u32 = 10;
/// Most tries after a lost connection; together they wait for about three seconds.
const LOST: u32 = 8;

/// Counts the tries of one transaction.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    clock: &'a Clock,
    in_the_way: u32,
    lost: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(clock: &'a Clock) -> Self {
        Self { clock, in_the_way: 0, lost: 0 }
    }

    /// Waits, if what `refused` it may pass another time. False: it will not, or has been tried often enough.
    pub(super) async fn again(&mut self, refused: &Refused) -> bool {
        let milliseconds = if refused.is_transient() {
            self.in_the_way += 1;
            if self.in_the_way > IN_THE_WAY {
                return false;
            }
            1 << self.in_the_way.min(7)
        } else if refused.is_lost() {
            self.lost += 1;
            if self.lost > LOST {
                return false;
            }
            // The first time the server may be well, and only this connection gone.
            if self.lost == 1 { 0 } else { 10 << self.lost }
        } else {
            return false;
        };
        let [random] = random_bytes::<1>();
        let jitter = milliseconds * u64::from(random) / 255;
        self.clock.sleep(Duration::from_millis(milliseconds / 2 + jitter / 2)).await;
        true
    }
}
