"""Engines that nobody watches any more are still children of this window."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer

from app.gui.engine.launch import EngineProcess
from app.gui.engine.watch import EngineWatch

_LOOK_MS = 1_000


class Reaper(QObject):
    """Polls what it keeps until it has ended: a child that nobody polls would pass for one that runs."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._engines: list[EngineProcess] = []
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._timer.timeout.connect(self._look)

    def take_over(self, watch: EngineWatch) -> None:
        """Of a run that is watched no more; it ends, its engine may go on."""
        watch.stop()
        if watch.engine is not None and watch.engine.poll() is None:
            self.keep(watch.engine)
        watch.deleteLater()

    def keep(self, engine: EngineProcess) -> None:
        self._engines.append(engine)
        self._timer.start()

    def __len__(self) -> int:
        return len(self._engines)

    def _look(self) -> None:
        self._engines = [engine for engine in self._engines if engine.poll() is None]
        if not self._engines:
            self._timer.stop()
