"""Preloading of modules in the background, so that the first run and the first result do not wait
for imports."""

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
_DELAY_MS, _INTERVAL_MS = 700, 150


class ImportPreloader(QObject):
    """Preloader that imports modules one at a time, shortly after the window is shown. The imports
    run in the GUI thread, because some modules create Qt objects."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._pending_modules = list(_MODULES)
        self._timer = QTimer(self, singleShot=True, interval=_DELAY_MS)
        self._timer.timeout.connect(self._import_next)
        self._timer.start()

    @property
    def is_busy(self) -> bool:
        return bool(self._pending_modules)

    def _import_next(self) -> None:
        importlib.import_module(self._pending_modules.pop(0))
        if self._pending_modules:
            self._timer.start(_INTERVAL_MS)
