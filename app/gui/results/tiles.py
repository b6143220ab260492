"""Tiles with the headline metrics, each with its confidence interval, limit and basis."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, Qt
from PySide6.QtWidgets import QFrame, QLabel, QLayoutItem, QWidget

from app.gui.flow import FlowLayout
from app.gui.results.quantity_model import describe_quantity
from app.gui.theme import GAP, TILE_MARGINS
from app.gui.widgets import Badge, label, tool_tip_text, vbox
from reports import formatting
from reports.model import HeadlineTile

_MAX_LINE_CHARACTERS = 36


class Tiles(QWidget):
    """Headline metrics as tiles, in rows that fit the width of the widget."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Headline metrics")
        self._layout = TileLayout(self)
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
        quantity = tile.quantity
        is_invalid = quantity.validity == "INVALID" and (quantity.value is not None or quantity.is_undersampled)
        self.value = label(
            formatting.format_value_unit(quantity), "undersampled" if quantity.is_undersampled else "big"
        )
        if is_invalid:
            font = self.value.font()
            font.setStrikeOut(True)
            self.value.setFont(font)
            self.value.setStyleSheet("text-decoration: line-through;")
        lines = tile_lines(tile)
        layout = vbox(label(tile.label, "muted"), self.value, within=self, margins=TILE_MARGINS, spacing=0)
        if is_invalid:
            layout.addWidget(Badge("INVALID", "Unreliable – see Validity"), 0, Qt.AlignmentFlag.AlignLeft)
        for line in lines:
            layout.addWidget(label(line, "muted", wrap=len(line) > _MAX_LINE_CHARACTERS))
        layout.addStretch(1)
        self.setToolTip(tool_tip_text(describe_quantity(quantity)))
        self.setAccessibleName(tile.label)
        self.setAccessibleDescription(
            ", ".join([formatting.format_quantity(quantity), *lines, describe_quantity(quantity)])
        )

    def texts(self) -> list[str]:
        return [text_label.text() for text_label in self.findChildren(QLabel)]


def tile_lines(tile: HeadlineTile) -> list[str]:
    """Return the text lines below the value of a tile: its interval, its limit or its basis, and the
    stages that it is from. A basis other than a measurement is always shown."""
    quantity = tile.quantity
    if quantity.value is None:
        return [quantity.reason] if quantity.reason else []
    interval = formatting.format_interval(quantity)
    lines = [f"95 % CI: {formatting.with_unit(interval, formatting.display_unit(quantity))}"] if interval else []
    if tile.limit is not None:
        lines.append(f"SLO {formatting.format_limit(tile.limit)}")
    if tile.limit is None or quantity.basis != "measured":
        lines.append(quantity.basis + ("" if quantity.n is None else f", n = {formatting.format_count(quantity.n)}"))
    return [*lines, *([tile.note] if tile.note else [])]


class TileLayout(FlowLayout):
    """Flow layout in which all widgets on a line have the same height, and all lines have about the
    same number of widgets."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, GAP)

    def _arrange_items(self, area: QRect, *, is_moving: bool) -> int:
        """Arrange the items and return the total height in pixels. If `is_moving` is false, only
        the height is computed."""
        top, lines = area.y(), self._distribute_items(area.width())
        for line in lines:
            spare_px = (area.width() - GAP * (len(line) - 1) - sum(item.sizeHint().width() for item in line)) // len(
                line
            )
            growth_px = spare_px if len(lines) == 1 or len(line) > 1 else 0
            widths = [
                min(area.width(), item.sizeHint().width() + max(0, min(growth_px, item.sizeHint().width() // 2)))
                for item in line
            ]
            height = max(_height_for_width(item, width) for item, width in zip(line, widths, strict=True))
            left = area.x()
            for item, width in zip(line, widths, strict=True):
                if is_moving:
                    item.setGeometry(QRect(left, top, width, height))
                left += width + GAP
            top += height + GAP
        return max(0, top - GAP - area.y())

    def _distribute_items(self, width: int) -> list[list[QLayoutItem]]:
        """Distribute the items evenly over the minimum number of lines, so that the last line is
        not much shorter than the other lines."""
        lines = _fill_lines(self._items, width, len(self._items))
        if len(lines) < 2:
            return lines
        even_lines = _fill_lines(self._items, width, -(-len(self._items) // len(lines)))
        return even_lines if len(even_lines) == len(lines) else lines


def _height_for_width(item: QLayoutItem, width: int) -> int:
    return item.heightForWidth(width) if item.hasHeightForWidth() else item.sizeHint().height()


def _fill_lines(items: list[QLayoutItem], width: int, max_per_line: int) -> list[list[QLayoutItem]]:
    lines: list[list[QLayoutItem]] = []
    used_px = 0
    for item in items:
        width_px = item.sizeHint().width()
        if lines and len(lines[-1]) < max_per_line and used_px + GAP + width_px <= width:
            lines[-1].append(item)
            used_px += GAP + width_px
        else:
            lines.append([item])
            used_px = width_px
    return lines
