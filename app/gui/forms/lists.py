"""Editors for multiple values: text rows, numbers on one line, check boxes, and name-value
pairs."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Generic, TypeVar

from PySide6.QtWidgets import QCheckBox, QGridLayout, QWidget

from app.errors import ProfileError
from app.gui.forms.arrangement import display_name
from app.gui.forms.collapsible import chain_tab_order
from app.gui.forms.editor import REMOVED, Editor, Edits
from app.gui.forms.scalars import TextLine, format_example, format_value, parse_value
from app.gui.theme import GAP_TIGHT, NO_MARGINS
from app.gui.widgets import button, hbox, tool_button, vbox
from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec

_BOXES_PER_ROW = 3


def _as_list(value: Any) -> list[Any]:
    """Return the value as a list. A scalar becomes a list with one element, and an unset value an
    empty list."""
    if value is REMOVED or value is None:
        return []
    return value if isinstance(value, list) else [value]


class NumbersEditor(Editor):
    """Editor for short values separated by commas, such as 1, 4, 16."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.line = TextLine()
        default = ", ".join(format_value(item) for item in spec.default or ())
        self.line.setPlaceholderText(default or format_example(spec.example))
        self.line.textEdited.connect(self._emit_edited)
        self.focus_target = self.line
        hbox(self.line, within=self)

    def show_value(self, value: Any) -> None:
        if self._parsed_values() != _as_list(value):
            self.line.setText(", ".join(format_value(item) for item in _as_list(value)))

    def set_accessible_text(self, name: str, description: str) -> None:
        super().set_accessible_text(name, description)
        self.line.setAccessibleName(name)
        self.line.setAccessibleDescription(description)

    def _parsed_values(self) -> list[Any]:
        assert self.spec.item is not None
        texts = self.line.text().split(",")
        return [parse_value(self.spec.item, text.strip()) for text in texts if text.strip()]

    def _emit_edited(self) -> None:
        self.emit_edit(self._parsed_values() or REMOVED)


class CheckBoxesEditor(Editor):
    """Check boxes for a fixed set of choices. The order of the existing values is preserved."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        assert spec.item is not None
        self.check_boxes = {choice: QCheckBox(choice) for choice in spec.item.choices}
        layout = QGridLayout(self)
        layout.setContentsMargins(*NO_MARGINS)
        layout.setColumnStretch(_BOXES_PER_ROW, 1)
        for index, check_box in enumerate(self.check_boxes.values()):
            layout.addWidget(check_box, index // _BOXES_PER_ROW, index % _BOXES_PER_ROW)
            check_box.clicked.connect(self._emit_edited)
        self.focus_target = next(iter(self.check_boxes.values()))
        self._value: list[Any] = []

    def show_value(self, value: Any) -> None:
        self._value = _as_list(self.spec.default if value is REMOVED else value)
        for choice, check_box in self.check_boxes.items():
            check_box.setChecked(choice in self._value)

    def set_accessible_text(self, name: str, description: str) -> None:
        super().set_accessible_text(name, description)
        for choice, check_box in self.check_boxes.items():
            check_box.setAccessibleName(f"{name}: {choice}")
            check_box.setAccessibleDescription(description)

    def _emit_edited(self) -> None:
        checked_choices = [choice for choice, check_box in self.check_boxes.items() if check_box.isChecked()]
        ordered_choices = [item for item in self._value if item in checked_choices or item not in self.check_boxes]
        self.emit_edit(
            [*ordered_choices, *(item for item in checked_choices if item not in ordered_choices)] or REMOVED
        )


class _Row(QWidget):
    """Row of a list editor. `leading_lines` are additional input lines to the left of `line`."""

    def __init__(self, remove_text: str, *leading_lines: TextLine) -> None:
        super().__init__()
        self.line = TextLine()
        self.lines = (*leading_lines, self.line)
        self.remove = tool_button("✕", remove_text, tip=remove_text, flat=True)
        hbox(*((line, 1) for line in self.lines), self.remove, within=self, spacing=GAP_TIGHT)


class _Pair(_Row):
    def __init__(self, remove_text: str) -> None:
        self.key = TextLine()
        self.key.setPlaceholderText("name")
        self.key.setAccessibleName("Name")
        super().__init__(remove_text, self.key)
        self.line.setPlaceholderText("value")
        self.line.setAccessibleName("Value")


RowType = TypeVar("RowType", bound=_Row)


class _GrowingEditor(Editor, Generic[RowType]):
    """List editor with one row per value, and a button that adds a row."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self._layout = vbox(within=self, spacing=GAP_TIGHT)
        self.add = button("Add", self._add)
        self.add.setAccessibleName(f"Add to {display_name(spec.key)}")
        line = hbox(self.add, 1)
        self._layout.addLayout(line)
        self.focus_target = self.add
        self.rows: list[RowType] = []

    def parsed_value(self) -> Any:
        """Return the values of all rows; empty if there are no rows."""
        raise NotImplementedError

    def create_row(self) -> RowType:
        raise NotImplementedError

    def fit_rows(self, values: Sized) -> list[RowType]:
        """Add or remove rows so that there is one row for each value, and return the rows."""
        while len(self.rows) > len(values):
            self._delete_row(self.rows[-1])
        while len(self.rows) < len(values):
            self._append_row()
        return self.rows

    def emit_edited(self) -> None:
        self.emit_edit(self.parsed_value() or REMOVED)

    def _add(self) -> None:
        self._append_row().lines[0].setFocus()

    def _append_row(self) -> RowType:
        row = self.create_row()
        for line in row.lines:
            line.textEdited.connect(self.emit_edited)
        row.remove.clicked.connect(lambda: self._remove(row))
        self.rows.append(row)
        self._layout.insertWidget(len(self.rows) - 1, row)
        _insert_in_tab_order(row, self.add)
        return row

    def _remove(self, row: RowType) -> None:
        self._delete_row(row)
        self.emit_edited()
        self.add.setFocus()

    def _delete_row(self, row: RowType) -> None:
        self.rows.remove(row)
        self._layout.removeWidget(row)
        row.hide()
        row.deleteLater()


