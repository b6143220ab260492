"""Files that travel in the page, compressed, for its reader to take out again."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping

import msgspec
from markupsafe import Markup

_MOST_OF_A_TABLE = 500_000
"""Bytes that a table may take in the page; a larger one is only beside it."""


class Block(msgspec.Struct, frozen=True):
    name: str
    packed: Markup
    """zlib, then base64."""
    sha256: str
    """Of what was packed."""


def packed(name: str, text: str) -> Block:
    content = text.encode()
    data = base64.b64encode(zlib.compress(content, 9)).decode()
    return Block(name, Markup(data), hashlib.sha256(content).hexdigest())


def packed_tables(tables: Mapping[str, str]) -> tuple[Block, ...]:
    blocks = (packed(f"{name}.csv", text) for name, text in tables.items())
    return tuple(block for block in blocks if len(block.packed) <= _MOST_OF_A_TABLE)
