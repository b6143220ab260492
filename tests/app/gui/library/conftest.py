from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.library.page import LibraryPage
from app.gui.navigation import Navigation
from app.gui.theme import ThemeController
from app.records.result import Exit, Result, Verdict
from app.storage.labels import add_tags
from app.storage.run_directory import RESULT, RunWriter, runs_home
from tests.fakes.results import SPEC, full_run

FULL_RESULT = full_run().result


def store_run(run_id: str, result: Result, day: int = 1) -> Path:
    clock = replace(result.clock, wall_start=f"2026-08-{day:02d}T12:00:00+00:00")
    with RunWriter(runs_home() / run_id) as writer:
        writer.write_spec(SPEC)
        writer.write_result(replace(result, run_id=run_id, clock=clock, artifacts=writer.seal()))
    return runs_home() / run_id


@pytest.fixture
def library_runs(no_leftovers: None) -> list[Path]:
    """Four runs: WARN, VALID with tags, INVALID, and a damaged run."""
    directories = [
        store_run("run-a", FULL_RESULT, 1),
        store_run("run-b", replace(FULL_RESULT, name="scoring", verdict=Verdict("VALID"), exit=Exit(0, ())), 2),
        store_run("run-c", replace(FULL_RESULT, verdict=Verdict("INVALID", ("late sends",))), 3),
        store_run("run-d", FULL_RESULT, 4),
    ]
    add_tags(directories[1], ["nightly", "l4"])
    (directories[3] / RESULT).write_text("{")
    return directories


@pytest.fixture
def open_page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> Iterator[Callable[[], LibraryPage]]:
    """Open the Library page and wait until its runs are listed."""
    pages: list[LibraryPage] = []

    def open_library_page() -> LibraryPage:
        page = LibraryPage(navigation, theme)
        qtbot.addWidget(page)
        page.resize(1120, 720)
        page.show()
        page.enter()
        pages.append(page)
        wait_until_idle(qtbot, page)
        return page

    yield open_library_page
    for page in pages:
        page.leave()


def wait_until_idle(qtbot: QtBot, page: LibraryPage) -> None:
    """Wait until no run is being read or changed."""
    presenter = page.presenter
    qtbot.waitUntil(lambda: not presenter.is_busy and page.has_read_all_runs)


def list_run_names(page: LibraryPage) -> list[str]:
    model = page.runs_tab.model
    return [Path(model.row(row).directory).name for row in range(model.rowCount())]


def select_run(page: LibraryPage, name: str) -> None:
    row = page.runs_tab.model.find_visible_row(str(runs_home() / name))
    assert row is not None
    page.runs_tab.table.selectRow(row)
