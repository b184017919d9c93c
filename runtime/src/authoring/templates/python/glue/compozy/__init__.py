"""What a plugin needs of compozy. Part of the generated project; do not edit."""

import json
from typing import Any, Callable

from wit_world.imports import compozy_host_config_0_1_0 as _config
from wit_world.imports import compozy_host_log_0_1_0 as _log
from wit_world.imports import compozy_host_run_0_1_0 as _run

__all__ = ["Error", "config", "env", "log", "run", "tool"]


class Error(Exception):
    """A failure that the plugin reports; a retryable one lets the step be tried again.

    `code` is a short stable word, `message` one sentence for people.
    """

    def __init__(self, code: str, message: str, retryable: bool = False, retry_after_ms: int | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable or retry_after_ms is not None
        self.retry_after_ms = retry_after_ms


def config() -> dict[str, Any]:
    """The `config:` of the project's entry."""
    return json.loads(_config.get())


def env(name: str) -> str | None:
    """The value of an environment variable; needs `permissions.env`."""
    return _config.env(name)


def run() -> _run.Context | None:
    """The run and step that call, among it `idempotency_key`; None outside a run."""
    return _run.current()


def log(level: str, message: str, **fields: Any) -> None:
    """Writes a record: `log("info", "stored", count=3)`. Levels are trace, debug, info, warn and error."""
    _log.log(_log.Level[level.upper()], message, [(name, str(value)) for name, value in fields.items()])


functions: dict[str, "tuple[Callable[..., Any], dict[str, bool]]"] = {}


def tool(*, read_only: bool = False, destructive: bool = False, idempotent: bool = False) -> Callable:
    """Offers a function to workflows and agents.

    Its name is the function's, its description the docstring, its schemas come from the type hints.
    """

    def offer(function: Callable) -> Callable:
        marks = {"read_only": read_only, "destructive": destructive, "idempotent": idempotent}
        functions[function.__name__] = (function, marks)
        return function

    return offer
