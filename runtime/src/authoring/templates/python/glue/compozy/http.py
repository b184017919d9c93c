"""HTTP requests to granted hosts. Part of the generated project; do not edit.

It needs `import wasi:http/outgoing-handler@0.2.12;` in wit/world.wit and `permissions.http` in compozy.yaml.

    response = http.request("POST", "https://api.example.com/items", json={"name": "a"})
    item = response.json()
"""

import json as _json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import wasi_http_outgoing_handler_0_2_12 as _handler
from wit_world.imports import wasi_http_types_0_2_12 as _types
from wit_world.imports import wasi_io_streams_0_2_12 as _streams

from . import Error

_READ = 64 * 1024
_WRITE = 4096


class Response:
    """An answer whose body is read when it is asked for."""

    def __init__(self, incoming: _types.IncomingResponse):
        self._incoming = incoming
        self.status = incoming.status()
        with incoming.headers() as headers:
            self.headers = {name.lower(): value.decode("latin-1") for name, value in headers.entries()}

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives."""
        with self._incoming.consume() as body, body.stream() as stream:
            while True:
                try:
                    piece = stream.blocking_read(_READ)
                except Err as error:
                    if isinstance(error.value, _streams.StreamError_Closed):
                        return
                    raise Error("connection_failed", "the connection broke within the answer", retryable=True) from None
                if piece:
                    yield piece

    def lines(self) -> Iterator[str]:
        """The lines of the body as they arrive, without their ends."""
        kept = b""
        for piece in self.pieces():
            *lines, kept = (kept + piece).split(b"\n")
            for line in lines:
                yield line.rstrip(b"\r").decode()
        if kept:
            yield kept.decode()

    def text(self) -> str:
        """The whole body."""
        return b"".join(self.pieces()).decode()

    def json(self) -> Any:
        """The whole body, read as JSON."""
        text = self.text()
        try:
            return _json.loads(text)
        except ValueError:
            raise Error("invalid_answer", f"the answer is no JSON: {text[:200]}") from None


def request(
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    json: Any = None,
) -> Response:
    """Sends a request and waits for the head of the answer, whatever its status."""
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if json is not None:
        body = _json.dumps(json).encode()
        sent.setdefault("content-type", "application/json")
    if body:
        sent["content-length"] = str(len(body))
    outgoing = _request(method, url, sent)
    sink = outgoing.body()
    try:
        future = _handler.handle(outgoing, None)
    except Err as error:
        raise _failure(error.value, url) from None
    _write(sink, body)
    return _answer(future, url)


def _request(method: str, url: str, headers: dict[str, str]) -> _types.OutgoingRequest:
    parts = urlsplit(url)
    scheme = {"http": _types.Scheme_Http, "https": _types.Scheme_Https}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise Error("invalid_url", "the URL begins with neither http:// nor https:// and a host")
    try:
        fields = _types.Fields.from_list([(name, value.encode()) for name, value in headers.items()])
        outgoing = _types.OutgoingRequest(fields)
        outgoing.set_method(getattr(_types, f"Method_{method.capitalize()}", lambda: _types.Method_Other(method))())
        outgoing.set_scheme(scheme())
        outgoing.set_authority(parts.netloc)
        outgoing.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    except Err:
        raise Error("invalid_request", "the method, a header or the path cannot be sent") from None
    return outgoing


def _write(sink: _types.OutgoingBody, body: bytes) -> None:
    try:
        with sink.write() as stream:
            for start in range(0, len(body), _WRITE):
                stream.blocking_write_and_flush(body[start : start + _WRITE])
    except Err:
        # The peer has answered without reading everything; its answer says why.
        return
    _types.OutgoingBody.finish(sink, None)


def _answer(future: _types.FutureIncomingResponse, url: str) -> Response:
    while (got := future.get()) is None:
        with future.subscribe() as ready:
            ready.block()
    if isinstance(got, Ok) and isinstance(got.value, Ok):
        return Response(got.value.value)
    raise _failure(got.value.value if isinstance(got, Ok) else None, url)


def _failure(code: Any, url: str) -> Error:
    host = urlsplit(url).netloc
    if isinstance(code, (_types.ErrorCode_HttpRequestDenied, _types.ErrorCode_DestinationIpProhibited)):
        return Error("CZ0703", f"a request to {host} is not allowed by permissions.http")
    reason = type(code).__name__.removeprefix("ErrorCode_")
    return Error("connection_failed", f"no answer from {host}: {reason}", retryable=True)
