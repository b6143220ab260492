"""Cycles of Python's objects are collected in the window's thread alone.

Python collects in whichever thread happens to allocate; a widget or a timer that ends in another thread than its own
leaves a dangling pointer in Qt's event loop, and the process is gone a moment later.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

_LOOK_MS = 1_000
_OLDEST = 2
_GROWTH = 4
"""A quarter more, as Python has it: to look through all that a window with its libraries holds takes an eighth of a
second."""


class Collecting(QObject):
    """From now on until `end`. As often as Python would, looked at once a second."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._was_enabled = gc.isenabled()
        self._kept, self._aged = 0, 0
        """What the last full collection left, and what has grown old since then."""
        gc.disable()
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._timer.start()

    def look(self) -> int | None:
        """The oldest generation that was due and is collected; None where none was."""
        due = [
            age
            for age, (count, most) in enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True))
            if count > most > 0
        ]
        if not due:
            return None
        age = due[-1]
        if age == _OLDEST and self._aged < self._kept / _GROWTH:
            age -= 1
        young = sum(len(gc.get_objects(each)) for each in range(_OLDEST)) if age else 0
        ended = gc.collect(age)
        if age == _OLDEST:
            self._kept, self._aged = len(gc.get_objects(_OLDEST)), 0
        elif age:
            self._aged += max(0, young - ended)
        return age

    def end(self) -> None:
        self._timer.stop()
        if self._was_enabled:
            gc.enable()
