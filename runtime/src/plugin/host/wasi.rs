//! wasi:0.2 for ordinary components: linked whole, lent from an empty context.
//!
//! Clocks and random numbers work; there are no arguments, no environment, no network sockets, no files but granted
//! folders. What a guest writes to stdout and stderr is caught, capped and kept as a tail for the error of a trap.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::http::Hooks;
use crate::plugin::error::printable;
use crate::plugin::grants::Folder;
use crate::plugin::state::State;

/// Bytes kept of the end of each output stream.
const TAIL_BYTES: usize = 4 << 10;

/// Bytes of headers of one request or response, in wasmtime's own count.
const HEADER_BYTES: usize = 128 << 10;

/// Random bytes a guest may ask for at once.
const RANDOM_BYTES: u64 = 1 << 20;

/// Bytes a guest may write to an output stream at once.
const WRITE_BYTES: usize = 64 << 10;

/// Contexts of one store, made at the guest's first WASI call.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    stderr: Tail,
}

impl Wasi {
    fn new(folders: &[Folder], hooks: Hooks) -> Self {
        let stderr = Tail::default();
        let mut builder = WasiCtx::builder();
        builder
            .stdout(Tail::default())
            .stderr(stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES);
        for folder in folders {
            let allowed = if folder.write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            if let Err(error) = builder.preopened_dir(&folder.path, &folder.name, allowed) {
                tracing::warn!("failed to open granted folder {}: {error:#}", folder.name);
            }
        }
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADER_BYTES);
        Self { ctx: builder.build(), http, hooks, stderr }
    }

    /// The end of what the guest wrote to stderr, control characters but line ends escaped.
    pub(crate) fn stderr_tail(&self) -> String {
        let bytes: Vec<u8> = self.stderr.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.trim_end().split('\n').map(printable).collect::<Vec<_>>().join("\n")
    }
}

impl State {
    fn wasi(&mut self) -> (&mut Wasi, &mut wasmtime::component::ResourceTable) {
        let Self { call, wasi, table, .. } = self;
        let made = wasi.get_or_insert_with(|| {
            let folders = call.as_deref().map(|call| call.binding.grants.folders.as_slice()).unwrap_or_default();
            Box::new(Wasi::new(folders, Hooks::of(call.as_deref())))
        });
        (made, table)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiHttpCtxView { hooks: &mut wasi.hooks, table, ctx: &mut wasi.http }
    }
}

/// An output stream that takes everything and keeps the end.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn take(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or(bytes);
        let overflow = (kept.len() + newest.len()).saturating_sub(TAIL_BYTES);
        let overflow = overflow.min(kept.len());
        kept.drain(..overflow);
        kept.extend(newest);
    }
}

#[async_trait::async_trait]
impl Pollable for Tail {
    async fn ready(&mut self) {}
}

impl OutputStream for Tail {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for Tail {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.take(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::{TAIL_BYTES, Tail};

    #[test]
    fn only_the_end_is_kept() {
        let tail = Tail::default();
        for _ in 0..1_000 {
            tail.take(&[b'a'; 100]);
        }
        tail.take(b"the end");
        let kept: Vec<u8> = tail.0.lock().unwrap().iter().copied().collect();
        assert_eq!(kept.len(), TAIL_BYTES);
        assert!(kept.ends_with(b"the end"));
        tail.take(&vec![b'b'; TAIL_BYTES * 3]);
        assert_eq!(tail.0.lock().unwrap().len(), TAIL_BYTES);
    }
}
