"""Everything that is lent, and errors"""

from typing import Any

from componentize_py_types import Err
from compozy import Error, config, env, kv, log, run, secrets, tool


@tool()
def lent(text: str, rest: list[Any]) -> dict[str, Any]:
    log("info", "lent", text=text)
    kv.set("k", text, 60000)
    return {
        "stored": kv.get("k"),
        "absent": kv.get("none"),
        "config": config(),
        "key": run().idempotency_key,
        "region": env("REGION"),
        "hidden": secrets.get("TOKEN") != "s3cr3t",
        "removed": [kv.delete("k"), kv.delete("k")],
        "input": {"text": text, "rest": rest},
    }


@tool()
def fail(how: str) -> str:
    if how == "bug":
        return None.x
    if how == "later":
        raise Error("later", "not yet", retry_after_ms=1500)
    try:
        kv.set("", "x")
    except Err as error:
        if how == "noticed":
            return error.value.code
        raise
    return ""
