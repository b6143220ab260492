"""Flow (e): a plan opened in the window, its day pulled, a price tried, a fleet chosen; the terminal says the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.window import Window
from tests.fakes import plan_sources, planned


def test_a_plan_is_opened_edited_and_copied_as_a_command(
    open_window: Callable[[], Window], qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(plan_sources.plan_file(tmp_path / "small.yaml", planned.question()))
    window = open_window()
    window.navigation.plan_wanted.emit((path,))
    page = window.pages.plan
    assert window.pages.shown is page
    presenter = page.content.presenter
    qtbot.waitUntil(lambda: presenter.state.phase == "simulated", timeout=60_000)
    bench = page.content.bench
    bench.inputs.traffic.day.curve.choose(12)
    qtbot.keyClick(bench.inputs.traffic.day.curve, Qt.Key.Key_PageUp)
    assert bench.offers.edit_price("acme/c4@here", "0.5")
    qtbot.waitUntil(lambda: presenter.state.is_current and presenter.state.phase == "simulated", timeout=60_000)
    plan = presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    assert bench.card.sentence.text() == plan.recommendation.sentence
    assert plan.recommendation.fleet.offer == "acme/c4@here"
    line = page.command_line()
    assert line is not None
    capsys.readouterr()
    main([*shlex.split(line)[1:], "--json"])
    assert json.loads(capsys.readouterr().out)["recommendation"]["sentence"] == plan.recommendation.sentence
