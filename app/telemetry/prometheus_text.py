"""The text that a server shows for Prometheus, line by line: prometheus.io/docs/instrumenting/exposition_formats.

It is a stranger's: what is no sample is passed over, and a page of any content costs no more than its length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_SAMPLE = re.compile(r'([A-Za-z_:][\w:]*+)[ \t]*+(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?+[ \t]*+(\S++)', re.ASCII)
_LABEL = re.compile(r'[ \t]*+([A-Za-z_]\w*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"[ \t]*+(?:,|$)', re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n"}


class Sample(NamedTuple):
    """`labels_text` is what stands between the braces."""

    name: str
    labels_text: str
    value: float

    def labels(self) -> dict[str, str]:
        """As far as they are what labels should be."""
        labels, position = {}, 0
        while (found := _LABEL.match(self.labels_text, position)) is not None:
            labels[found[1]] = _ESCAPED.sub(lambda escape: _UNESCAPED.get(escape[1], escape[1]), found[2])
            position = found.end()
        return labels


def samples(page: str) -> Iterator[Sample]:
    """Those with a finite value. A last line without its end is cut off somewhere, and is left out."""
    for line in page[: page.rfind("\n") + 1].split("\n"):
        found = _SAMPLE.match(line)
        value = None if found is None else _number(found[3])
        if found is not None and value is not None:
            yield Sample(found[1], found[2] or "", value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
