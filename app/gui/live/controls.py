"""What one can do to a run that goes on: note, and change the rate of an open stage."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLineEdit, QWidget

from app.gui.live.state import StageCell
from app.gui.widgets import button, label
from app.gui.words import tr
from app.records.control import HIGHEST_RATE_PER_S, NOTE_LENGTH


class RunControls(QWidget):
    """`noted`: Enter in the field of notes."""

    noted = Signal(str)
    rate_wanted = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.note = QLineEdit()
        self.note.setMaxLength(NOTE_LENGTH)
        self.note.setPlaceholderText(tr("What happens now, and Enter"))
        self.note.setAccessibleName(tr("Note at this moment"))
        self.note.returnPressed.connect(self._note)
        self.rate = QDoubleSpinBox()
        self.rate.setRange(0.01, HIGHEST_RATE_PER_S)
        self.rate.setDecimals(2)
        self.rate.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.rate.setSuffix(tr(" /s"))
        self.rate.setAccessibleName(tr("Rate of the running stage, requests a second"))
        self.change = button(tr("Change &rate"), self._change_rate)
        self._stage: int | None = None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        note = label(tr("&Note"), "muted")
        note.setBuddy(self.note)
        for widget, stretch in ((note, 0), (self.note, 1), (self.rate, 0), (self.change, 0)):
            row.addWidget(widget, stretch)

    def show_stage(self, stage: StageCell | None) -> None:
        """The rate is offered where it may be changed; a rate that is being typed stays."""
        can_change = stage is not None and stage.can_change
        self.rate.setEnabled(can_change)
        self.change.setEnabled(can_change)
        self.change.setToolTip("" if can_change else tr("The running stage has no rate of its own to change."))
        if stage is not None and stage.index != self._stage:
            self._stage = stage.index
            if stage.rate_per_s is not None:
                self.rate.setValue(stage.rate_per_s)

    def focus_note(self) -> None:
        self.note.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _note(self) -> None:
        text = self.note.text().strip()
        if text:
            self.noted.emit(text)
            self.note.clear()

    def _change_rate(self) -> None:
        self.rate_wanted.emit(self.rate.value())
