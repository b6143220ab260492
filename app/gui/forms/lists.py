"""Editors of several values: rows of text, numbers in a line, ticks of choices, pairs of a name and a value."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from app.errors import ProfileError
from app.gui.forms.arrangement import label_of
from app.gui.forms.editor import REMOVED, Editor, Edits
from app.gui.forms.folding import chain
from app.gui.forms.scalars import Line, meant_by, text_of
from app.gui.widgets import button
from app.gui.words import tr
from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec

_TICKS_A_LINE = 3


def _as_list(value: Any) -> list[Any]:
    """One may stand without brackets."""
    if value is REMOVED or value is None:
        return []
    return value if isinstance(value, list) else [value]


class NumbersEditor(Editor):
    """Short values with commas between: 1, 4, 16."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.line = Line()
        default = ", ".join(text_of(one) for one in spec.default or ())
        self.line.setPlaceholderText(default or (spec.example and tr("like {it}").format(it=spec.example)))
        self.line.textEdited.connect(self._tell)
        self.setFocusProxy(self.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)

    def show_value(self, value: Any) -> None:
        if self._says() != _as_list(value):
            self.line.setText(", ".join(text_of(one) for one in _as_list(value)))

    def name(self, text: str, description: str) -> None:
        super().name(text, description)
        self.line.setAccessibleName(text)
        self.line.setAccessibleDescription(description)

    def _says(self) -> list[Any]:
        assert self.spec.item is not None
        texts = self.line.text().split(",")
        return [meant_by(self.spec.item, text.strip()) for text in texts if text.strip()]

    def _tell(self) -> None:
        self.tell(self._says() or REMOVED)


class TicksEditor(Editor):
    """Any of a few choices, in the order they were in."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        assert spec.item is not None
        self.ticks = {choice: QCheckBox(choice) for choice in spec.item.choices}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(_TICKS_A_LINE, 1)
        for at, tick in enumerate(self.ticks.values()):
            layout.addWidget(tick, at // _TICKS_A_LINE, at % _TICKS_A_LINE)
            tick.clicked.connect(self._tell)
        self.setFocusProxy(next(iter(self.ticks.values())))
        self._value: list[Any] = []

    def show_value(self, value: Any) -> None:
        self._value = _as_list(self.spec.default if value is REMOVED else value)
        for choice, tick in self.ticks.items():
            tick.setChecked(choice in self._value)

    def name(self, text: str, description: str) -> None:
        super().name(text, description)
        for choice, tick in self.ticks.items():
            tick.setAccessibleName(f"{text}: {choice}")
            tick.setAccessibleDescription(description)

    def _tell(self) -> None:
        ticked = [choice for choice, tick in self.ticks.items() if tick.isChecked()]
        kept = [one for one in self._value if one in ticked or one not in self.ticks]
        self.tell([*kept, *(one for one in ticked if one not in kept)] or REMOVED)


class RowsEditor(Editor):
    """A text a row, such as objectives; rows left empty are none."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self.add = button(tr("Add"), self._add)
        self.add.setAccessibleName(tr("Add to {what}").format(what=label_of(spec.key)))
        line = QHBoxLayout()
        line.addWidget(self.add)
        line.addStretch(1)
        self._layout.addLayout(line)
        self.setFocusProxy(self.add)
        self.rows: list[_Row] = []

    def show_value(self, value: Any) -> None:
        values = _as_list(value)
        if self._says() == values:
            return
        while len(self.rows) > len(values):
            self._drop(self.rows[-1])
        for at, one in enumerate(values):
            row = self.rows[at] if at < len(self.rows) else self._new_row()
            row.line.setText(text_of(one))

    def _add(self) -> None:
        self._new_row().line.setFocus()

    def _new_row(self) -> _Row:
        row = _Row(tr("Remove this row"))
        what = tr("{what} {number}").format(what=label_of(self.spec.key), number=len(self.rows) + 1)
        row.line.setAccessibleName(what)
        row.line.setPlaceholderText(self.spec.example and tr("like {it}").format(it=self.spec.example))
        row.line.textEdited.connect(self._tell)
        row.remove.clicked.connect(lambda: self._remove(row))
        self.rows.append(row)
        self._layout.insertWidget(len(self.rows) - 1, row)
        _tab_before(row, self.add)
        return row

    def _remove(self, row: _Row) -> None:
        self._drop(row)
        self._tell()
        self.add.setFocus()

    def _drop(self, row: _Row) -> None:
        self.rows.remove(row)
        self._layout.removeWidget(row)
        row.hide()
        row.deleteLater()

    def _says(self) -> list[Any]:
        assert self.spec.item is not None
        item = self.spec.item
        return [_read(item, row.line.text()) for row in self.rows if row.line.text().strip()]

    def _tell(self) -> None:
        self.tell(self._says() or REMOVED)


