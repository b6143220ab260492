"""Editor for a list of records with the same fields, such as stages. Records can be collapsed,
moved and removed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QToolButton, QWidget

from app.gui.formatting import shorten
from app.gui.forms.arrangement import display_name, initial_value, unique_name
from app.gui.forms.collapsible import CollapsibleSection
from app.gui.forms.editor import REMOVED, Edits
from app.gui.forms.row import INDENT, build_help_text, create_problem_label
from app.gui.theme import GAP
from app.gui.widgets import button, hbox, label, tool_button, vbox
from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec

_MAX_OPEN_RECORDS = 2
GroupFactory = Callable[[FieldSpec, KeyPath, Edits, int], Any]


class RecordsEditor(QWidget):
    """Editor for a list of records. `make_group` creates the editor of a record when the record is
    first expanded."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits, depth: int, make_group: GroupFactory) -> None:
        super().__init__()
        self.spec, self.path, self.edits, self._depth, self.make_group = spec, path, edits, depth, make_group
        self._values: list[Any] = []
        self.records: list[_Record] = []
        self.setToolTip(build_help_text(spec))
        self.problem_label = create_problem_label()
        self.add_button = button("Add", self._add)
        self.add_button.setAccessibleName(f"Add to {display_name(spec.key)}")
        self.add_button.setAccessibleDescription(build_help_text(spec))
        self._layout = vbox(within=self, spacing=GAP)
        self._empty_label = label("none", "muted")
        header = hbox(label(display_name(spec.key)), (self._empty_label, 1), self.add_button)
        self._layout.addLayout(header)
        self._layout.addWidget(self.problem_label)

    def show_value(self, value: Any) -> None:
        self._values = value if isinstance(value, list) else [] if value is REMOVED or value is None else [value]
        self._empty_label.setText("" if self._values else "none")
        while len(self.records) > len(self._values):
            self._discard_record(self.records.pop())
        for index, record_value in enumerate(self._values):
            if index == len(self.records):
                self._append_record(index)
            self.records[index].show_value(record_value, len(self._values))

    def find_part(self, path: KeyPath, is_opening: bool) -> Any:
        if not path or not isinstance(path[0], int) or path[0] >= len(self.records):
            return None
        record = self.records[path[0]]
        if is_opening:
            record.set_open()
        return (record.group().find_part(path[1:], is_opening) if record.is_open else None) or record

    def clear_problems(self) -> None:
        for record in self.records:
            record.set_problem("")
            if record.has_content:
                record.group().clear_problems()

    def set_problem(self, text: str) -> None:
        self.problem_label.setText(text)
        self.problem_label.setVisible(bool(text))

    def focus(self) -> None:
        self.add_button.setFocus()

    def set_values(self, values: list[Any]) -> None:
        self.edits.edited.emit(self.path, values or REMOVED)

    def values(self) -> list[Any]:
        return copy.deepcopy(self._values)

    def _append_record(self, index: int) -> None:
        record = _Record(self, index, self._depth)
        self.records.append(record)
        self._layout.addWidget(record)
        record.show_value(self._values[index], len(self._values))
        if len(self._values) <= _MAX_OPEN_RECORDS and ".".join(map(str, self.path)) not in self.edits.special_paths:
            record.set_open()

    def _discard_record(self, record: _Record) -> None:
        self._layout.removeWidget(record)
        record.hide()
        record.deleteLater()

    def _add(self) -> None:
        self.set_values([*self.values(), self._with_unused_name(initial_value(self.spec))])
        if self.records:
            self.records[-1].set_open()
            self.records[-1].focus()

    def duplicate_record(self, index: int) -> None:
        values = self.values()
        self.set_values(
            [*values[: index + 1], self._with_unused_name(copy.deepcopy(values[index])), *values[index + 1 :]]
        )

    def _with_unused_name(self, value: Any) -> Any:
        """Return a copy of the record `value` with a name that is not in use. A record without a
        name is returned unchanged."""
        if not isinstance(value, dict) or "name" not in value:
            return value
        used_names = {
            record["name"]
            for record in self._values
            if isinstance(record, dict) and isinstance(record.get("name"), str)
        }
        return {**value, "name": unique_name(str(value["name"]), used_names)}

    def move_record(self, index: int, target: int) -> None:
        values = self.values()
        values.insert(target, values.pop(index))
        self.set_values(values)

    def remove_record(self, index: int) -> None:
        values = self.values()
        del values[index]
        self.set_values(values)
        self.add_button.setFocus()


class _Record(CollapsibleSection):
    def __init__(self, records: RecordsEditor, index: int, depth: int) -> None:
        super().__init__("", self._make_group, indent=INDENT)
        self._records, self._index, self._depth = records, index, depth
        self._value: Any = {}
        self.up = self._add_tool_button("↑", "Move up", self._move_up)
        self.down = self._add_tool_button("↓", "Move down", self._move_down)
        self.copy = self._add_tool_button("+", "Duplicate", self._duplicate)
        self.remove_button = self._add_tool_button("✕", "Remove", self._remove)

    def show_value(self, value: Any, record_count: int) -> None:
        self._value = value
        name = value.get("name") if isinstance(value, dict) else None
        heading = f"{self._index + 1}  {name}" if name else f"{self._index + 1}"
        values = (
            [field_value for key, field_value in value.items() if key != "name"] if isinstance(value, dict) else [value]
        )
        summary = ", ".join(str(field_value) for field_value in values if isinstance(field_value, str | int | float))
        self.set_heading(heading, shorten(summary, 80))
        accessible_name = f"{display_name(self._records.spec.key)} {heading}"
        self.head.setAccessibleName(accessible_name)
        for tool in (self.up, self.down, self.copy, self.remove_button):
            tool.setAccessibleName(f"{tool.toolTip()}: {accessible_name}")
        self.up.setEnabled(self._index > 0)
        self.down.setEnabled(self._index < record_count - 1)
        if self.has_content:
            self.group().show_value(value)

    def group(self) -> Any:
        return self.content()

    def _make_group(self) -> QWidget:
        records = self._records
        assert records.spec.item is not None
        group = records.make_group(records.spec.item, (*records.path, self._index), records.edits, self._depth + 1)
        group.show_value(self._value)
        assert isinstance(group, QWidget)
        return group

    def _add_tool_button(self, symbol: str, tip: str, on_click: Callable[[], None]) -> QToolButton:
        tool = tool_button(symbol, tip=tip, flat=True)
        tool.clicked.connect(on_click)
        self.line.addWidget(tool)
        return tool

    def _move_up(self) -> None:
        self._records.move_record(self._index, self._index - 1)

    def _move_down(self) -> None:
        self._records.move_record(self._index, self._index + 1)

    def _duplicate(self) -> None:
        self._records.duplicate_record(self._index)

    def _remove(self) -> None:
        self._records.remove_record(self._index)
