"""The plugin's own durable key-value space, as text. Part of the generated project; do not edit.

It needs `import compozy:host/kv@0.1.0;` in wit/world.wit and `permissions.kv` in compozy.yaml.
"""

from wit_world.imports import compozy_host_kv_0_1_0 as _host


def get(key: str) -> str | None:
    """The value of `key`."""
    found = _host.get(key)
    return None if found is None else found.decode()


def set(key: str, value: str, ttl_ms: int | None = None) -> None:
    """Stores `value`; with `ttl_ms` it expires that many milliseconds from now."""
    _host.set(key, value.encode(), ttl_ms)


def delete(key: str) -> bool:
    """Removes `key`; whether it was there."""
    return _host.delete(key)


def keys(prefix: str = "", after: str | None = None, limit: int = 1000) -> list[str]:
    """At most `limit` keys that start with `prefix` and come after `after`."""
    return _host.keys(prefix, after, limit)
