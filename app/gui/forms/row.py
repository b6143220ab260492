"""One field on the form: its name, its editor, its unit, a way back to the default, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QWidget

from app.gui.forms.arrangement import label_of
from app.gui.forms.editor import REMOVED, Editor
from app.gui.forms.scalars import Focus, same_value
from app.gui.widgets import hbox, label, restyle, tool_button, vbox
from app.profiles.fields import FieldSpec

_LABEL_LETTERS = "Calibration rows m"
_UNIT_LETTERS = "/s, /min, /h m"
_AROUND = 8
_WITH_UNIT = 70
INDENT = 18


def help_of(spec: FieldSpec) -> str:
    """What it is, its unit and bounds, and what it is when nothing is said."""
    parts = [spec.help] if spec.help else []
    if spec.unit:
        parts.append(f"Written with its unit: {spec.unit}.")
    if spec.bounds:
        parts.append(f"{spec.bounds[0].upper()}{spec.bounds[1:]}.")
    if spec.is_required:
        parts.append("It must be given.")
    return " ".join(parts)


class FieldRow(QWidget):
    """`depth` is how far it is indented: labels give way, so that editors stand in one column."""

    def __init__(self, editor: Editor, depth: int, called: str | None = None) -> None:
        super().__init__()
        self.editor, self.spec, self._depth = editor, editor.spec, depth
        called = called or label_of(self.spec.key)
        description = help_of(self.spec)
        self.setToolTip(description)
        editor.name(called, description)
        self.called = label(called, wrap=True, buddy=editor)
        self.unit = label(self.spec.unit, "muted", wrap=True)
        self.unit.setToolTip(description)
        self.reset = tool_button("↺", f"Back to the default of {called}", tip="Back to the default", flat=True)
        self.reset.clicked.connect(self._reset)
        self.problem = label("", "word", wrap=True)
        self.problem.hide()
        restyle(self.problem, "bad")
        self._lay_out()
        self._fit()
        Focus(editor)

    def _lay_out(self) -> None:
        line = hbox((self.called, 0, Qt.AlignmentFlag.AlignTop), spacing=8)
        beside = vbox(self.editor, self.problem, spacing=2)
        line.addLayout(beside, 1)
        line.addWidget(self.unit, 0, Qt.AlignmentFlag.AlignTop)
        policy = self.reset.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.reset.setSizePolicy(policy)
        line.addWidget(self.reset, 0, Qt.AlignmentFlag.AlignTop)
        vbox(line, within=self)

    def show_value(self, value: Any) -> None:
        self.editor.show_value(value)
        is_said = value is not REMOVED
        self.reset.setVisible(is_said and not self.spec.is_required)
        is_own = is_said and not same_value(value, self.spec.default)
        if self.called.font().bold() != is_own:
            font = self.called.font()
            font.setBold(is_own)
            self.called.setFont(font)

    def say_problem(self, text: str) -> None:
        self.problem.setText(text)
        self.problem.setVisible(bool(text))
        self.editor.setAccessibleDescription(text or help_of(self.spec))

    def focus(self) -> None:
        self.editor.focus()

    def _reset(self) -> None:
        self.editor.tell(REMOVED)

    def _fit(self) -> None:
        wide = self.fontMetrics().horizontalAdvance(_LABEL_LETTERS)
        self.called.setFixedWidth(max(wide - INDENT * self._depth, wide // 2))
        self.unit.setFixedWidth(self.fontMetrics().horizontalAdvance(_UNIT_LETTERS))
        for one in (self.called, self.unit):
            one.setMinimumHeight(self.fontMetrics().height() + _AROUND)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room the editor has it; the unit is in the help too."""
        super().resizeEvent(event)
        self.unit.setVisible(self.width() > _WITH_UNIT * self.fontMetrics().averageCharWidth())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()


def problem_label() -> QLabel:
    """For a part that has no row of its own."""
    made = label("", "word", wrap=True)
    restyle(made, "bad")
    made.hide()
    return made
