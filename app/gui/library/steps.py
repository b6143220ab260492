"""Changes of the stored runs, one after the other in the background: no undo overtakes what it undoes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QObject

from app.gui.background import submit

Step = tuple[Callable[[], object], Callable[[object], object], Callable[[Exception], object]]


class Steps(QObject):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: deque[Step] = deque()
        self.is_busy = False

    def do(
        self,
        function: Callable[[], object],
        on_done: Callable[[object], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        self._waiting.append((function, on_done, on_error))
        if not self.is_busy:
            self._begin()

    def _begin(self) -> None:
        if not self._waiting:
            return
        function, on_done, on_error = self._waiting.popleft()
        self.is_busy = True

        def done(outcome: object) -> None:
            self.is_busy = False
            on_done(outcome)
            self._begin()

        def failed(error: Exception) -> None:
            self.is_busy = False
            on_error(error)
            self._begin()

        submit(self, function, done, failed)
