"""Fields for numbers and choices that a passing mouse wheel does not change."""

from __future__ import annotations

import math

from PySide6.QtCore import QLocale, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QSlider, QSpinBox, QWidget

_STEPS = 1000


class NumberField(QDoubleSpinBox):
    """Says what is typed when it is finished, with no more digits than there are."""

    def __init__(self, low: float, high: float, decimals: int, suffix: str = "") -> None:
        super().__init__()
        self.setLocale(QLocale.c())
        self.setDecimals(decimals)
        self.setRange(low, high)
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
        """Tells nobody, and leaves alone what is being typed."""
        if math.isclose(value, self.value(), rel_tol=1e-12) or (self.hasFocus() and self.lineEdit().isModified()):
            return
        blocked = self.blockSignals(True)
        self.setValue(value)
        self.blockSignals(blocked)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class CountField(QSpinBox):
    def __init__(self, low: int, high: int, prefix: str = "") -> None:
        super().__init__()
        self.setRange(low, high)
        self.setPrefix(prefix)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ChoiceField(QComboBox):
    """Each choice has a value and words."""

    def __init__(self, choices: tuple[tuple[object, str], ...] = ()) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        for value, words in choices:
            self.addItem(words, value)

    def show_value(self, value: object) -> None:
        blocked = self.blockSignals(True)
        self.setCurrentIndex(self.findData(value))
        self.blockSignals(blocked)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class LogSlider(QSlider):
    """From `low` to `high`, each step by the same factor. `moved` comes while it is dragged too."""

    moved = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.low, self.high = 1.0, 1000.0
        self.setRange(0, _STEPS)
        self.setSingleStep(5)
        self.setPageStep(50)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.valueChanged.connect(self._tell)

    def set_ends(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def amount(self) -> float:
        """With three significant digits."""
        return float(f"{self.low * (self.high / self.low) ** (self.value() / _STEPS):.3g}")

    def show_amount(self, amount: float) -> None:
        place = _STEPS * math.log(max(amount, 1e-12) / self.low) / math.log(self.high / self.low)
        blocked = self.blockSignals(True)
        self.setValue(round(min(max(place, 0), _STEPS)))
        self.blockSignals(blocked)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def _tell(self, _: int) -> None:
        self.moved.emit(self.amount())
