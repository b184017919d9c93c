//! Clock and random numbers of the host.
#![cfg_attr(target_arch = "wasm32", expect(unsafe_code, reason = "the two halves of getrandom are linked by name"))]

use std::time::Duration;

use boa_engine::context::time::{Clock, JsInstant};
use compozy_plugin::clock;

use self::bindings::wasi::clocks::wall_clock;
use self::bindings::wasi::random::random;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::panic, clippy::unwrap_used, clippy::expect_used)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package compozy:js;
            world ambient {
                import wasi:clocks/wall-clock@0.2.12;
                import wasi:random/random@0.2.12;
            }
        ",
        generate_all,
    });
}

/// The host's clocks.
pub(crate) struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> JsInstant {
        let elapsed = clock::elapsed();
        JsInstant::new(elapsed.as_secs(), elapsed.subsec_nanos())
    }

    fn system_time_millis(&self) -> i64 {
        let now = wall_clock::now();
        let since = Duration::new(now.seconds, now.nanoseconds);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Random bytes that nobody can foresee.
pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    random::get_random_bytes(count as u64)
}

/// Where the engine's `Math.random` and the seeds of its maps come from.
/// <https://docs.rs/getrandom/0.4/getrandom/#custom-backend>
///
/// # Safety
/// `destination` is valid for writes of `length` bytes.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(destination: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    let bytes = random_bytes(length);
    // SAFETY: getrandom hands over a region of `length` bytes, and the host gave as many.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), destination, length.min(bytes.len())) };
    if bytes.len() == length { Ok(()) } else { Err(getrandom::Error::UNEXPECTED) }
}
