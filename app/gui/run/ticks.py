"""Several of a few: one tick a value, and why one of them cannot be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QLayout, QVBoxLayout, QWidget

from app.gui.flow import flow_in
from app.gui.widgets import label, tip


class Tick(msgspec.Struct, frozen=True):
    """`text` may say more than the value; `against` is why it cannot be had here. `is_known` is False while that is
    still being looked at."""

    value: str
    text: str
    against: str | None = None
    is_known: bool = True


class Ticks(QWidget):
    """In lines as wide as there is room, or one under another with what is against each. `ticked` has all that are
    ticked, in the order of the options; the last tick cannot be taken away."""

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
        """What is said against each value that cannot be had."""
        return {one.value: one.against for one in self._options if one.against is not None}

    def _build(self, options: Sequence[Tick]) -> None:
        for widget in (*self.boxes.values(), *self._reasons.values()):
            self._layout.removeWidget(widget)
            widget.deleteLater()
        self._options, self.boxes, self._reasons = tuple(options), {}, {}
        for one in options:
            box = QCheckBox(one.text)
            box.setAccessibleName(f"{self._name}: {one.text}")
            box.setAccessibleDescription(one.against or "")
            box.setToolTip(tip(one.against or ""))
            box.clicked.connect(self._changed)
            self.boxes[one.value] = box
            self._layout.addWidget(box)
            if self._is_upright:
                said = label(self._said(one), "muted", wrap=True)
                said.setContentsMargins(26, 0, 0, 4)
                self._reasons[one.value] = said
                self._layout.addWidget(said)

    @staticmethod
    def _said(one: Tick) -> str:
        if not one.is_known:
            return "… being tried"
        return "✓ opens a session here" if one.against is None else f"✗ {one.against}"

    def _changed(self) -> None:
        chosen = [value for value, box in self.boxes.items() if box.isChecked()]
        if chosen:
            self.ticked.emit(chosen)
            return
        box = self.sender()
        if isinstance(box, QCheckBox):
            box.setChecked(True)
