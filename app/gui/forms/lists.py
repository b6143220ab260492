"""Editors of several values: rows of text, numbers in a line, ticks of choices, pairs of a name and a value."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Generic, TypeVar

from PySide6.QtWidgets import QCheckBox, QGridLayout, QWidget

from app.errors import ProfileError
from app.gui.forms.arrangement import label_of
from app.gui.forms.editor import REMOVED, Editor, Edits
from app.gui.forms.folding import chain
from app.gui.forms.scalars import Line, example_text, meant_by, text_of
from app.gui.widgets import button, hbox, tool_button, vbox
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
        self.line.setPlaceholderText(default or example_text(spec.example))
        self.line.textEdited.connect(self._tell)
        self.setFocusProxy(self.line)
        hbox(self.line, within=self)

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


class _Row(QWidget):
    """`before` are lines that stand before its own."""

    def __init__(self, remove: str, *before: Line) -> None:
        super().__init__()
        self.line = Line()
        self.lines = (*before, self.line)
        self.remove = tool_button("✕", remove, tip=remove, flat=True)
        hbox(*((line, 1) for line in self.lines), self.remove, within=self, spacing=4)


class _Pair(_Row):
    def __init__(self, remove: str) -> None:
        self.key = Line()
        self.key.setPlaceholderText("name")
        self.key.setAccessibleName("Name")
        super().__init__(remove, self.key)
        self.line.setPlaceholderText("value")
        self.line.setAccessibleName("Value")


R = TypeVar("R", bound=_Row)


class _GrowingEditor(Editor, Generic[R]):
    """A row a value, as many as there are, and a button for one more."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self._layout = vbox(within=self, spacing=4)
        self.add = button("Add", self._add)
        self.add.setAccessibleName(f"Add to {label_of(spec.key)}")
        line = hbox(self.add, 1)
        self._layout.addLayout(line)
        self.setFocusProxy(self.add)
        self.rows: list[R] = []

    def says(self) -> Any:
        """The value that stands in the rows, empty where there is none."""
        raise NotImplementedError

    def make_row(self) -> R:
        raise NotImplementedError

    def rows_for(self, values: Sized) -> list[R]:
        """One for each."""
        while len(self.rows) > len(values):
            self._drop(self.rows[-1])
        while len(self.rows) < len(values):
            self._new_row()
        return self.rows

    def tell_edited(self) -> None:
        self.tell(self.says() or REMOVED)

    def _add(self) -> None:
        self._new_row().lines[0].setFocus()

    def _new_row(self) -> R:
        row = self.make_row()
        for line in row.lines:
            line.textEdited.connect(self.tell_edited)
        row.remove.clicked.connect(lambda: self._remove(row))
        self.rows.append(row)
        self._layout.insertWidget(len(self.rows) - 1, row)
        _tab_before(row, self.add)
        return row

    def _remove(self, row: R) -> None:
        self._drop(row)
        self.tell_edited()
        self.add.setFocus()

    def _drop(self, row: R) -> None:
        self.rows.remove(row)
        self._layout.removeWidget(row)
        row.hide()
        row.deleteLater()


class RowsEditor(_GrowingEditor[_Row]):
    """A text a row, such as objectives; rows left empty are none."""

    def show_value(self, value: Any) -> None:
        values = _as_list(value)
        if self.says() != values:
            for row, one in zip(self.rows_for(values), values, strict=True):
                row.line.setText(text_of(one))

    def says(self) -> list[Any]:
        assert self.spec.item is not None
        item = self.spec.item
        return [_read(item, row.line.text()) for row in self.rows if row.line.text().strip()]

    def make_row(self) -> _Row:
        row = _Row("Remove this row")
        what = f"{label_of(self.spec.key)} {len(self.rows) + 1}"
        row.line.setAccessibleName(what)
        row.line.setPlaceholderText(example_text(self.spec.example))
        return row


class PairsEditor(_GrowingEditor[_Pair]):
    """Names with their values, such as headers; a pair without a name is none."""

    def show_value(self, value: Any) -> None:
        held = value if isinstance(value, dict) else {}
        if self.says() != held:
            for pair, (key, one) in zip(self.rows_for(held), held.items(), strict=True):
                pair.key.setText(key)
                pair.line.setText(text_of(one))

    def says(self) -> dict[str, Any]:
        assert self.spec.item is not None
        item, named = self.spec.item, [pair for pair in self.rows if pair.key.text().strip()]
        read = {pair.key.text().strip(): _read(item, pair.line.text()) for pair in named}
        return {key: "" if value is REMOVED else value for key, value in read.items()}

    def make_row(self) -> _Pair:
        return _Pair("Remove this pair")


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
