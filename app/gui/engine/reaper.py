"""Polling of child processes that are no longer watched, so that no zombies remain."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer

from app.gui.engine.launch import EngineProcess
from app.gui.engine.watch import EngineWatch

_POLL_MS = 1_000


class Reaper(QObject):
    """Timer that polls child processes until they have ended. A child process that is never polled
    would stay a zombie and appear to be running."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._engines: list[EngineProcess] = []
        self._timer = QTimer(self, interval=_POLL_MS)
        self._timer.timeout.connect(self._poll)

    def adopt_watch(self, watch: EngineWatch) -> None:
        """Stop and delete an `EngineWatch`. If the watched process is still running, the reaper
        polls the process from now on."""
        watch.stop()
        if watch.engine is not None and watch.engine.poll() is None:
            self.add(watch.engine)
        watch.deleteLater()

    def add(self, engine: EngineProcess) -> None:
        self._engines.append(engine)
        self._timer.start()

    def __len__(self) -> int:
        return len(self._engines)

    def _poll(self) -> None:
        self._engines = [engine for engine in self._engines if engine.poll() is None]
        if not self._engines:
            self._timer.stop()
