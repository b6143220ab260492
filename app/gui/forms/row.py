"""Form row of a single field: label, editor, unit, reset button and validation error."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QWidget

from app.gui.forms.arrangement import display_name
from app.gui.forms.editor import REMOVED, Editor
from app.gui.forms.scalars import FocusReporter, is_same_value
from app.gui.theme import GAP, GAP_LINE
from app.gui.widgets import hbox, label, restyle, tool_button, vbox
from app.profiles.fields import FieldSpec

_LABEL_SAMPLE_TEXT = "Calibration rows m"
_UNIT_SAMPLE_TEXT = "/s, /min, /h m"
_PADDING = 8
_MIN_CHARACTERS_WITH_UNIT = 70
INDENT = 18


def build_help_text(spec: FieldSpec) -> str:
    """Return the help text of a field with the unit and the bounds, and whether the field is
    required."""
    parts = [spec.help] if spec.help else []
    if spec.unit:
        parts.append(f"Enter a value with its unit: {spec.unit}.")
    if spec.bounds:
        parts.append(f"The value must be {spec.bounds}.")
    if spec.is_required:
        parts.append("This field is required.")
    return " ".join(parts)


class FieldRow(QWidget):
    """Form row of a single field. `depth` is the indentation level; the labels of indented rows are
    narrower, so that all editors are aligned."""

    def __init__(self, editor: Editor, depth: int, name: str | None = None) -> None:
        super().__init__()
        self.editor, self.spec, self._depth = editor, editor.spec, depth
        name = name or display_name(self.spec.key)
        description = build_help_text(self.spec)
        self.setToolTip(description)
        editor.set_accessible_text(name, description)
        self.name_label = label(name, wrap=True, buddy=editor.focus_target)
        self.unit_label = label(self.spec.unit, "muted", wrap=True)
        self.unit_label.setToolTip(description)
        self.reset_button = tool_button("↺", f"Reset {name} to default", tip="Reset to default", flat=True)
        self.reset_button.clicked.connect(self._reset)
        self.problem_label = label("", "word", wrap=True)
        self.problem_label.hide()
        restyle(self.problem_label, "bad")
        self._lay_out()
        self._fit_labels()
        FocusReporter(editor)

    def _lay_out(self) -> None:
        line = hbox((self.name_label, 0, Qt.AlignmentFlag.AlignTop), spacing=GAP)
        column = vbox(self.editor, self.problem_label, spacing=GAP_LINE)
        line.addLayout(column, 1)
        line.addWidget(self.unit_label, 0, Qt.AlignmentFlag.AlignTop)
        policy = self.reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.reset_button.setSizePolicy(policy)
        line.addWidget(self.reset_button, 0, Qt.AlignmentFlag.AlignTop)
        vbox(line, within=self)

    def show_value(self, value: Any) -> None:
        self.editor.show_value(value)
        is_set = value is not REMOVED
        self.reset_button.setVisible(is_set and not self.spec.is_required)
        role = "strong" if is_set and not is_same_value(value, self.spec.default) else ""
        if (self.name_label.property("role") or "") != role:  # a bold font would not outlast a switch of the theme
            self.name_label.setProperty("role", role)
            self.name_label.style().unpolish(self.name_label)
            self.name_label.style().polish(self.name_label)

    def set_problem(self, text: str) -> None:
        self.problem_label.setText(text)
        self.problem_label.setVisible(bool(text))
        self.editor.setAccessibleDescription(text or build_help_text(self.spec))

    def focus(self) -> None:
        self.editor.focus()

    def _reset(self) -> None:
        self.editor.emit_edit(REMOVED)

    def _fit_labels(self) -> None:
        width = self.fontMetrics().horizontalAdvance(_LABEL_SAMPLE_TEXT)
        self.name_label.setFixedWidth(max(width - INDENT * self._depth, width // 2))
        self.unit_label.setFixedWidth(self.fontMetrics().horizontalAdvance(_UNIT_SAMPLE_TEXT))
        for widget in (self.name_label, self.unit_label):
            widget.setMinimumHeight(self.fontMetrics().height() + _PADDING)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Hide the unit if there is little space. The help text also contains the unit."""
        super().resizeEvent(event)
        self.unit_label.setVisible(self.width() > _MIN_CHARACTERS_WITH_UNIT * self.fontMetrics().averageCharWidth())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_labels()


def create_problem_label() -> QLabel:
    """Create a hidden label for the validation error of a section or of a list of records."""
    result = label("", "word", wrap=True)
    restyle(result, "bad")
    result.hide()
    return result
