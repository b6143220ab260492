"""Color, dash pattern and marker of each series in the current theme. Series never differ by color
only."""

from __future__ import annotations

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
    shape: QPainterPath = pg.graphicsItems.ScatterPlotItem.Symbols[series_marker(style_index)]
    return QTransform.fromScale(MARKER_PX, MARKER_PX).map(shape)


def draw_markers(painter: QPainter, theme: Theme, style_index: int, path: QPainterPath, *, is_hollow: bool) -> None:
    """Draw all markers of a series, which are combined in a single path."""
    was_antialiased = bool(painter.renderHints() & QPainter.RenderHint.Antialiasing)
    color = series_color(theme, style_index)
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