def _read(item: FieldSpec, text: str) -> Any:
    """What is not yet YAML is text for now."""
    try:
        return meant_by(item, text)
    except ProfileError:
        return text


def _tab_before(row: QWidget, add: QWidget) -> None:
    before = add.previousInFocusChain()
    if before is not None:
        QWidget.setTabOrder(chain(before, row), add)


class _Row(QWidget):
    def __init__(self, remove: str, *before: QWidget) -> None:
        super().__init__()
        self.line = Line()
        self.remove = QToolButton()
        self.remove.setText("✕")
        self.remove.setAutoRaise(True)
        self.remove.setAccessibleName(remove)
        self.remove.setToolTip(remove)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (*before, self.line, self.remove):
            layout.addWidget(widget, 0 if widget is self.remove else 1)


class _Pair(_Row):
    def __init__(self, remove: str) -> None:
        self.key = Line()
        self.key.setPlaceholderText(tr("name"))
        self.key.setAccessibleName(tr("Name"))
        super().__init__(remove, self.key)
        self.line.setPlaceholderText(tr("value"))
        self.line.setAccessibleName(tr("Value"))


class PairsEditor(Editor):
    """Names with their values, such as headers; a pair without a name is none."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self.add = button(tr("Add"), self._add)
        self.add.setAccessibleName(tr("Add to {what}").format(what=label_of(spec.key)))
        line = QHBoxLayout()
        line.addWidget(self.add)
        line.addStretch(1)
        self._layout.addLayout(line)
        self.setFocusProxy(self.add)
        self.pairs: list[_Pair] = []

    def show_value(self, value: Any) -> None:
        held = value if isinstance(value, dict) else {}
        if self._says() == held:
            return
        while len(self.pairs) > len(held):
            self._drop(self.pairs[-1])
        for at, (key, one) in enumerate(held.items()):
            pair = self.pairs[at] if at < len(self.pairs) else self._new_pair()
            pair.key.setText(key)
            pair.line.setText(text_of(one))

    def _add(self) -> None:
        self._new_pair().key.setFocus()

    def _new_pair(self) -> _Pair:
        pair = _Pair(tr("Remove this pair"))
        for line in (pair.key, pair.line):
            line.textEdited.connect(self._tell)
        pair.remove.clicked.connect(lambda: self._remove(pair))
        self.pairs.append(pair)
        self._layout.insertWidget(len(self.pairs) - 1, pair)
        _tab_before(pair, self.add)
        return pair

    def _remove(self, pair: _Pair) -> None:
        self._drop(pair)
        self._tell()
        self.add.setFocus()

    def _drop(self, pair: _Pair) -> None:
        self.pairs.remove(pair)
        self._layout.removeWidget(pair)
        pair.hide()
        pair.deleteLater()

    def _says(self) -> dict[str, Any]:
        assert self.spec.item is not None
        item, named = self.spec.item, [pair for pair in self.pairs if pair.key.text().strip()]
        read = {pair.key.text().strip(): _read(item, pair.line.text()) for pair in named}
        return {key: "" if value is REMOVED else value for key, value in read.items()}

    def _tell(self) -> None:
        self.tell(self._says() or REMOVED)
