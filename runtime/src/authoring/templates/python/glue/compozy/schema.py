"""From type hints to JSON Schemas, and from JSON to what the hints promise. Part of the generated project; do not edit."""

import dataclasses
import inspect
import types
import typing
from typing import Any

from . import Error

PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
UNIONS = (typing.Union, types.UnionType)


def of(hint: Any) -> dict[str, Any]:
    """The JSON Schema of a type hint; `{}` for those that say nothing."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None:
        return {"type": "null"}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if origin is typing.Annotated:
        texts = [note for note in arguments[1:] if isinstance(note, str)]
        return of(arguments[0]) | ({"description": texts[0]} if texts else {})
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in UNIONS:
        return {"anyOf": [of(argument) for argument in arguments]}
    if hint is list or origin is list:
        return {"type": "array"} | ({"items": of(arguments[0])} if arguments else {})
    if hint is dict or origin is dict:
        return {"type": "object"} | ({"additionalProperties": of(arguments[1])} if arguments else {})
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        hints, required = fields(hint)
        return closed({name: of(field) for name, field in hints.items()}, required)
    return {}


def of_parameters(function: Any) -> dict[str, Any]:
    """The JSON Schema of a function's named arguments."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    return closed({name: of(hints.get(name, Any)) for name in parameters}, required)


def of_result(function: Any) -> dict[str, Any] | None:
    """The JSON Schema of what a function returns; None when its hint says nothing."""
    hint = typing.get_type_hints(function, include_extras=True).get("return", Any)
    return of(hint) or None


def closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def fields(hint: Any) -> tuple[dict[str, Any], list[str]]:
    """The hints of a dataclass or typed dictionary, and which of them must be there."""
    hints = typing.get_type_hints(hint, include_extras=True)
    if typing.is_typeddict(hint):
        return hints, sorted(hint.__required_keys__)
    missing = dataclasses.MISSING
    needed = [f.name for f in dataclasses.fields(hint) if f.default is missing and f.default_factory is missing]
    return {field.name: hints[field.name] for field in dataclasses.fields(hint)}, needed


def arguments(function: Any, given: Any) -> dict[str, Any]:
    """A call's input as the function's arguments."""
    if not isinstance(given, dict):
        raise Error("invalid_input", "the input is no object")
    hints = typing.get_type_hints(function, include_extras=True)
    made = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in given:
            made[name] = value(given[name], hints.get(name, Any), name)
        elif parameter.default is parameter.empty:
            raise Error("invalid_input", f"'{name}' is missing")
    return made


def value(given: Any, hint: Any, place: str) -> Any:
    """A JSON value as the hint promises it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return value(given, parts[0], place)
    if origin in UNIONS:
        for part in parts:
            try:
                return value(given, part, place)
            except Error:
                continue
        raise wrong(place, hint)
    if origin is list and isinstance(given, list):
        return [value(item, parts[0], f"{place}[{index}]") for index, item in enumerate(given)]
    if origin is dict and isinstance(given, dict):
        return {key: value(item, parts[1], f"{place}.{key}") for key, item in given.items()}
    if dataclasses.is_dataclass(hint) and isinstance(given, dict):
        hints, required = fields(hint)
        for name in required:
            if name not in given:
                raise Error("invalid_input", f"'{place}.{name}' is missing")
        known = {name: value(given[name], field, f"{place}.{name}") for name, field in hints.items() if name in given}
        return hint(**known)
    if hint is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if hint is int and isinstance(given, float) and given.is_integer():
        return int(given)
    if hint in PLAIN or hint is None:
        if given is None if hint in (None, type(None)) else type(given) is hint:
            return given
        raise wrong(place, hint)
    if origin in (list, dict) or dataclasses.is_dataclass(hint):
        raise wrong(place, hint)
    return given


def wrong(place: str, hint: Any) -> Error:
    expected = PLAIN.get(hint) or getattr(hint, "__name__", str(hint))
    return Error("invalid_input", f"'{place}' is no {expected}")
