"""Table model for reports: numbers are formatted as in the report, sorted by value, and struck
through if INVALID."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QBrush, QFont, QGuiApplication, QPalette

from app.gui.formatting import format_cell, format_count, format_quantity, shorten_message
from app.gui.tables import FrameModel
from app.gui.widgets import tool_tip_text
from reports import formatting
from reports.quantity import Quantity

_ROLE = Qt.ItemDataRole


class QuantityModel(FrameModel):
    """Table model whose cells can be Quantity values.

    `set_rows` sets the rows, the indices of INVALID rows, and hints by row index. All numbers of an
    INVALID row are struck through. Without `has_units`, the headers state the units.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        quantity_columns: Sequence[str] = (),
        *,
        has_units: bool = True,
    ) -> None:
        self._format = format_value if has_units else format_number_only
        self._quantity_columns: frozenset[str] = frozenset()
        super().__init__()
        self.set_columns(headers or {}, quantity_columns)
        self._invalid_rows: frozenset[int] = frozenset()
        self._hints: Mapping[int, str] = {}

    def set_columns(self, headers: Mapping[str, str], quantity_columns: Collection[str]) -> None:
        """Set the headers by column name, and the columns of quantities, which have units. They take
        effect with the next rows."""
        self.set_headers(headers)
        self._formatters_by_name = dict.fromkeys(quantity_columns, self._format)
        self._sort_keys = dict.fromkeys(quantity_columns, _get_value)
        self._quantity_columns = frozenset(quantity_columns)

    def set_rows(
        self, frame: pd.DataFrame, invalid_rows: Sequence[int] = (), hints: Mapping[int, str] | None = None
    ) -> None:
        self._invalid_rows, self._hints = frozenset(invalid_rows), dict(hints or {})
        self.set_frame(frame)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = _ROLE.DisplayRole) -> object:
        if not index.isValid():
            return None
        is_quantity = self._is_quantity[index.column()]
        if role == _ROLE.FontRole:
            if is_quantity and self._is_struck_through(index):
                return _create_strikeout_font()
            return self.number_font if is_quantity else super().data(index, role)
        if role == _ROLE.ForegroundRole:
            return _get_gray_brush() if is_quantity and self._is_undersampled(index) else None
        if role in (_ROLE.ToolTipRole, _ROLE.AccessibleDescriptionRole):
            hint = self._get_hint(index)
            return tool_tip_text(hint) if hint is not None and role == _ROLE.ToolTipRole else hint
        if role == _ROLE.TextAlignmentRole and is_quantity:
            return _RIGHT_ALIGNED
        return super().data(index, role)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole) -> object:
        is_valid_section = orientation == Qt.Orientation.Horizontal and 0 <= section < self.frame.shape[1]
        if role == _ROLE.TextAlignmentRole and is_valid_section and self._is_quantity[section]:
            return _RIGHT_ALIGNED
        return super().headerData(section, orientation, role)

    def _set_data(self, frame: pd.DataFrame) -> None:
        super()._set_data(frame)
        self._is_quantity = [str(name) in self._quantity_columns for name in frame.columns]

    def _is_struck_through(self, index: QModelIndex | QPersistentModelIndex) -> bool:
        row = self.frame_row(index.row())
        value = self.frame.iat[row, index.column()]
        is_invalid = isinstance(value, Quantity) and value.validity == "INVALID"
        is_missing = isinstance(value, Quantity) and value.value is None and not value.is_undersampled
        return (is_invalid or row in self._invalid_rows) and not is_missing

    def _is_undersampled(self, index: QModelIndex | QPersistentModelIndex) -> bool:
        value = self.frame.iat[self.frame_row(index.row()), index.column()]
        return isinstance(value, Quantity) and value.is_undersampled

    def _get_hint(self, index: QModelIndex | QPersistentModelIndex) -> str | None:
        row = self.frame_row(index.row())
        value = self.frame.iat[row, index.column()]
        lines = [describe_quantity(value)] if isinstance(value, Quantity) else []
        if row in self._hints:
            lines.append(self._hints[row])
        return shorten_message("\n".join(line for line in lines if line)) or None


def format_value(value: object) -> str:
    """Format a value as the report does, such as `238 (231–244) req/s`."""
    return format_quantity(value) if isinstance(value, Quantity) else format_cell(value)


def format_number_only(value: object) -> str:
    """Format a value with its interval and without its unit, such as `238 (231–244)`."""
    if not isinstance(value, Quantity):
        return format_cell(value)
    interval_text = formatting.format_interval(value)
    value_text = formatting.format_value(value)
    return value_text if interval_text is None else f"{value_text} ({interval_text})"


def describe_quantity(quantity: Quantity) -> str:
    """Describe the sample size, confidence interval, basis and validity of a quantity on one
    line."""
    parts = ["too few samples for a percentile"] if quantity.is_undersampled else []
    parts += [quantity.reason or ""] if quantity.value is None or quantity.reason else []
    if quantity.n is not None and quantity.value is not None:
        parts.append(f"n = {format_count(quantity.n)}")
    if quantity.ci95 is not None:
        parts.append("95 % CI in parentheses")
    parts.append(quantity.basis if quantity.value is not None else "")
    if quantity.validity != "VALID" and quantity.value is not None:
        parts.append(quantity.validity)
    return ", ".join(part for part in parts if part)


def _get_value(value: object) -> object:
    return value.value if isinstance(value, Quantity) else value if isinstance(value, (int, float)) else None


def _get_gray_brush() -> QBrush:
    """Return the placeholder text color (gray) of the current theme."""
    return QGuiApplication.palette().brush(QPalette.ColorRole.PlaceholderText)


def _create_strikeout_font() -> QFont:
    font = QFont()
    font.setStrikeOut(True)
    return font


_RIGHT_ALIGNED = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
