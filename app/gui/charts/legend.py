"""Chart legend with the name of each series and its value at the crosshair."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.gui.charts.pens import (
    Category,
    category_color,
    category_marker,
    draw_markers,
    draw_path,
    fill_bar,
    line_pen,
    marker_path,
    series_color,
    solid_pen,
    symbol_path,
)
from app.gui.charts.series import SeriesKind
from app.gui.theme import Theme

_SAMPLE_PX = 26.0
_SWATCH_PX = 10.0
_GAP_PX = 6.0
_ENTRY_GAP_PX = 16.0
_MARKER_SAMPLE_PX = 12.0
"""Width of the sample of an entry with a category, which has no line."""


class LegendEntry(msgspec.Struct, frozen=True):
    label: str
    kind: SeriesKind | Literal["bars"]
    style_index: int
    is_hollow: bool = False
    is_dashed: bool = True
    value: str = ""
    color: str = ""
    """Color of a step of a color scale, in place of that of a series."""
    category: Category | None = None


class EntryPlace(NamedTuple):
    """Row of an entry, and its left and right edge in pixels."""

    row: int
    left: float
    right: float


class Legend(QWidget):
    """Legend with the name of the y axis and one entry per series. Entries that do not fit wrap to
    the next row. `set_max_rows` limits the rows, so that a low chart keeps space for its data: the
    last row then says how many entries are left out. The legend can be drawn on any painter, with
    all its entries."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.axis_text = ""
        self.entries: tuple[LegendEntry, ...] = ()
        self.are_entries_shown = True
        self._value_width = self._axis_width = 0.0
        self._max_rows: int | None = None
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def set_entries(self, axis_text: str, entries: tuple[LegendEntry, ...]) -> None:
        if (axis_text, entries) == (self.axis_text, self.entries):
            return
        previous_height = self.heightForWidth(self.width())
        self.axis_text, self.entries = axis_text, entries
        widths = [self._metrics().horizontalAdvance(entry.value) for entry in entries]
        # the column only grows, so that entries do not shift
        self._value_width = max([self._value_width if entries else 0.0, *widths])
        self._axis_width = max(self._axis_width, self._metrics().horizontalAdvance(axis_text)) if axis_text else 0.0
        if self.heightForWidth(self.width()) != previous_height:
            self.updateGeometry()
        self.update()

    def show_entries(self, are_shown: bool) -> None:
        """Show or hide the entries. Hidden entries keep their space, so that the chart does not
        move when they are shown with the values at the crosshair."""
        if are_shown != self.are_entries_shown:
            self.are_entries_shown = are_shown
            self.update()

    def set_max_rows(self, max_rows: int) -> None:
        if max_rows != self._max_rows:
            self._max_rows = max_rows
            self.updateGeometry()
            self.update()

    def text(self) -> str:
        """Return the whole legend as text."""
        entry_texts = [f"{entry.label} {entry.value}".strip() for entry in self.entries]
        return ", ".join([*([self.axis_text] if self.axis_text else []), *entry_texts])

    def single_line_width_px(self) -> int:
        """Return the width of the whole legend on a single line, in pixels."""
        metrics, axis_px = self._metrics(), (self._axis_width + _ENTRY_GAP_PX if self.axis_text else 0.0)
        fixed_px = 2 * _GAP_PX + self._value_width + _ENTRY_GAP_PX
        samples_px = sum(_sample_width(entry) + fixed_px for entry in self.entries)
        return round(axis_px + samples_px + sum(metrics.horizontalAdvance(entry.label) for entry in self.entries))

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._get_height(self._limit_entries(self._place_entries(width), width))

    def full_height(self, width: int) -> int:
        """Return the height of all entries, in pixels."""
        return self._get_height(self._place_entries(width))

    def sizeHint(self) -> QSize:
        return QSize(200, self.heightForWidth(max(self.width(), 200)))

    def minimumSizeHint(self) -> QSize:
        return QSize(60, round(self.row_height()))

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        self._paint(painter, float(self.width()), self._limit_entries(self._place_entries(self.width()), self.width()))
        painter.end()

    def paint_on(self, painter: QPainter, width: float) -> None:
        self._paint(painter, width, self._place_entries(width))

    def _paint(self, painter: QPainter, width: float, places: list[EntryPlace]) -> None:
        metrics, height = self._metrics(), self.row_height()
        painter.setFont(self.font())
        baseline_px = metrics.ascent() + (height - metrics.height()) / 2
        painter.setPen(QColor(self.theme.muted))
        painter.drawText(0, round(baseline_px), metrics.elidedText(self.axis_text, Qt.TextElideMode.ElideRight, width))
        if not self.are_entries_shown:
            return
        for place, entry in zip(places, self.entries, strict=False):
            row, x = place.row, place.left + _sample_width(entry) + _GAP_PX
            self._paint_sample(painter, entry, QRectF(place.left, row * height, _sample_width(entry), height))
            painter.setPen(QColor(self.theme.muted if entry.value else self.theme.ink))
            label = metrics.elidedText(entry.label, Qt.TextElideMode.ElideRight, max(width - x, 20.0))
            painter.drawText(round(x), round(row * height + baseline_px), label)
            if entry.value:
                x += metrics.horizontalAdvance(label) + _GAP_PX
                painter.setPen(QColor(self.theme.ink))
                painter.drawText(round(x), round(row * height + baseline_px), entry.value)
        if len(places) < len(self.entries):
            row, x = (places[-1].row, places[-1].right + _ENTRY_GAP_PX) if places else (0, self._get_first_left())
            painter.setPen(QColor(self.theme.muted))
            painter.drawText(round(x), round(row * height + baseline_px), self._format_rest(len(places)))

    def _paint_sample(self, painter: QPainter, entry: LegendEntry, rect: QRectF) -> None:
        center_y = rect.center().y()
        if entry.color:
            swatch = QRectF(rect.left(), center_y - _SWATCH_PX / 2, rect.width(), _SWATCH_PX)
            painter.fillRect(swatch, QColor(entry.color))
            return
        if entry.category is not None:
            path = symbol_path(category_marker(entry.category.marker_index)).translated(rect.center())
            color = category_color(self.theme, entry.category.color_index)
            draw_path(painter, color, self.theme, path, is_hollow=entry.is_hollow)
            return
        if entry.kind == "bars":
            fill_bar(painter, QRectF(rect.left(), center_y - _SWATCH_PX / 2, rect.width(), _SWATCH_PX), self.theme,
                     entry.style_index)  # fmt: skip
            return
        if entry.kind == "line":
            solid_line_pen = solid_pen(series_color(self.theme, entry.style_index))
            painter.setPen(line_pen(self.theme, entry.style_index) if entry.is_dashed else solid_line_pen)
            painter.drawLine(round(rect.left()), round(center_y), round(rect.right()), round(center_y))
        marker = marker_path(entry.style_index).translated(rect.center())
        draw_markers(painter, self.theme, entry.style_index, marker, is_hollow=entry.is_hollow)

    def _get_first_left(self) -> float:
        return self._axis_width + _ENTRY_GAP_PX if self.axis_text else 0.0

    def _get_height(self, places: list[EntryPlace]) -> int:
        return round(self.row_height() * (1 + max((place.row for place in places), default=0)))

    def _limit_entries(self, places: list[EntryPlace], width: float) -> list[EntryPlace]:
        """Return the places of the first entries, as many as the maximum number of rows has space
        for, beside the number of the others."""
        if self._max_rows is None or not places or places[-1].row < self._max_rows:
            return places
        shown = [place for place in places if place.row < self._max_rows]
        metrics = self._metrics()
        while shown and shown[-1].right + _ENTRY_GAP_PX + metrics.horizontalAdvance(self._format_rest(0)) > width:
            shown.pop()
        return shown

    def _format_rest(self, shown_count: int) -> str:
        return f"+{len(self.entries) - shown_count} more"

    def _place_entries(self, width: float) -> list[EntryPlace]:
        metrics = self._metrics()
        left, row = self._get_first_left(), 0
        places = []
        for entry in self.entries:
            entry_width = (
                _sample_width(entry) + _GAP_PX + metrics.horizontalAdvance(entry.label) + _GAP_PX + self._value_width
            )
            if left > 0 and left + entry_width > width:
                row, left = row + 1, 0.0
            places.append(EntryPlace(row, left, left + entry_width))
            left += entry_width + _ENTRY_GAP_PX
        return places

    def _metrics(self) -> QFontMetricsF:
        return QFontMetricsF(self.font())

    def row_height(self) -> float:
        return self._metrics().height() + 4.0


def _sample_width(entry: LegendEntry) -> float:
    return _SAMPLE_PX if entry.category is None else _MARKER_SAMPLE_PX
