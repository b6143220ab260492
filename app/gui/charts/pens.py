"""Color, dash pattern and marker of each series in the current theme. Series never differ by color
only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count, islice

import msgspec
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPainterPath, QPen, QTransform

from app.gui.formatting import State
from app.gui.theme import Theme

_DASH_PATTERNS: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 3), (9, 3, 2, 3), (5, 2, 1, 2, 1, 2), (12, 4))
_BAR_PATTERNS = (
    None,
    Qt.BrushStyle.BDiagPattern,
    Qt.BrushStyle.Dense6Pattern,
    Qt.BrushStyle.FDiagPattern,
    Qt.BrushStyle.VerPattern,
    Qt.BrushStyle.DiagCrossPattern,
)
_MARKER_SYMBOLS = ("o", "s", "t1", "d", "t", "star")
MARKER_PX = 7
LINE_PX = 1.75
"""Width of a line whose samples are far apart. Wide pens are too slow for dense lines."""
BAD_STYLE_INDEX = -1
"""Style of a series whose points missed the SLO: the color of errors, in every chart."""

_STYLES_BY_ENTITY = {
    "offered": 0, "sent": 1, "completed": 2, "good": 3, "in_flight": 5, "lag": 4,
    "p50": 0, "p95": 1, "p99": 2,
    "latency_ms": 0, "service_ms": 1, "itl_ms": 2, "ttft_ms": 3, "tpot_ms": 5,
    "host": 0, "endpoint": 1, "generator": 2, "engine": 3, "model": 4,
}  # fmt: skip
"""Style of each metric and of each source of telemetry, so that it has the same color in every
chart. Those that are never in the same chart may share a style."""
_GPU_PATTERN = re.compile(r"gpu(\d{1,4})")


def entity_style(entity: str, entities: Sequence[str] = ()) -> int:
    """Return the style of a metric or a source of telemetry. One that has no style of its own, such
    as a server, has the next style that none of `entities` has: all those of the run."""
    gpu = _GPU_PATTERN.fullmatch(entity)
    if gpu is not None:
        return int(gpu[1])
    if entity in _STYLES_BY_ENTITY:
        return _STYLES_BY_ENTITY[entity]
    taken = {_STYLES_BY_ENTITY[other] for other in entities if other in _STYLES_BY_ENTITY}
    unknown = [other for other in entities if other not in _STYLES_BY_ENTITY and not _GPU_PATTERN.fullmatch(other)]
    position = unknown.index(entity) if entity in unknown else 0
    return next(islice((style for style in count() if style not in taken), position, None))


_CATEGORY_MARKERS = ("o", "s", "t1", "d", "t", "p", "h", "t2", "t3")
_OTHER_MARKER = "+"
_GRAY_SERIES = 4
"""Index of the gray in `Theme.series`, which marks the categories without a color of their own. The
colors before it are those of categories; the one after it is left to lines."""


class Category(msgspec.Struct, frozen=True):
    """Color and marker of points whose color and marker have separate meanings. None is the gray,
    or the marker, that all remaining categories share."""

    color_index: int | None
    marker_index: int | None


def count_category_styles(theme: Theme) -> tuple[int, int]:
    """Return the number of colors and the number of markers that categories can have."""
    return len(_list_category_colors(theme)), len(_CATEGORY_MARKERS)


def category_color(theme: Theme, index: int | None) -> QColor:
    return QColor(theme.series[_GRAY_SERIES] if index is None else _list_category_colors(theme)[index])


def category_marker(index: int | None) -> str:
    return _OTHER_MARKER if index is None else _CATEGORY_MARKERS[index]


def _list_category_colors(theme: Theme) -> tuple[str, ...]:
    return (*theme.series[:_GRAY_SERIES], *theme.extra_series)


def series_color(theme: Theme, style_index: int) -> QColor:
    return QColor(theme.bad if style_index == BAD_STYLE_INDEX else theme.series[style_index % len(theme.series)])


def line_pen(theme: Theme, style_index: int) -> QPen:
    """Return the pen of a line whose samples are far apart."""
    pen = QPen(series_color(theme, style_index), LINE_PX)
    pen.setCosmetic(True)
    dash_pattern = _DASH_PATTERNS[style_index % len(_DASH_PATTERNS)]
    if dash_pattern:
        pen.setDashPattern(list(dash_pattern))
    return pen


def solid_pen(color: str | QColor) -> QPen:
    pen = QPen(QColor(color), 1)
    pen.setCosmetic(True)
    return pen


def grid_pen(theme: Theme) -> QPen:
    """Return the pen of the grid. In a high-contrast theme the pen is translucent, because
    otherwise the grid would dominate the data."""
    return solid_pen(translucent_color(theme.grid, 90 if theme.is_high_contrast else 255))


def series_marker(style_index: int) -> str:
    return _MARKER_SYMBOLS[style_index % len(_MARKER_SYMBOLS)]


def translucent_color(color: str | QColor, alpha: int) -> QColor:
    result = QColor(color)
    result.setAlpha(alpha)
    return result


def state_color(theme: Theme, state: State) -> str:
    return {"good": theme.good, "warn": theme.warn, "bad": theme.bad, "plain": theme.muted}[state]


def marker_path(style_index: int) -> QPainterPath:
    """Return the path of a series' marker, in pixels and centered on the origin."""
    return symbol_path(series_marker(style_index))


def symbol_path(symbol: str) -> QPainterPath:
    """Return the path of a pyqtgraph symbol, in pixels and centered on the origin."""
    shape: QPainterPath = pg.graphicsItems.ScatterPlotItem.Symbols[symbol]
    return QTransform.fromScale(MARKER_PX, MARKER_PX).map(shape)


def draw_markers(painter: QPainter, theme: Theme, style_index: int, path: QPainterPath, *, is_hollow: bool) -> None:
    """Draw all markers of a series, which are combined in a single path."""
    draw_path(painter, series_color(theme, style_index), theme, path, is_hollow=is_hollow)


def draw_path(painter: QPainter, color: QColor, theme: Theme, path: QPainterPath, *, is_hollow: bool) -> None:
    """Draw markers in a color, filled or hollow."""
    was_antialiased = bool(painter.renderHints() & QPainter.RenderHint.Antialiasing)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(solid_pen(color))
    painter.setBrush(QColor(theme.paper) if is_hollow else color)
    painter.drawPath(path)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, was_antialiased)


def fill_bar(painter: QPainter, rect: QRectF, theme: Theme, style_index: int) -> None:
    """Fill a bar with the color and the pattern of its series. A color that is used again has
    another pattern."""
    painter.fillRect(rect, series_color(theme, style_index))
    pattern = _BAR_PATTERNS[(style_index + style_index // len(theme.series)) % len(_BAR_PATTERNS)]
    if pattern is not None:
        painter.fillRect(rect, QBrush(translucent_color(theme.paper, 150), pattern))
