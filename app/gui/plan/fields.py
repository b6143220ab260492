"""Number and choice fields. A field ignores the mouse wheel unless the field has the keyboard
focus."""

from __future__ import annotations

import math

from PySide6.QtCore import QLocale, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QDoubleSpinBox, QFormLayout, QSlider, QSpinBox, QWidget

from app.gui.widgets import WheelSafeComboBox, handles_wheel, label

_SLIDER_STEPS = 1000
_MIN_CHARACTERS = 8


class NumberField(QDoubleSpinBox):
    """Number field without trailing zeros, which emits its value when the user has finished
    editing."""

    def __init__(self, minimum: float, maximum: float, decimals: int, suffix: str = "") -> None:
        super().__init__()
        self.setLocale(QLocale.c())
        self.setDecimals(decimals)
        self.setRange(minimum, maximum)
        self.setSuffix(suffix)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:
        text = f"{value:,.{self.decimals()}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def valueFromText(self, text: str) -> float:
        return float(super().valueFromText(text.replace(",", "")))

    def show_value(self, value: float) -> None:
        """Set the value without emitting a signal, unless the user is typing."""
        if math.isclose(value, self.value(), rel_tol=1e-12) or (self.hasFocus() and self.lineEdit().isModified()):
            return
        with QSignalBlocker(self):
            self.setValue(value)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if handles_wheel(self, event):
            super().wheelEvent(event)


class CountField(QSpinBox):
    def __init__(self, minimum: int, maximum: int, prefix: str = "") -> None:
        super().__init__()
        self.setRange(minimum, maximum)
        self.setPrefix(prefix)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def show_value(self, value: float) -> None:
        """Set the value without emitting a signal."""
        with QSignalBlocker(self):
            self.setValue(round(value))

    def wheelEvent(self, event: QWheelEvent) -> None:
        if handles_wheel(self, event):
            super().wheelEvent(event)


class ChoiceField(WheelSafeComboBox):
    """Combo box with choices. Each choice has a value and a label."""

    def __init__(self, choices: tuple[tuple[object, str], ...] = ()) -> None:
        super().__init__(_MIN_CHARACTERS)
        for value, text in choices:
            self.addItem(text, value)

    def show_value(self, value: object) -> None:
        with QSignalBlocker(self):
            self.setCurrentIndex(self.findData(value))


def add_field(form: QFormLayout, title: str, field: QWidget) -> None:
    """Add a field to a form. `title` contains `&` before the mnemonic, which moves the focus to the field."""
    field.setAccessibleName(title.replace("&", ""))
    form.addRow(label(title, buddy=field), field)


class LogSlider(QSlider):
    """Slider with a logarithmic scale from `low` to `high`. `moved` is also emitted while the user
    drags the slider."""

    moved = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.low, self.high = 1.0, 1000.0
        self.setRange(0, _SLIDER_STEPS)
        self.setSingleStep(5)
        self.setPageStep(50)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.valueChanged.connect(self._emit_amount)

    def set_bounds(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def amount(self) -> float:
        """Return the value of the slider, rounded to three significant digits."""
        return float(f"{self.low * (self.high / self.low) ** (self.value() / _SLIDER_STEPS):.3g}")

    def show_amount(self, amount: float) -> None:
        position = _SLIDER_STEPS * math.log(max(amount, 1e-12) / self.low) / math.log(self.high / self.low)
        with QSignalBlocker(self):
            self.setValue(round(min(max(position, 0), _SLIDER_STEPS)))

    def wheelEvent(self, event: QWheelEvent) -> None:
        if handles_wheel(self, event):
            super().wheelEvent(event)

    def _emit_amount(self, _: int) -> None:
        self.moved.emit(self.amount())
