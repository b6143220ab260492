from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from app.gui.library.run_listing import ListedRuns
from app.gui.library.runs_presenter import (
    RunsPresenter,
    build_history_preview,
    build_load_preview,
    read_preview,
)
from app.gui.navigation import Notice
from app.records.estimate import Estimate
from app.reporting.run_history import RunHistory
from app.reporting.run_rows import HeadlineNumber, RunRow, list_runs
from app.storage.labels import read_labels
from app.storage.run_directory import runs_home
from app.storage.run_index import INDEX
from tests.fakes.repeated import result, steady


@pytest.fixture
def presenter(qapp: QObject) -> RunsPresenter:
    return RunsPresenter(qapp)


def wait_until_idle(qtbot: QtBot, presenter: RunsPresenter) -> None:
    qtbot.waitUntil(lambda: not presenter.is_busy)


def test_failed_tag_change_is_reported_and_not_undoable(
    library_runs: list[Path], presenter: RunsPresenter, qtbot: QtBot
) -> None:
    notices: list[Notice] = []
    presenter.notified.connect(lambda notice, _: notices.append(notice))
    presenter.add_tags(library_runs[0], ["-wrong"])
    wait_until_idle(qtbot, presenter)
    assert [notice.severity for notice in notices] == ["error"]
    presenter.undo_stack.undo()
    wait_until_idle(qtbot, presenter)
    assert len(notices) == 1
    assert read_labels(library_runs[0]).tags == ()


def test_undo_during_pending_changes_reverts_run_tags_and_deletions(
    library_runs: list[Path], presenter: RunsPresenter, qtbot: QtBot
) -> None:
    presenter.add_tags(library_runs[0], ["night"])
    presenter.delete([library_runs[1], library_runs[2]])
    presenter.undo_stack.undo()
    presenter.undo_stack.undo()
    wait_until_idle(qtbot, presenter)
    assert library_runs[1].is_dir()
    assert library_runs[2].is_dir()
    assert read_labels(library_runs[0]).tags == ()


def test_run_with_damaged_labels_is_listed_as_unreadable(
    library_runs: list[Path], presenter: RunsPresenter, qtbot: QtBot
) -> None:
    home = runs_home()
    (home / "labels-damaged").mkdir()
    (home / "labels-damaged" / "events.jsonl").write_text("")
    (home / "labels-damaged" / "labels.json").write_text("[")
    listings: list[ListedRuns] = []
    presenter.listed.connect(listings.append)
    presenter.refresh()
    wait_until_idle(qtbot, presenter)
    (last_listing,) = listings[-1:]
    assert {row.run_id: row.verdict for row in last_listing.rows}["labels-damaged"] == "unreadable"
    assert (home / INDEX).exists()


def test_run_preview_has_the_verdict_slo_and_latency_by_load(library_runs: list[Path]) -> None:
    (row,) = [row for row in list_runs().rows if row.run_id == "run-b"]
    preview = read_preview(row, None)
    assert preview.sentence.startswith("Max rate 218")
    assert preview.objectives[0].startswith("PASS  p95 latency < 50 ms: ")
    figure = preview.figure
    assert figure is not None
    assert (figure.title, figure.x.unit, figure.y.unit, figure.limit) == ("p95 latency by load", "req/s", "ms", 50.0)
    (line,) = figure.lines
    assert list(line.x) == sorted(line.x)
    assert len(line.x) == len(line.y) > 3


def test_preview_of_a_run_with_one_load_shows_its_history_or_no_curve() -> None:
    run = result(steady(10.0, 0.1))
    assert build_load_preview(run) is None
    number = HeadlineNumber("latency_ms", "p95", "ms", "lower", "steady", Estimate(12.0))
    row = RunRow("run", "/run", number=number)
    figure = build_history_preview(row, RunHistory((10.0, 12.0)))
    assert figure is not None
    (line,) = figure.lines
    assert (figure.y.label, line.x, line.y) == ("p95 latency", (1.0, 2.0), (10.0, 12.0))
    assert build_history_preview(row, RunHistory((12.0,))) is None
