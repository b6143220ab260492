"""Python's cyclic garbage collector, restricted to the GUI thread.

By default, Python collects garbage in any thread that allocates memory. If a widget or timer is
destroyed in a thread other than its own, a dangling pointer remains in Qt's event loop, and the
process soon crashes.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

_CHECK_INTERVAL_MS = 1_000
_OLDEST_GENERATION = 2
_GROWTH_DIVISOR = 4
"""Divisor of the heap size: a full collection waits until the heap has grown by 1/4, as in CPython,
because scanning all objects of a window and its libraries takes about 125 ms."""


class GuiThreadGc(QObject):
    """Garbage collector of the GUI thread, which replaces automatic collection until `stop` is
    called. The collection thresholds are checked once a second, so garbage is collected about as
    often as by CPython."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._was_enabled = gc.isenabled()
        self._surviving_count, self._promoted_count = 0, 0
        """Number of objects that survived the last full collection, and number of objects promoted
        to the oldest generation since that collection."""
        gc.disable()
        self._timer = QTimer(self, interval=_CHECK_INTERVAL_MS)
        self._timer.timeout.connect(self.collect_if_due)
        self._timer.start()

    def collect_if_due(self) -> int | None:
        """Collect the oldest generation whose threshold is exceeded. Return the index of this
        generation, or None if no collection is due."""
        due_generations = [
            oldest_due
            for oldest_due, (count, threshold) in enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True))
            if count > threshold > 0
        ]
        if not due_generations:
            return None
        oldest_due = due_generations[-1]
        if oldest_due == _OLDEST_GENERATION and self._promoted_count < self._surviving_count / _GROWTH_DIVISOR:
            oldest_due -= 1
        young_count = (
            sum(len(gc.get_objects(generation)) for generation in range(_OLDEST_GENERATION)) if oldest_due else 0
        )
        collected_count = gc.collect(oldest_due)
        if oldest_due == _OLDEST_GENERATION:
            self._surviving_count, self._promoted_count = len(gc.get_objects(_OLDEST_GENERATION)), 0
        elif oldest_due:
            self._promoted_count += max(0, young_count - collected_count)
        return oldest_due

    def stop(self) -> None:
        self._timer.stop()
        if self._was_enabled:
            gc.enable()
