"""What a test of a part of the window stands on."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import psutil
from PySide6.QtCore import QThreadPool
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.theme import ThemeController
from reports.charts.renderer import get_chart_renderer

_PATIENCE_MS = 30_000


class PatientBot(QtBot):
    """Where nothing else is said it waits so long that a busy machine comes to it too; qtbot waits five seconds."""

    waitUntil = partialmethod(QtBot.waitUntil, timeout=_PATIENCE_MS)
    waitSignal = partialmethod(QtBot.waitSignal, timeout=_PATIENCE_MS)
    waitSignals = partialmethod(QtBot.waitSignals, timeout=_PATIENCE_MS)
    waitExposed = partialmethod(QtBot.waitExposed, timeout=_PATIENCE_MS)
    waitActive = partialmethod(QtBot.waitActive, timeout=_PATIENCE_MS)


def look_of(application: QApplication) -> ThemeController:
    """The one of the application, made on first use."""
    found = application.findChild(ThemeController)
    return found if isinstance(found, ThemeController) else ThemeController(application, "light")


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Fails when what ran inside left a Python thread, a piece of work or a child process that does not end by itself
    within ten seconds. Cycles are collected in this thread alone, as the window does."""
    threads, children = set(threading.enumerate()), _children()
    was_enabled = gc.isenabled()
    gc.disable()
    gc.collect()  # what the test before this one held until its very end
    gc.freeze()  # so that the libraries that are imported are not looked through at each test's end
    try:
        yield
    finally:
        gc.collect()
        if was_enabled:
            gc.enable()
    assert QThreadPool.globalInstance().waitForDone(10_000), "work goes on in the pool"
    left = [thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith("Dummy")]
    assert not left, f"threads are left: {left}"
    get_chart_renderer().close()  # it lasts as long as its process, so that the next report is drawn at once
    _, still_there = psutil.wait_procs(_children() - children, timeout=10)
    assert not still_there, f"child processes are left: {still_there}"


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}
