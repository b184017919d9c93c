"""Makes slugs: what a text is called in a URL"""

import itertools
import re
from typing import TypedDict

from compozy import Error, tool


class Slug(TypedDict):
    slug: str
    words: int


class FreeSlug(TypedDict):
    slug: str


@tool(read_only=True, idempotent=True)
def slugify(text: str) -> Slug:
    """The slug of a text, and how many words it has"""
    words = re.findall("[a-z0-9\x80-\U0010ffff]+", text.lower())
    if not words:
        raise Error("empty", "the text has no words")
    return {"slug": "-".join(words), "words": len(words)}


@tool(read_only=True, idempotent=True)
def unique(slug: str, taken: list[str]) -> FreeSlug:
    """The slug, with a number behind it if it is taken"""
    numbered = (f"{slug}-{number}" for number in itertools.count(2))
    return {"slug": next(name for name in itertools.chain([slug], numbered) if name not in taken)}
