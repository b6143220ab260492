"""What the first run, its profile and the first result need, imported while nobody waits for it."""

from __future__ import annotations

import importlib

from PySide6.QtCore import QObject, QTimer

_MODULES = (
    "pyqtgraph",
    "pyarrow",
    "pandas",
    "app.gui.live.body",
    "app.gui.live.run",
    "app.gui.results.content",
    "app.gui.run.page",
)
_AFTER_MS, _PAUSE_MS = 700, 150


class Warming(QObject):
    """One module at a time, in the window's thread, since Qt's objects are made in some of them."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._left = list(_MODULES)
        self._timer = QTimer(self, singleShot=True, interval=_AFTER_MS)
        self._timer.timeout.connect(self._import_next)
        self._timer.start()

    @property
    def is_busy(self) -> bool:
        return bool(self._left)

    def _import_next(self) -> None:
        importlib.import_module(self._left.pop(0))
        if self._left:
            self._timer.start(_PAUSE_MS)
