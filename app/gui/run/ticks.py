"""Several of a few: one tick a value, and why one of them cannot be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QLayout, QLayoutItem, QSizePolicy, QVBoxLayout, QWidget

from app.gui.widgets import label, tip
from app.gui.words import tr


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
        self._layout: QLayout = QVBoxLayout(self) if is_upright else FlowLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.boxes: dict[str, QCheckBox] = {}
        self._reasons: dict[str, QWidget] = {}
        self._options: tuple[Tick, ...] = ()

    def show_ticks(self, options: Sequence[Tick], chosen: Iterable[str]) -> None:
        ticked = set(chosen)
        if tuple(options) != self._options:
            self._build(options)
        for value, box in self.boxes.items():
            box.blockSignals(True)
            box.setChecked(value in ticked)
            box.blockSignals(False)

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
            return tr("… being tried")
        return tr("✓ opens a session here") if one.against is None else tr("✗ {why}").format(why=one.against)

    def _changed(self) -> None:
        chosen = [value for value, box in self.boxes.items() if box.isChecked()]
        if chosen:
            self.ticked.emit(chosen)
            return
        box = self.sender()
        if isinstance(box, QCheckBox):
            box.setChecked(True)


class FlowLayout(QLayout):
    """One after another, and on to the next line where there is no more room."""

    def __init__(self, parent: QWidget, spacing: int = 14) -> None:
        super().__init__(parent)
        self._items: list[QLayoutItem] = []
        policy = parent.sizePolicy()
        policy.setHeightForWidth(True)
        policy.setVerticalPolicy(QSizePolicy.Policy.Minimum)
        parent.setSizePolicy(policy)
        self.setSpacing(spacing)

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._arranged(QRect(0, 0, width, 0), is_real=False)

    def setGeometry(self, rect: QRect) -> None:
        super().setGeometry(rect)
        self._arranged(rect, is_real=True)

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def minimumSize(self) -> QSize:
        size = QSize()
        for item in self._items:
            size = size.expandedTo(item.minimumSize())
        return size

    def _arranged(self, rect: QRect, *, is_real: bool) -> int:
        x, y, line = rect.x(), rect.y(), 0
        for item in self._items:
            hint = item.sizeHint()
            if line and x + hint.width() > rect.right() + 1:
                x, y, line = rect.x(), y + line + 4, 0
            if is_real:
                item.setGeometry(QRect(x, y, hint.width(), hint.height()))
            x += hint.width() + self.spacing()
            line = max(line, hint.height())
        return y + line - rect.y()
