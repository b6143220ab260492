"""Controls of a run in progress: add a note, change the rate of an open-loop stage, or extend a
stage."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDoubleSpinBox, QLineEdit, QWidget

from app.gui.flow import set_flow_layout
from app.gui.live.state import StageCell
from app.gui.widgets import button, hbox, label, tool_tip_text
from app.records.control import MAX_EXTENSION_S, MAX_NOTE_LENGTH, MAX_RATE_PER_S

_DEFAULT_EXTENSION_S = 30.0
_MIN_NOTE_CHARACTERS = 28


class RunControls(QWidget):
    """Controls below the live charts. `note_entered` is emitted with a note when the user presses
    Enter."""

    note_entered = Signal(str)
    rate_change_requested = Signal(float)
    extension_requested = Signal(float)
    """Signal that is emitted with the number of seconds by which the running stage is to be
    extended."""

    def __init__(self) -> None:
        super().__init__()
        self.note = QLineEdit()
        self.note.setMaxLength(MAX_NOTE_LENGTH)
        self.note.setPlaceholderText("Type a note and press Enter")
        self.note.setAccessibleName("Note")
        self.note.returnPressed.connect(self._emit_note)
        self.rate = QDoubleSpinBox()
        self.rate.setRange(0.01, MAX_RATE_PER_S)
        self.rate.setDecimals(2)
        self.rate.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.rate.setSuffix(" req/s")
        self.rate.setAccessibleName("Rate of the running stage in req/s")
        self.change_rate_button = button("Change &rate", self._emit_rate)
        self.extension = QDoubleSpinBox()
        self.extension.setRange(1.0, MAX_EXTENSION_S)
        self.extension.setDecimals(0)
        self.extension.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.extension.setValue(_DEFAULT_EXTENSION_S)
        self.extension.setSuffix(" s")
        self.extension.setAccessibleName("Extension of the running stage in seconds")
        self.extend_button = button("E&xtend", self._emit_extension)
        self.copy_button = button("Cop&y", self._copy)
        self.copy_button.setAccessibleName("Copy the command that extends the running stage")
        for field in (self.rate, self.extension):
            field.valueChanged.connect(self._update_tool_tips)
        self._stage_index: int | None = None
        self._running_stage: StageCell | None = None
        self._run_name = ""
        note = label("&Note", "muted", buddy=self.note)
        flow_layout = set_flow_layout(self)
        self._load_controls = [
            _group_widgets((self.rate, self.change_rate_button)),
            _group_widgets((self.extension, self.extend_button, self.copy_button)),
        ]
        for group in (_group_widgets((note, self.note)), *self._load_controls):
            flow_layout.addWidget(group)
        self._fit_note()
        self.show_stage(None)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_note()

    def _fit_note(self) -> None:
        self.note.setMinimumWidth(self.fontMetrics().horizontalAdvance("x" * _MIN_NOTE_CHARACTERS))

    def show_run(self, name: str) -> None:
        """Set the name of the run, which is part of the displayed command lines."""
        self._run_name = name
        self._update_tool_tips()

    def set_local(self, is_local: bool) -> None:
        """Hide the controls of the load for a local model, whose stages cannot be changed."""
        for group in self._load_controls:
            group.setVisible(not is_local)

    def show_stage(self, stage: StageCell | None) -> None:
        """Enable the controls that the running stage supports. A rate that the user is typing is
        not overwritten."""
        self._running_stage = stage
        for widget in (self.rate, self.change_rate_button):
            widget.setEnabled(stage is not None and stage.can_change_rate)
        for widget in (self.extension, self.extend_button, self.copy_button):
            widget.setEnabled(stage is not None and stage.can_extend)
        self._update_tool_tips()
        if stage is not None and stage.index != self._stage_index:
            self._stage_index = stage.index
            if stage.rate_per_s is not None:
                self.rate.setValue(stage.rate_per_s)

    def command(self) -> str:
        """Return the command line that extends the stage by the entered duration."""
        return f"sizewise runs extend {shlex.quote(self._run_name)} {self.extension.value():g}s"

    def _update_tool_tips(self) -> None:
        stage = self._running_stage
        command_template, rate = "Command: {line}", f"{self.rate.value():g}/s"
        change_tool_tip = command_template.format(line=f"sizewise runs rate {shlex.quote(self._run_name)} {rate}")
        if stage is None or not stage.can_change_rate:
            change_tool_tip = "The rate of the running stage cannot be changed."
        extend_tool_tip = command_template.format(line=self.command())
        if stage is None or not stage.can_extend:
            extend_tool_tip = "Only a stage with a constant rate or fixed concurrency can be extended."
        self.change_rate_button.setToolTip(tool_tip_text(change_tool_tip))
        for widget in (self.extend_button, self.copy_button):
            widget.setToolTip(tool_tip_text(extend_tool_tip))

    def focus_note(self) -> None:
        self.note.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _emit_note(self) -> None:
        text = self.note.text().strip()
        if text:
            self.note_entered.emit(text)
            self.note.clear()

    def _emit_rate(self) -> None:
        self.rate_change_requested.emit(self.rate.value())

    def _emit_extension(self) -> None:
        self.extension_requested.emit(self.extension.value())

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.command())


def _group_widgets(widgets: Sequence[QWidget]) -> QWidget:
    """Group widgets that must stay on the same line."""
    group = QWidget()
    hbox(*widgets, within=group)
    return group