class RowsEditor(_GrowingEditor[_Row]):
    """List editor with a single text per row, such as objectives. Empty rows are ignored."""

    def show_value(self, value: Any) -> None:
        values = _as_list(value)
        if self.parsed_value() != values:
            for row, element in zip(self.fit_rows(values), values, strict=True):
                row.line.setText(format_value(element))

    def parsed_value(self) -> list[Any]:
        assert self.spec.item is not None
        item_spec = self.spec.item
        return [_try_parse(item_spec, row.line.text()) for row in self.rows if row.line.text().strip()]

    def create_row(self) -> _Row:
        row = _Row("Remove this row")
        name = f"{display_name(self.spec.key)} {len(self.rows) + 1}"
        row.line.setAccessibleName(name)
        row.line.setPlaceholderText(format_example(self.spec.example))
        return row


class PairsEditor(_GrowingEditor[_Pair]):
    """Editor for name-value pairs, such as headers. A pair without a name is ignored."""

    def show_value(self, value: Any) -> None:
        pairs = value if isinstance(value, dict) else {}
        if self.parsed_value() != pairs:
            for pair, (key, element) in zip(self.fit_rows(pairs), pairs.items(), strict=True):
                pair.key.setText(key)
                pair.line.setText(format_value(element))

    def parsed_value(self) -> dict[str, Any]:
        assert self.spec.item is not None
        item_spec, named_pairs = self.spec.item, [pair for pair in self.rows if pair.key.text().strip()]
        values_by_name = {pair.key.text().strip(): _try_parse(item_spec, pair.line.text()) for pair in named_pairs}
        return {key: "" if value is REMOVED else value for key, value in values_by_name.items()}

    def create_row(self) -> _Pair:
        return _Pair("Remove this pair")


def _try_parse(item_spec: FieldSpec, text: str) -> Any:
    """Parse a text as a value of `item_spec`. If the text is not valid, the text itself is
    returned."""
    try:
        return parse_value(item_spec, text)
    except ProfileError:
        return text


def _insert_in_tab_order(row: QWidget, add: QWidget) -> None:
    previous = add.previousInFocusChain()
    if previous is not None:
        QWidget.setTabOrder(chain_tab_order(previous, row), add)
