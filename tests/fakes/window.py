"""Common parts of the tests of windows."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import psutil
import pytest
from PySide6.QtCore import QThreadPool
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui import recovery
from app.gui.engine import launch as engine_launch
from app.gui.engine import run
from app.gui.engine.launch import EngineProcess, start_engine
from app.gui.navigation import Launch
from app.gui.theme import ThemeController
from reports.charts import renderer
from tests.fakes.forked import forking, importer_pids
from tests.fakes.program import FAKE_RENDERER_FOLDER

_PATIENCE_MS = 30_000
_RENDERER = renderer.__name__


class PatientBot(QtBot):
    """By default it waits long enough for a busy machine; qtbot waits five seconds."""

    waitUntil = partialmethod(QtBot.waitUntil, timeout=_PATIENCE_MS)
    waitSignal = partialmethod(QtBot.waitSignal, timeout=_PATIENCE_MS)
    waitSignals = partialmethod(QtBot.waitSignals, timeout=_PATIENCE_MS)
    waitExposed = partialmethod(QtBot.waitExposed, timeout=_PATIENCE_MS)
    waitActive = partialmethod(QtBot.waitActive, timeout=_PATIENCE_MS)


def theme_of(application: QApplication) -> ThemeController:
    """The theme controller of the application, created on first use."""
    controller = application.findChild(ThemeController)
    return controller if isinstance(controller, ThemeController) else ThemeController(application, "light")


def start_engines_without_charts(patch: pytest.MonkeyPatch) -> None:
    """Start the engines of windows as forks, with a fake Vega: importing and drawing take longer than most of their
    measurements, and no test of a window needs the charts of their reports."""
    patch.setattr(engine_launch, "subprocess", forking(engine_launch))

    def start(launch: Launch) -> EngineProcess:
        with patch.context() as environment:
            environment.setenv("PYTHONPATH", str(FAKE_RENDERER_FOLDER), prepend=os.pathsep)
            return start_engine(launch)

    for module in (run, recovery):
        patch.setattr(module, "start_engine", start)


@contextmanager
def assert_nothing_is_left() -> Iterator[None]:
    """Fail if the context leaves a Python thread, a job that does not end within the time that a busy machine needs, or
    a child process that does not end within ten seconds. Reference cycles are collected in this thread alone, as in the
    window."""
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
    assert QThreadPool.globalInstance().waitForDone(_PATIENCE_MS), "work goes on in the pool"
    left = [thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith("Dummy")]
    assert not left, f"threads are left: {left}"
    _, still_there = psutil.wait_procs(_children() - children, timeout=10)
    assert not still_there, f"child processes are left: {still_there}"


def _children() -> set[psutil.Process]:
    """Child processes without the chart renderer and the process that imports the program: those live as long as this
    process, so that the next report is drawn and the next command runs at once."""
    children = [child for child in psutil.Process().children() if child.pid not in importer_pids()]
    return {child for child in children if not (_has_ended(child) or _RENDERER in child.cmdline())}


def _has_ended(child: psutil.Process) -> bool:
    return child.status() == psutil.STATUS_ZOMBIE
