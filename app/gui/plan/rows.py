"""Input rows of the Plan page. Each row has a label, a field with its unit, and a reset button if
the value has been edited."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.gui.plan.fields import ChoiceField, CountField, NumberField
from app.gui.plan.presenter import create_merge_id
from app.gui.plan.state import Change, Edits
from app.gui.theme import GAP_LINE
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
        self._edited_label = label("", "muted")
        tooltip = f"Reset {self.name}"
        self._reset_button = tool_button("↺", tooltip, tip=tooltip, flat=True)
        self._reset_button.clicked.connect(self._reset)
        self.help_text = _get_help_text(key)
        self.setToolTip(self.help_text)
        self._header = hbox((self._label, 1), self._edited_label, self._reset_button)
        self.column = vbox(self._header, within=self, spacing=GAP_LINE)
        self._set_edited(False)

    def set_field(self, field: QWidget, *, is_inline: bool = False) -> None:
        """Place the field below the label, or beside the label if `is_inline` is true. The label's
        mnemonic focuses the field."""
        self._label.setBuddy(field)
        field.setAccessibleName(self.name)
        field.setAccessibleDescription(self.help_text)
        field.setToolTip(self.help_text)
        if is_inline:
            self._header.insertWidget(1, field, 1)
        else:
            self.column.addWidget(field)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:  # noqa: ARG002 - rows read it
        self._set_edited(any(edits.is_set(key) for key in self.keys()))

    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def _set_edited(self, is_edited: bool) -> None:
        self._edited_label.setText("edited" if is_edited else "")
        self._edited_label.setVisible(is_edited)
        self._reset_button.setVisible(is_edited)

    def _reset(self) -> None:
        title = f"Reset {self.name}"
        self.change_requested.emit(Change(title, tuple((key, None) for key in self.keys())))


class NumberRow(InputRow):
    """Input row for a number. `format_value` formats the number as `--set` expects. If `is_for_models` is true, the row
    is shown only for the plan of a language model from its shape."""

    def __init__(
        self,
        key: str,
        name: str,
        field: NumberField | CountField,
        get_value: Callable[[PlanningInputs], float],
        format_value: Callable[[float], str],
        *,
        is_for_models: bool = False,
    ) -> None:
        super().__init__(key, name)
        self.field, self._get_value, self._format_value = field, get_value, format_value
        self._is_for_models = is_for_models
        self._merge_id = create_merge_id()
        self.set_field(field, is_inline=True)
        field.valueChanged.connect(self._request_change)
        field.editingFinished.connect(self._renew_merge_id)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        self.field.show_value(self._get_value(plan_inputs))
        self.setVisible(not self._is_for_models or plan_inputs.assumed_model is not None)

    def _request_change(self, value: float) -> None:
        value_text = self._format_value(value)
        title = f"{self.name} {self.field.text()}"
        self.change_requested.emit(Change(title, ((self.key, value_text),), merge_id=self._merge_id))

    def _renew_merge_id(self) -> None:
        self._merge_id = create_merge_id()


class ChoiceRow(InputRow):
    """Input row for a choice. Each choice is a pair of a value, as `--set` expects, and a label."""

    def __init__(
        self,
        key: str,
        name: str,
        choices: tuple[tuple[object, str], ...],
        get_value: Callable[[PlanningInputs], object],
    ) -> None:
        super().__init__(key, name)
        self.field, self._get_value = ChoiceField(choices), get_value
        self.set_field(self.field, is_inline=True)
        self.field.activated.connect(self._request_change)

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        self.field.show_value(self._get_value(plan_inputs))

    def _request_change(self, _: int) -> None:
        title = f"{self.name} {self.field.currentText()}"
        self.change_requested.emit(Change(title, ((self.key, str(self.field.currentData())),)))


def _get_help_text(key: str) -> str:
    """Return the help text of a profile key, as shown in the profile form."""
    section, name = key.split(".")
    section_field = profile_fields("http").find_field(section)
    field = None if section_field is None else section_field.find_field(name)
    assert field is not None, f"{key} is a key of a profile"
    return field.help
