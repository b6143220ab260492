"""Tables of a report: numbers as the report writes them, sorted by what they are, struck through where INVALID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont

from app.gui.formatting import cell, count, quantity
from app.gui.tables import FrameModel
from app.gui.widgets import tip
from reports.quantity import Quantity

_ROLE = Qt.ItemDataRole
_MOST_LETTERS = 2_000


class QuantityModel(FrameModel):
    """A cell may be a Quantity. `struck` are the rows whose every number is INVALID; `hints` say why, by row."""

    def __init__(self, headers: Mapping[str, str] | None = None, quantities: Sequence[str] = ()) -> None:
        formats = dict.fromkeys(quantities, written)
        super().__init__(None, headers, formats, dict.fromkeys(quantities, _value))
        self._quantities = frozenset(quantities)
        self._struck: frozenset[int] = frozenset()
        self._hints: Mapping[int, str] = {}

    def set_rows(self, frame: pd.DataFrame, struck: Sequence[int] = (), hints: Mapping[int, str] | None = None) -> None:
        self._struck, self._hints = frozenset(struck), dict(hints or {})
        self.set_frame(frame)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = _ROLE.DisplayRole) -> object:
        if not index.isValid():
            return None
        is_number = str(self.frame.columns[index.column()]) in self._quantities
        if role == _ROLE.FontRole:
            return _struck_font() if is_number and self._is_struck(index) else None
        if role in (_ROLE.ToolTipRole, _ROLE.AccessibleDescriptionRole):
            hint = self._hint(index)
            return tip(hint) if hint is not None and role == _ROLE.ToolTipRole else hint
        if role == _ROLE.TextAlignmentRole and is_number:
            return _ROLE_RIGHT
        return super().data(index, role)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole) -> object:
        is_there = orientation == Qt.Orientation.Horizontal and 0 <= section < self.frame.shape[1]
        if role == _ROLE.TextAlignmentRole and is_there and str(self.frame.columns[section]) in self._quantities:
            return _ROLE_RIGHT
        return super().headerData(section, orientation, role)

    def _is_struck(self, index: QModelIndex | QPersistentModelIndex) -> bool:
        row = self.frame_row(index.row())
        value = self.frame.iat[row, index.column()]
        is_invalid = isinstance(value, Quantity) and value.trust == "INVALID"
        return (is_invalid or row in self._struck) and not (isinstance(value, Quantity) and value.value is None)

    def _hint(self, index: QModelIndex | QPersistentModelIndex) -> str | None:
        row = self.frame_row(index.row())
        value = self.frame.iat[row, index.column()]
        said = [about(value)] if isinstance(value, Quantity) else []
        if row in self._hints:
            said.append(self._hints[row])
        return "\n".join(one for one in said if one)[:_MOST_LETTERS] or None


def written(value: object) -> str:
    """As the report has it: 238 (231–244)/s."""
    return quantity(value) if isinstance(value, Quantity) else cell(value)


def about(one: Quantity) -> str:
    """What stands behind a number, in a line."""
    parts = [one.reason or ""] if one.value is None or one.reason else []
    if one.n is not None and one.value is not None:
        parts.append(f"of {count(one.n)}")
    if one.ci95 is not None:
        parts.append("95 % interval in brackets")
    parts.append(one.basis if one.value is not None else "")
    if one.trust != "VALID" and one.value is not None:
        parts.append(one.trust)
    return ", ".join(part for part in parts if part)


def _value(one: object) -> object:
    return one.value if isinstance(one, Quantity) else None


def _struck_font() -> QFont:
    font = QFont()
    font.setStrikeOut(True)
    return font


_ROLE_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
