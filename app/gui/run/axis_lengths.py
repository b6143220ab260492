"""Input fields for the lengths of the dynamic axes of a model."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QSpinBox, QWidget

from app.gui.flow import set_flow_layout
from app.gui.formatting import shorten
from app.gui.theme import NO_MARGINS
from app.gui.widgets import clear, label

MAX_AXIS_LENGTH = 1_000_000


class AxisLengths(QWidget):
    """Form with one input field per dynamic axis, hidden if the model has no dynamic axes.
    `changed` is emitted with the set lengths by axis name."""

    changed = Signal(dict)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Lengths of dynamic axes")
        self._layout = set_flow_layout(self)
        self._layout.setContentsMargins(*NO_MARGINS)
        self.fields: dict[str, QSpinBox] = {}
        self.hide()

    def show_lengths(self, axis_names: tuple[str, ...], lengths: Mapping[str, int]) -> None:
        if axis_names != tuple(self.fields):
            self._build(axis_names)
        for name, field in self.fields.items():
            with QSignalBlocker(field):
                field.setValue(lengths.get(name, 0))
        self.setVisible(bool(axis_names))

    def _build(self, axis_names: tuple[str, ...]) -> None:
        clear(self._layout)
        self.fields = {}
        for name in axis_names:
            field = QSpinBox()
            field.setRange(0, MAX_AXIS_LENGTH)
            field.setSpecialValueText("not set")
            field.setAccessibleName(f"Length of axis {name}")
            field.setKeyboardTracking(False)
            field.valueChanged.connect(self._emit_lengths)
            self.fields[name] = field
            caption = label(f"Length of {shorten(name, 60)}", buddy=field)
            self._layout.addWidget(caption)
            self._layout.addWidget(field)

    def _emit_lengths(self) -> None:
        self.changed.emit({name: field.value() for name, field in self.fields.items() if field.value()})
