"""The texts of a chart's static picture, and where they are."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

from reports.charts.picture import Chart, render_svg

_PX_PER_FONT_PX = 0.56, 0.72
"""Width and height of a character, in font sizes: the width is the mean of digits and small letters in bold type."""
_SHIFTS = {"start": 0.0, "middle": 0.5, "end": 1.0}


class Text(NamedTuple):
    words: str
    left: float
    top: float
    right: float
    bottom: float


def read_texts(chart: Chart) -> list[Text]:
    """The distinct horizontal texts of the static picture: a halo repeats the words in the same place."""
    return list(dict.fromkeys(_texts_in(ElementTree.fromstring(render_svg(chart)), 0.0, 0.0)))


def list_overlaps(chart: Chart) -> list[tuple[str, str]]:
    """Pairs of texts that overlap."""
    return [
        (text.words, other.words)
        for text, other in combinations(read_texts(chart), 2)
        if min(text.right, other.right) > max(text.left, other.left)
        and min(text.bottom, other.bottom) > max(text.top, other.top)
    ]


def _texts_in(element: ElementTree.Element, x: float, y: float) -> list[Text]:
    transform = element.get("transform", "")
    if moved := re.match(r"translate\(([-\d.e]+),([-\d.e]+)\)", transform):
        x, y = x + float(moved[1]), y + float(moved[2])
    if element.tag.endswith("text"):
        words, size_px = element.text or "", float((element.get("font-size") or "").removesuffix("px"))
        if not words.strip() or "rotate" in transform or element.get("opacity") == "0":
            return []
        width_px, height_px = _PX_PER_FONT_PX[0] * size_px * len(words), _PX_PER_FONT_PX[1] * size_px
        left = x - _SHIFTS[element.get("text-anchor", "start")] * width_px
        return [Text(words, left, y - height_px, left + width_px, y)]
    return [text for child in element for text in _texts_in(child, x, y)]
