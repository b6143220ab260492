"""Group of check boxes, each with the reason if its option is not available."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QLayout, QVBoxLayout, QWidget

from app.gui.flow import flow_in
from app.gui.widgets import label, tip


class Tick(msgspec.Struct, frozen=True):
    """Option of a check box group. `text` is the label; `against` is the reason why the option is not available.
    `is_known` is `False` while availability is still being checked.
    """

    value: str
    text: str
    against: str | None = None
    is_known: bool = True


class Ticks(QWidget):
    """Check box group, in lines that wrap, or in a column with the reason below each box.

    `ticked` carries all selected values in the order of the options. The last selected value cannot be cleared.
    """

    ticked = Signal(list)

    def __init__(self, name: str, *, is_upright: bool = False) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._name, self._is_upright = name, is_upright
        self._layout: QLayout = QVBoxLayout(self) if is_upright else flow_in(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.boxes: dict[str, QCheckBox] = {}
        self._reasons: dict[str, QWidget] = {}
        self._options: tuple[Tick, ...] = ()

    def show_ticks(self, options: Sequence[Tick], chosen: Iterable[str]) -> None:
        ticked = set(chosen)
        if tuple(options) != self._options:
            self._build(options)
        for value, box in self.boxes.items():
            with QSignalBlocker(box):
                box.setChecked(value in ticked)

    def reasons(self) -> Mapping[str, str]:
        """Return the reason for each value that is not available."""
        return {option.value: option.against for option in self._options if option.against is not None}

    def _build(self, options: Sequence[Tick]) -> None:
        for widget in (*self.boxes.values(), *self._reasons.values()):
            self._layout.removeWidget(widget)
            widget.deleteLater()
        self._options, self.boxes, self._reasons = tuple(options), {}, {}
        for option in options:
            box = QCheckBox(option.text)
            box.setAccessibleName(f"{self._name}: {option.text}")
            box.setAccessibleDescription(option.against or "")
            box.setToolTip(tip(option.against or ""))
            box.clicked.connect(self._changed)
            self.boxes[option.value] = box
            self._layout.addWidget(box)
            if self._is_upright:
                reason = label(self._availability(option), "muted", wrap=True)
                reason.setContentsMargins(26, 0, 0, 4)
                self._reasons[option.value] = reason
                self._layout.addWidget(reason)

    @staticmethod
    def _availability(option: Tick) -> str:
        if not option.is_known:
            return "… being tried"
        return "✓ opens a session here" if option.against is None else f"✗ {option.against}"

    def _changed(self) -> None:
        chosen = [value for value, box in self.boxes.items() if box.isChecked()]
        if chosen:
            self.ticked.emit(chosen)
            return
        box = self.sender()
        if isinstance(box, QCheckBox):
            box.setChecked(True)
