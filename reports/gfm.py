"""Markdown as GitHub and GitLab read it: free text that stays text, tables and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPACES = re.compile(r"\s+")
_ACTIVE = re.compile(r"[\\`*_\[\]|~$<>&]")
_LINKS = re.compile(r"(?i)(?<=:)//|(?<=www)\.|@")
_BEGINS_A_BLOCK = re.compile(r"^[#+\-=]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def text(raw: str) -> str:
    """One line that reads as `raw`: nothing in it is markup, an address to click, or the beginning of a block."""
    line = _ACTIVE.sub(r"\\\g<0>", _SPACES.sub(" ", raw).strip())
    line = _LINKS.sub(r"\\\g<0>", line)
    return _NUMBERED.sub(r"\1\\\2", _BEGINS_A_BLOCK.sub(r"\\\g<0>", line))


def bullets(lines: Sequence[str]) -> list[str]:
    """Of lines that are Markdown already."""
    return [f"- {line}" for line in lines if line]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Of cells that are Markdown already. Columns without a head are left out; without rows there is no table."""
    kept = [place for place, name in enumerate(columns) if name]
    lines = [columns, ["---"] * len(columns), *rows] if rows else []
    return [f"| {' | '.join(line[place] for place in kept)} |" for line in lines]
