"""Exceptions as the errors that the host knows. Part of the generated project; do not edit."""

import traceback

from componentize_py_types import Err
from wit_world.imports import compozy_plugin_types_0_1_0 as types

from . import Error, log


def told(error: BaseException) -> Err:
    """What the host is told. An exception that is nobody's own says where it happened."""
    payload = error.value if isinstance(error, Err) else error
    if isinstance(getattr(payload, "code", None), str) and isinstance(getattr(payload, "message", None), str):
        return Err(types.Error(payload.code, payload.message, payload.retryable, payload.retry_after_ms))
    log("error", "".join(traceback.format_exception(error)))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" (at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    text = str(payload) if isinstance(error, Err) else f"{type(error).__name__}: {error}"
    return Err(types.Error("exception", text + place, False, None))
