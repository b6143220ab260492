"""Flow (f) of the window: two runs ticked in the library, held against each other, and written down."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.gui.window import Window
from app.records.comparison import Comparison
from tests.fakes.driving import press_key, shows
from tests.fakes.program import Sizewise

OpenWindow = Callable[[], Window]


def test_two_ticked_runs_are_compared_as_the_command_compares_them(
    open_window: OpenWindow, kept_runs: tuple[Path, ...], qtbot: QtBot, tmp_path: Path, home: Path
) -> None:
    window = open_window()
    window.show_page("library")
    tab = window.pages.library.shelves.runs
    qtbot.waitUntil(lambda: tab.model.rowCount() == 2, timeout=15_000)
    for run in kept_runs:
        place = tab.model.place_of(str(run))
        assert place is not None
        tab.table.selectRow(place)
        qtbot.keyClick(tab.table, Qt.Key.Key_Space)
    press_key(window, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    page = window.pages.compare
    qtbot.waitUntil(shows(window, "compare"))
    presenter = page.contents.presenter
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy, timeout=20_000)
    assert page.runs() == kept_runs
    line = page.command_line()
    assert line is not None
    printed = Sizewise(home, tmp_path)(*shlex.split(line)[1:], "--json")
    outcome = presenter.outcome
    assert outcome is not None
    if outcome.comparison is None:  # the machine was too busy for a run to be relied on
        assert printed.returncode == 2
        assert "INVALID" in printed.stderr
        assert any("INVALID" in (entry.problem or "") for entry in outcome.asked.entries)
        return
    assert outcome.comparison == msgspec.json.decode(printed.stdout, type=Comparison)
    verdict = page.contents.verdict
    differing, changes = verdict.differences, verdict.changes
    assert differing.isVisible()  # another profile: its scripted server is slower
    assert differing.frame_model.rowCount() == len(outcome.comparison.differences)
    assert differing.mapTo(verdict, QPoint()).y() < changes.mapTo(verdict, QPoint()).y()
    verdict.all_metrics.click()
    shown = changes.frame_model.frame
    told = outcome.comparison.changes
    assert list(zip(shown["stage"], shown["verdict"], strict=True)) == [(one.stage, one.verdict) for one in told]
    page.contents.export_to(tmp_path / "comparison.html")
    qtbot.waitUntil((tmp_path / "comparison.html").exists)
    assert outcome.section is not None
    assert outcome.section.sentence in (tmp_path / "comparison.html").read_text()
    assert verdict.sentence.casefold() in outcome.section.sentence.casefold()
