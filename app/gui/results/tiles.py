"""The headline numbers, each with its interval, its limit and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, Qt
from PySide6.QtWidgets import QFrame, QLabel, QLayoutItem, QWidget

from app.gui.flow import FlowLayout
from app.gui.results.quantity_model import about
from app.gui.widgets import Badge, label, tip, vbox
from reports import formatting
from reports.model import HeadlineTile

_GAP = 8


class Tiles(QWidget):
    """In rows as wide as there is room for."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Headline numbers")
        self._layout = Flow(self)
        self.cards: list[TileCard] = []

    def show_tiles(self, tiles: Sequence[HeadlineTile]) -> None:
        for card in self.cards:
            self._layout.removeWidget(card)
            card.deleteLater()
        self.cards = [TileCard(tile) for tile in tiles]
        for card in self.cards:
            self._layout.addWidget(card)
        self.setVisible(bool(self.cards))
        self.updateGeometry()


class TileCard(QFrame):
    def __init__(self, tile: HeadlineTile) -> None:
        super().__init__()
        self.setProperty("role", "card")
        one = tile.quantity
        is_invalid = one.trust == "INVALID" and one.value is not None
        self.value = label(formatting.value_unit(one), "big")
        if is_invalid:
            font = self.value.font()
            font.setStrikeOut(True)
            self.value.setFont(font)
            self.value.setStyleSheet("text-decoration: line-through;")
        lines = tile_lines(tile)
        layout = vbox(label(tile.label, "muted"), self.value, within=self, margins=(12, 8, 12, 8), spacing=1)
        if is_invalid:
            layout.addWidget(Badge("INVALID", "Not to be relied on: see the checks."), 0, Qt.AlignmentFlag.AlignLeft)
        for line in lines:
            layout.addWidget(label(line, "muted"))
        layout.addStretch(1)
        self.setToolTip(tip(about(one)))
        self.setAccessibleName(tile.label)
        self.setAccessibleDescription(", ".join([formatting.quantity(one), *lines, about(one)]))

    def texts(self) -> list[str]:
        return [one.text() for one in self.findChildren(QLabel)]


def tile_lines(tile: HeadlineTile) -> list[str]:
    """Below the number."""
    one = tile.quantity
    if one.value is None:
        return [one.reason] if one.reason else []
    between = formatting.interval(one)
    unit = formatting.shown_unit(one)
    lines = [f"95 %: {formatting.with_unit(between, unit)}"] if between else []
    if tile.limit is not None:
        lines.append(f"SLO {formatting.limit(tile.limit)}")
    of = f", n {formatting.count(one.n)}" if one.n is not None else ""
    lines.append(f"{one.basis}{of}")
    return [*lines, *([tile.note] if tile.note else [])]


class Flow(FlowLayout):
    """From left to right, and on in the next line; all of a line are as high as its highest, and the lines about as
    long as each other."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, _GAP)

    def _place(self, room: QRect, *, is_moving: bool) -> int:
        """The height that it takes."""
        top, lines = room.y(), self._lines(room.width())
        for line in lines:
            height = max(item.sizeHint().height() for item in line)
            spare = (room.width() - _GAP * (len(line) - 1) - sum(item.sizeHint().width() for item in line)) // len(line)
            grows = spare if len(lines) == 1 or len(line) > 1 else 0
            left = room.x()
            for item in line:
                width = item.sizeHint().width() + max(0, min(grows, item.sizeHint().width() // 2))
                if is_moving:
                    item.setGeometry(QRect(left, top, width, height))
                left += width + _GAP
            top += height + _GAP
        return max(0, top - _GAP - room.y())

    def _lines(self, width: int) -> list[list[QLayoutItem]]:
        """No more than are needed, and as many in each as there can be: none is left over by itself."""
        lines = _filled(self._items, width, len(self._items))
        if len(lines) < 2:
            return lines
        even = _filled(self._items, width, -(-len(self._items) // len(lines)))
        return even if len(even) == len(lines) else lines


def _filled(items: list[QLayoutItem], width: int, most: int) -> list[list[QLayoutItem]]:
    lines: list[list[QLayoutItem]] = []
    used = 0
    for item in items:
        wanted = item.sizeHint().width()
        if lines and len(lines[-1]) < most and used + _GAP + wanted <= width:
            lines[-1].append(item)
            used += _GAP + wanted
        else:
            lines.append([item])
            used = wanted
    return lines
