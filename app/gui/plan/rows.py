"""Input rows of the Plan page: a label, a field with its unit, and a reset button if the value has
been edited."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.gui.plan.fields import ChoiceField, CountField, NumberField
from app.gui.plan.presenter import new_stroke
from app.gui.plan.state import Change, Edits
from app.gui.widgets import hbox, label, tool_button, vbox
from app.profiles.fields import profile_fields
from app.records.planning_inputs import PlanningInputs


class InputRow(QWidget):
    """Input row for one profile key, with the help text of the key. `change_requested` is emitted
    with a Change."""

    change_requested = Signal(object)

    def __init__(self, key: str, name: str) -> None:
        super().__init__()
        self.key, self.name = key, name.replace("&", "")
        self._label = label(name, wrap=True)
        self._edited = label("", "muted")
        tooltip = f"Reset {self.name}"
        self._back = tool_button("↺", tooltip, tip=tooltip, flat=True)
        self._back.clicked.connect(self._reset)
        self.help_text = _help_of(key)
        self.setToolTip(self.help_text)
        self._head = hbox((self._label, 1), self._edited, self._back)
        self.column = vbox(self._head, within=self, spacing=2)
        self._mark(False)

    def set_field(self, field: QWidget, *, is_beside: bool = False) -> None:
        """Place the field below the label, or beside it if `is_beside`. The label's mnemonic
        focuses the field."""
        self._label.setBuddy(field)
        field.setAccessibleName(self.name)
        field.setAccessibleDescription(self.help_text)
        field.setToolTip(self.help_text)
        if is_beside:
            self._head.insertWidget(1, field, 1)
        else:
            self.column.addWidget(field)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:  # noqa: ARG002 - rows read it
        self._mark(any(edits.is_set(key) for key in self.keys()))

    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def _mark(self, is_edited: bool) -> None:
        self._edited.setText("edited" if is_edited else "")
        self._edited.setVisible(is_edited)
        self._back.setVisible(is_edited)

    def _reset(self) -> None:
        title = f"Reset {self.name}"
        self.change_requested.emit(Change(title, tuple((key, None) for key in self.keys())))


class NumberRow(InputRow):
    """Input row for a number. `write` formats the number in the format of `--set`."""

    def __init__(
        self,
        key: str,
        name: str,
        field: NumberField | CountField,
        read: Callable[[PlanningInputs], float],
        write: Callable[[float], str],
    ) -> None:
        super().__init__(key, name)
        self.field, self._read, self._write = field, read, write
        self._stroke = new_stroke()
        self.set_field(field, is_beside=True)
        field.valueChanged.connect(self._request)
        field.editingFinished.connect(self._end_stroke)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        self.field.show_value(self._read(plan_inputs))

    def _request(self, value: float) -> None:
        text = self._write(value)
        title = f"{self.name} {self.field.text()}"
        self.change_requested.emit(Change(title, ((self.key, text),), stroke=self._stroke))

    def _end_stroke(self) -> None:
        self._stroke = new_stroke()


class ChoiceRow(InputRow):
    """Input row for a choice. Each choice has a value in the format of `--set`."""

    def __init__(
        self,
        key: str,
        name: str,
        choices: tuple[tuple[object, str], ...],
        read: Callable[[PlanningInputs], object],
    ) -> None:
        super().__init__(key, name)
        self.field, self._read = ChoiceField(choices), read
        self.set_field(self.field, is_beside=True)
        self.field.activated.connect(self._request)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        self.field.show_value(self._read(plan_inputs))

    def _request(self, _: int) -> None:
        title = f"{self.name} {self.field.currentText()}"
        self.change_requested.emit(Change(title, ((self.key, str(self.field.currentData())),)))


def _help_of(key: str) -> str:
    """Return the help text of a profile key, as shown in the profile form."""
    section, name = key.split(".")
    group = profile_fields("http").find_field(section)
    field = None if group is None else group.find_field(name)
    assert field is not None, f"{key} is a key of a profile"
    return field.help
