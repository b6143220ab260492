"""Imports of the desktop app. All heavy imports run under one lock, in one thread at a time, and
before work in other threads starts: threads that import the modules of an import cycle at the same
time would see partially initialized modules."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from PySide6.QtCore import QObject, QTimer

from app.gui.background import release_work, submit

STARTUP_MODULES = (
    "app.gui.compare.entries",
    "app.inference.parent",
    "app.reporting.run_history",
    "app.reporting.run_rows",
    "app.storage.baselines",
    "app.storage.comparisons",
    "app.storage.following",
    "app.storage.run_states",
    "app.telemetry.machine_state",
    "app.wiring.machine",
)
"""Modules of the work that the window starts by itself before a page other than Home is shown. None
of them creates Qt objects."""
BACKGROUND_MODULES = (
    *STARTUP_MODULES,
    "app.analysis.run_progress",
    "app.profiles.pricing.price_list",
    "app.reporting.opened",
    "app.reporting.redaction",
    "app.reporting.sidecars",
    "app.storage.plan_file",
    "app.wiring.dependencies",
    "app.wiring.inspecting",
    "app.wiring.language_model_plans",
    "app.wiring.planned_work",
    "app.wiring.profile_runs",
    "app.wiring.sharing_runs",
    "app.wiring.stored_runs",
    "app.wiring.unrunnable_variants",
    "platformdirs",
    "reports.comparison_text",
    "reports.markdown",
    "reports.plan_text",
    "reports.rendering",
)
"""Modules that functions of the window import when they are called, most of them in other
threads."""
_GUI_MODULES = (
    "pyqtgraph",
    "app.gui.live.body",
    "app.gui.live.run",
    "app.gui.results.content",
    "app.gui.run.page",
)
"""Modules that let the first run and the first result appear at once."""
_DELAY_MS, _INTERVAL_MS = 50, 150

_lock = threading.RLock()


def load_modules(*names: str) -> tuple[ModuleType, ...]:
    """Import modules as soon as no other thread imports modules here."""
    with _lock:
        return tuple(import_module(name) for name in names)


class ImportPreloader(QObject):
    """Preloader that imports modules as soon as the window is shown: first the modules that work in
    other threads uses, in one thread, then modules that create Qt objects, one at a time in the GUI
    thread. Held work starts as soon as the modules of the Home page are imported: the window
    creates no other page before all modules for work in other threads are imported."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._pending_modules = list(_GUI_MODULES)
        self._timer = QTimer(self, singleShot=True, interval=_INTERVAL_MS)
        self._timer.timeout.connect(self._import_next)
        QTimer.singleShot(_DELAY_MS, self, lambda: self._import(STARTUP_MODULES, self._on_startup_modules_imported))

    @property
    def is_busy(self) -> bool:
        return bool(self._pending_modules)

    def _import(self, names: tuple[str, ...], on_end: Callable[[], None]) -> None:
        def on_error(error: Exception) -> None:
            on_end()
            raise error

        submit(self, lambda: load_modules(*names), lambda _: on_end(), on_error, may_wait=False)

    def _on_startup_modules_imported(self) -> None:
        self._import(BACKGROUND_MODULES, self._timer.start)
        release_work()

    def _import_next(self) -> None:
        try:
            load_modules(self._pending_modules.pop(0))
        finally:
            if self._pending_modules:
                self._timer.start()
