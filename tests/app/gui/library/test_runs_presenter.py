from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from app.gui.library.run_listing import ListedRuns
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.navigation import Notice
from app.storage.labels import read_labels
from app.storage.run_directory import runs_home
from app.storage.run_index import INDEX


@pytest.fixture
def presenter(qapp: QObject) -> RunsPresenter:
    return RunsPresenter(qapp)


def finish(qtbot: QtBot, presenter: RunsPresenter) -> None:
    qtbot.waitUntil(lambda: not presenter.is_busy, timeout=10_000)


def test_a_change_that_failed_is_reported_and_is_not_undone(
    stored: list[Path], presenter: RunsPresenter, qtbot: QtBot
) -> None:
    reported: list[Notice] = []
    presenter.notified.connect(lambda notice, _: reported.append(notice))
    presenter.add_tags(stored[0], ["-wrong"])
    finish(qtbot, presenter)
    assert [notice.severity for notice in reported] == ["error"]
    presenter.undo_stack.undo()
    finish(qtbot, presenter)
    assert len(reported) == 1
    assert read_labels(stored[0]).tags == ()


def test_an_undo_at_once_comes_after_what_it_undoes(stored: list[Path], presenter: RunsPresenter, qtbot: QtBot) -> None:
    presenter.add_tags(stored[0], ["night"])
    presenter.delete([stored[1], stored[2]])
    presenter.undo_stack.undo()
    presenter.undo_stack.undo()
    finish(qtbot, presenter)
    assert stored[1].is_dir()
    assert stored[2].is_dir()
    assert read_labels(stored[0]).tags == ()


def test_a_run_of_damaged_labels_is_listed_with_the_others(
    stored: list[Path], presenter: RunsPresenter, qtbot: QtBot
) -> None:
    home = runs_home()
    (home / "labels-damaged").mkdir()
    (home / "labels-damaged" / "events.jsonl").write_text("")
    (home / "labels-damaged" / "labels.json").write_text("[")
    listed: list[ListedRuns] = []
    presenter.listed.connect(listed.append)
    presenter.refresh()
    finish(qtbot, presenter)
    (last,) = listed[-1:]
    assert {row.run_id: row.verdict for row in last.rows}["labels-damaged"] == "unreadable"
    assert (home / INDEX).exists()
