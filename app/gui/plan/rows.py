"""Rows of the Plan page's left side: a label, a field with its unit, and a way back where it was edited."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from app.gui.plan.presenter import new_stroke
from app.gui.plan.state import Change, Edits
from app.gui.plan.steppers import ChoiceField, CountField, NumberField
from app.gui.widgets import label
from app.records.plan_question import PlanQuestion


class Row(QWidget):
    """Of one key of the plan. `wanted` is a Change."""

    wanted = Signal(object)

    def __init__(self, key: str, name: str, help_text: str) -> None:
        super().__init__()
        self.key, self.name = key, name.replace("&", "")
        self._label = QLabel(name)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setWordWrap(True)
        self._edited = label("", "muted")
        self._back = QToolButton()
        self._back.setText("↺")
        self._back.setAutoRaise(True)
        self._back.setAccessibleName(f"Take {self.name} back to what it was")
        self._back.setToolTip(self._back.accessibleName())
        self._back.clicked.connect(self._take_back)
        self.setToolTip(help_text)
        self.help_text = help_text
        self._head = QHBoxLayout()
        self._head.setContentsMargins(0, 0, 0, 0)
        self._head.addWidget(self._label, 1)
        self._head.addWidget(self._edited)
        self._head.addWidget(self._back)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(2)
        self.column.addLayout(self._head)
        self._mark(False)

    def put(self, field: QWidget, *, beside: bool = False) -> None:
        """Under the label or beside it, whose mnemonic leads to it."""
        self._label.setBuddy(field)
        field.setAccessibleName(self.name)
        field.setAccessibleDescription(self.help_text)
        field.setToolTip(self.help_text)
        if beside:
            self._head.insertWidget(1, field, 1)
        else:
            self.column.addWidget(field)

    def show_question(self, question: PlanQuestion, edits: Edits) -> None:  # noqa: ARG002 - rows read it
        self._mark(any(edits.has(key) for key in self.keys()))

    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    def _mark(self, is_edited: bool) -> None:
        self._edited.setText("edited" if is_edited else "")
        self._edited.setVisible(is_edited)
        self._back.setVisible(is_edited)

    def _take_back(self) -> None:
        words = f"{self.name} taken back"
        self.wanted.emit(Change(words, tuple((key, None) for key in self.keys())))


class NumberRow(Row):
    """`write` gives the value as `--set` takes it."""

    def __init__(
        self,
        key: str,
        words: tuple[str, str],
        field: NumberField | CountField,
        read: Callable[[PlanQuestion], float],
        write: Callable[[float], str],
    ) -> None:
        super().__init__(key, *words)
        self.field, self._read, self._write = field, read, write
        self._stroke = new_stroke()
        self.put(field, beside=True)
        field.valueChanged.connect(self._want)
        field.editingFinished.connect(self._end_stroke)

    def show_question(self, question: PlanQuestion, edits: Edits) -> None:
        super().show_question(question, edits)
        self.field.show_value(self._read(question))

    def _want(self, value: float) -> None:
        text = self._write(value)
        words = f"{self.name} {self.field.text()}"
        self.wanted.emit(Change(words, ((self.key, text),), stroke=self._stroke))

    def _end_stroke(self) -> None:
        self._stroke = new_stroke()


class ChoiceRow(Row):
    """Choices are of the values that `--set` takes."""

    def __init__(
        self,
        key: str,
        words: tuple[str, str],
        choices: tuple[tuple[object, str], ...],
        read: Callable[[PlanQuestion], object],
    ) -> None:
        super().__init__(key, *words)
        self.field, self._read = ChoiceField(choices), read
        self.put(self.field, beside=True)
        self.field.activated.connect(self._want)

    def show_question(self, question: PlanQuestion, edits: Edits) -> None:
        super().show_question(question, edits)
        self.field.show_value(self._read(question))

    def _want(self, _: int) -> None:
        words = f"{self.name} {self.field.currentText()}"
        self.wanted.emit(Change(words, ((self.key, str(self.field.currentData())),)))
