"""Run directories as a benchmark writes them, and a Results page that shows them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from pytestqt.qtbot import QtBot

from app.gui.navigation import Navigation
from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.gui.theme import ThemeController
from tests.fakes.stored_runs import DAY, SEARCHED, stored_run

OpenRun = Callable[[Path], DisplayedRun]


@pytest.fixture(scope="session")
def run_templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    stored_run(folder / "stages")
    stored_run(folder / "searched", SEARCHED)
    stored_run(folder / "day", DAY)
    return {name: folder / name for name in ("stages", "searched", "day")}


@pytest.fixture
def stages(run_templates: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the run that the test may change."""
    return Path(shutil.copytree(run_templates["stages"], tmp_path / "home" / "runs" / "stages"))


@pytest.fixture
def searched(run_templates: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_templates["searched"], tmp_path / "home" / "runs" / "searched"))


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> Iterator[ResultsPage]:
    page = ResultsPage(navigation, theme)
    page.resize(1100, 760)
    with qtbot.waitExposed(page):
        page.show()
    yield page
    page.close()
    page.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def open_run(page: ResultsPage, qtbot: QtBot) -> OpenRun:
    def open_run(path: Path) -> DisplayedRun:
        with qtbot.waitSignal(page.presenter.opened):
            page.open_run(path)
        assert page.presenter.displayed_run is not None
        return page.presenter.displayed_run

    return open_run
