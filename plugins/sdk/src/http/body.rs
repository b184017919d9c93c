//! The body of an answer as an iterator of the pieces that arrive.

use super::Error;
use crate::bindings::host::wasi::http::types::{IncomingBody, IncomingResponse, http_error_code};
use crate::bindings::host::wasi::io::streams::{InputStream, StreamError};

/// Bytes asked for at once.
const READ_PIECE: u64 = 64 * 1024;

/// Pieces of a body, in order, as they arrive; dropped early, it ends the request.
#[derive(Debug)]
pub struct Body {
    // Children before their parents: the host refuses to drop a parent that has children.
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
    is_ended: bool,
}

impl Body {
    pub(super) fn new(response: IncomingResponse) -> Result<Self, Error> {
        let taken = |()| Error::Connection("the answer's body was taken".to_owned());
        let body = response.consume().map_err(taken)?;
        let stream = body.stream().map_err(taken)?;
        Ok(Self { stream, _body: body, _response: response, is_ended: false })
    }
}

impl Iterator for Body {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_ended {
            match self.stream.blocking_read(READ_PIECE) {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Some(Ok(piece)),
                Err(StreamError::Closed) => self.is_ended = true,
                Err(StreamError::LastOperationFailed(error)) => {
                    self.is_ended = true;
                    let reason =
                        http_error_code(&error).map_or_else(|| error.to_debug_string(), |code| super::describe(&code));
                    return Some(Err(Error::Connection(reason)));
                }
            }
        }
        None
    }
}
