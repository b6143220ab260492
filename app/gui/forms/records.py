"""A list of parts that all have the same fields, such as stages: each folds, moves, is copied and removed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QToolButton, QWidget

from app.gui.forms.arrangement import fresh_name, label_of, starter
from app.gui.forms.editor import REMOVED, Edits
from app.gui.forms.folding import Folding
from app.gui.forms.row import INDENT, help_of, problem_label
from app.gui.widgets import button, hbox, label, tool_button, vbox
from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec

_MOST_OPEN = 2
MakeGroup = Callable[[FieldSpec, KeyPath, Edits, int], Any]


class RecordsEditor(QWidget):
    """`make_group` gives the editor of one of them, when it is first opened."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits, depth: int, make_group: MakeGroup) -> None:
        super().__init__()
        self.spec, self.path, self.edits, self._depth, self.make_group = spec, path, edits, depth, make_group
        self._values: list[Any] = []
        self.records: list[_Record] = []
        self.setToolTip(help_of(spec))
        self.problem = problem_label()
        self.add = button("Add", self._add)
        self.add.setAccessibleName(f"Add to {label_of(spec.key)}")
        self.add.setAccessibleDescription(help_of(spec))
        self._layout = vbox(within=self, spacing=6)
        self._none = label("none", "muted")
        head = hbox(label(label_of(spec.key)), (self._none, 1), self.add)
        self._layout.addLayout(head)
        self._layout.addWidget(self.problem)

    def show_value(self, value: Any) -> None:
        self._values = value if isinstance(value, list) else [] if value is REMOVED or value is None else [value]
        self._none.setText("" if self._values else "none")
        while len(self.records) > len(self._values):
            self._take(self.records.pop())
        for at, one in enumerate(self._values):
            if at == len(self.records):
                self._append(at)
            self.records[at].show_value(one, len(self._values))

    def part_at(self, path: KeyPath, is_opening: bool) -> Any:
        if not path or not isinstance(path[0], int) or path[0] >= len(self.records):
            return None
        record = self.records[path[0]]
        if is_opening:
            record.open()
        return (record.group().part_at(path[1:], is_opening) if record.is_open else None) or record

    def forget_problems(self) -> None:
        for record in self.records:
            record.say_problem("")
            if record.is_made:
                record.group().forget_problems()

    def say_problem(self, text: str) -> None:
        self.problem.setText(text)
        self.problem.setVisible(bool(text))

    def focus(self) -> None:
        self.add.setFocus()

    def change(self, values: list[Any]) -> None:
        self.edits.edited.emit(self.path, values or REMOVED)

    def values(self) -> list[Any]:
        return copy.deepcopy(self._values)

    def _append(self, at: int) -> None:
        record = _Record(self, at, self._depth)
        self.records.append(record)
        self._layout.addWidget(record)
        record.show_value(self._values[at], len(self._values))
        if len(self._values) <= _MOST_OPEN and ".".join(map(str, self.path)) not in self.edits.special:
            record.open()

    def _take(self, record: _Record) -> None:
        self._layout.removeWidget(record)
        record.hide()
        record.deleteLater()

    def _add(self) -> None:
        self.change([*self.values(), self._named(starter(self.spec))])
        if self.records:
            self.records[-1].open()
            self.records[-1].focus()

    def copy_of(self, at: int) -> None:
        values = self.values()
        self.change([*values[: at + 1], self._named(copy.deepcopy(values[at])), *values[at + 1 :]])

    def _named(self, value: Any) -> Any:
        """With a name that none of the others has."""
        if not isinstance(value, dict) or "name" not in value:
            return value
        taken = {one["name"] for one in self._values if isinstance(one, dict) and isinstance(one.get("name"), str)}
        return {**value, "name": fresh_name(str(value["name"]), taken)}

    def move_record(self, at: int, to: int) -> None:
        values = self.values()
        values.insert(to, values.pop(at))
        self.change(values)

    def remove_record(self, at: int) -> None:
        values = self.values()
        del values[at]
        self.change(values)
        self.add.setFocus()


class _Record(Folding):
    def __init__(self, records: RecordsEditor, at: int, depth: int) -> None:
        super().__init__("", self._make_group, indent=INDENT)
        self._records, self._at, self._depth = records, at, depth
        self._value: Any = {}
        self.up = self._tool("↑", "Move up", self._up)
        self.down = self._tool("↓", "Move down", self._down)
        self.copy = self._tool("+", "Add a copy", self._copy)
        self.drop = self._tool("✕", "Remove", self._drop)

    def show_value(self, value: Any, count: int) -> None:
        self._value = value
        name = value.get("name") if isinstance(value, dict) else None
        heading = f"{self._at + 1}  {name}" if name else f"{self._at + 1}"
        told = [one for key, one in value.items() if key != "name"] if isinstance(value, dict) else [value]
        said = ", ".join(str(one) for one in told if isinstance(one, str | int | float))
        self.say(heading, said[:80])
        what = f"{label_of(self._records.spec.key)} {heading}"
        self.head.setAccessibleName(what)
        for tool in (self.up, self.down, self.copy, self.drop):
            tool.setAccessibleName(f"{tool.toolTip()}: {what}")
        self.up.setEnabled(self._at > 0)
        self.down.setEnabled(self._at < count - 1)
        if self.is_made:
            self.group().show_value(value)

    def group(self) -> Any:
        return self.content()

    def _make_group(self) -> QWidget:
        records = self._records
        assert records.spec.item is not None
        made = records.make_group(records.spec.item, (*records.path, self._at), records.edits, self._depth + 1)
        made.show_value(self._value)
        assert isinstance(made, QWidget)
        return made

    def _tool(self, sign: str, what: str, act: Callable[[], None]) -> QToolButton:
        tool = tool_button(sign, tip=what, flat=True)
        tool.clicked.connect(act)
        self.line.addWidget(tool)
        return tool

    def _up(self) -> None:
        self._records.move_record(self._at, self._at - 1)

    def _down(self) -> None:
        self._records.move_record(self._at, self._at + 1)

    def _copy(self) -> None:
        self._records.copy_of(self._at)

    def _drop(self) -> None:
        self._records.remove_record(self._at)
