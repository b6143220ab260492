from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from pytestqt.qtbot import QtBot

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication, QWidget

from app.gui.navigation import Navigation
from app.gui.theme import ThemeController
from app.records.calibration import Calibration
from app.storage.calibrations import store_calibration
from app.storage.run_directory import runs_home
from app.wiring.machine import inspect_machine
from tests.fakes.session_dependencies import CALIBRATION
from tests.fakes.window import PatientBot, assert_nothing_is_left, start_engines_without_charts, theme_of


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    return PatientBot(request)


@pytest.fixture(autouse=True)
def no_leftovers(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a thread, a job or a process, and isolate it from the user's settings and runs."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    with assert_nothing_is_left():
        yield


@pytest.fixture
def theme(qapp: QApplication) -> Iterator[ThemeController]:
    """The application's theme at its default text size, which is restored after the test: all tests share the theme."""
    theme = theme_of(qapp)
    theme.scale_text(1)
    yield theme
    theme.scale_text(1)


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    """Parent of objects that are no widgets: they are destroyed after the test, in the window's thread. An object
    without a parent is collected in any thread, and destroying a timer in a foreign thread crashes the process."""
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def navigation(qapp: QApplication) -> Navigation:
    return Navigation()


@pytest.fixture(scope="session")
def assumed_calibration() -> Calibration:
    """A valid calibration of this machine, however busy it is: the tests do not depend on its verdict."""
    environment, _ = inspect_machine()
    now = datetime.now(UTC).isoformat()
    return msgspec.structs.replace(CALIBRATION, fingerprint=environment.fingerprint, measured_at=now)


@pytest.fixture
def home(no_leftovers: None, assumed_calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`SIZEWISE_HOME` with a stored calibration, so that benchmarks of the test skip their own."""
    start_engines_without_charts(monkeypatch)
    store_calibration(assumed_calibration)
    return runs_home().parent
