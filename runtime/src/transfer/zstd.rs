//! Zstandard, a piece at a time (RFC 8878).
//!
//! An export is a row of frames of [`FRAME`] bytes each, which every decoder reads as one stream. What comes from outside
//! is unpacked on a thread of its own, and nothing that grows more than [`RATIO`] times is.

use std::io::Read;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tokio::sync::mpsc;

use super::{Chunks, Error};

/// Bytes in one frame, before they are packed.
pub(super) const FRAME: usize = 1 << 20;
/// What a frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Most bytes that one packed byte may become.
const RATIO: u64 = 100;
/// Bytes that are let through before the ratio counts.
const GRACE: u64 = 1 << 20;
/// Largest window, which is what a decoder holds in memory.
const WINDOW: u64 = 32 << 20;
/// Bytes unpacked at a time, and pieces waiting on either side.
const PIECE: (usize, usize) = (128 << 10, 4);

/// Packs one frame. What would unpack to more than half of what is allowed is stored as it is.
pub(super) async fn compress(bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let packed = tokio::task::spawn_blocking(move || {
        let packed = compress_to_vec(bytes.as_slice(), CompressionLevel::Fastest);
        if (packed.len() as u64).saturating_mul(RATIO / 2) < bytes.len() as u64 {
            return compress_to_vec(bytes.as_slice(), CompressionLevel::Uncompressed);
        }
        packed
    });
    packed.await.map_err(|error| Error::Io(std::io::Error::other(error)))
}

/// `chunks` as they are, or unpacked if they begin like a frame.
pub(super) async fn unpacked(mut chunks: Chunks) -> Result<Chunks, Error> {
    let mut first: Vec<Bytes> = Vec::new();
    let mut start = Vec::new();
    while start.len() < MAGIC.len() {
        let Some(chunk) = chunks.next().await else { break };
        let chunk = chunk?;
        start.extend(chunk.iter().take(MAGIC.len()).copied());
        first.push(chunk);
    }
    let packed = start.starts_with(&MAGIC);
    let whole: Chunks = Box::pin(futures_util::stream::iter(first.into_iter().map(Ok)).chain(chunks));
    if packed { Ok(unpack(whole)) } else { Ok(whole) }
}

fn unpack(mut chunks: Chunks) -> Chunks {
    let (into, source) = mpsc::channel(PIECE.1);
    let (out, mut pieces) = mpsc::channel::<std::io::Result<Option<Bytes>>>(PIECE.1);
    tokio::spawn(async move {
        while let Some(chunk) = chunks.next().await {
            if into.send(chunk).await.is_err() {
                return;
            }
        }
    });
    tokio::task::spawn_blocking(move || {
        let source = Source { source, current: Bytes::new(), taken: 0 };
        let ended = decode(source, &out);
        let _nobody_reads = out.blocking_send(ended.map(|()| None));
    });
    let mut ended = false;
    Box::pin(futures_util::stream::poll_fn(move |context| {
        if ended {
            return std::task::Poll::Ready(None);
        }
        pieces.poll_recv(context).map(|piece| {
            let piece = match piece {
                Some(Ok(Some(bytes))) => return Some(Ok(bytes)),
                Some(Ok(None)) => None,
                Some(Err(error)) => Some(Err(error)),
                // The decoder is gone without a word.
                None => Some(Err(invalid("it cannot be unpacked"))),
            };
            ended = true;
            piece
        })
    }))
}

fn invalid(text: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("zstd: {text}"))
}

fn decode(mut source: Source, out: &mpsc::Sender<std::io::Result<Option<Bytes>>>) -> std::io::Result<()> {
    let mut given = 0_u64;
    while !source.is_at_end()? {
        let mut decoder = match StreamingDecoder::new_with_max_window_size(&mut source, WINDOW) {
            Ok(decoder) => decoder,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                std::io::copy(&mut (&mut source).take(u64::from(length)), &mut std::io::sink())?;
                continue;
            }
            Err(error) => return Err(invalid(error)),
        };
        loop {
            let mut piece = vec![0; PIECE.0];
            let length = decoder.read(&mut piece).map_err(invalid)?;
            if length == 0 {
                break;
            }
            piece.truncate(length);
            given += length as u64;
            if given > decoder.get_ref().taken.saturating_mul(RATIO) + GRACE {
                return Err(invalid(format!("it unpacks to more than {RATIO} times its size")));
            }
            if out.blocking_send(Ok(Some(piece.into()))).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Chunks read by a thread.
struct Source {
    source: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
    taken: u64,
}

impl Source {
    fn is_at_end(&mut self) -> std::io::Result<bool> {
        while self.current.is_empty() {
            match self.source.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.is_at_end()? {
            return Ok(0);
        }
        let length = into.len().min(self.current.len());
        self.current.split_to(length).copy_to_slice(into.get_mut(..length).unwrap_or_default());
        self.taken += length as u64;
        Ok(length)
    }
}
