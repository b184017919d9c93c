"""Secrets by name. Part of the generated project; do not edit.

It needs `import compozy:host/secrets@0.1.0;` in wit/world.wit and `permissions.secrets` in compozy.yaml.
"""

from wit_world.imports import compozy_host_secrets_0_1_0 as _host


def get(name: str) -> str:
    """A placeholder; the host puts the secret in its place in requests to granted hosts."""
    return _host.get(name)
