"""Flow (a): one key leads from an empty home page to a first result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from app.gui.charts.chart import Chart
from app.gui.home import presenter
from app.gui.home.page import HomePage
from app.gui.window import Window
from app.records.result import Result
from app.storage.run_directory import find_run, runs_home
from tests.fakes.window_actions import is_page_shown, press_key

_TIMEOUT_MS = 600_000
"""70 s on an idle machine; on a busy machine the report and plan wait for processor time."""


def list_texts(window: Window) -> set[str]:
    return {label.text() for label in window.pages.results.findChildren(QLabel)}


def has_chart_data(window: Window) -> bool:
    return any(len(chart.frame()) for chart in window.pages.live.findChildren(Chart))


def read_last_events() -> str:
    *_, last_path = sorted(runs_home().glob("*/events.jsonl"))
    return "\n".join(line[:300] for line in last_path.read_text().splitlines()[-5:])


def press_enter_on_home(window: Window, qtbot: QtBot) -> None:
    """Press Enter on the Home page and wait until a chart of the Live page has data."""
    window.show_page("home")
    page = window.pages.page("home")
    assert isinstance(page, HomePage)
    qtbot.waitUntil(lambda: QApplication.focusWidget() is page.quick_check_button)
    press_key(window, Qt.Key.Key_Return)
    qtbot.waitUntil(is_page_shown(window, "live"))
    qtbot.waitUntil(lambda: window.pages.live.state.phase == "model", timeout=60_000)
    qtbot.waitUntil(lambda: has_chart_data(window), timeout=60_000)


def wait_for_result(window: Window, qtbot: QtBot) -> Result:
    """Return the result of the run after the Results page shows it."""
    try:
        qtbot.waitUntil(is_page_shown(window, "results"), timeout=_TIMEOUT_MS)
    except qtbot.TimeoutError:
        raise AssertionError(f"no result; the last events: {read_last_events()}") from None
    run = find_run("last")
    command = f"sizewise report {run.run_id}"
    qtbot.waitUntil(lambda: window.pages.results.command_line() == command)
    return run.complete_result


def test_enter_starts_the_quick_check_and_partial_results_are_shown_after_stop(
    open_window: Callable[[], Window], qtbot: QtBot
) -> None:
    window = open_window()
    press_enter_on_home(window, qtbot)
    qtbot.waitUntil(lambda: '"stage_finished"' in read_last_events(), timeout=60_000)
    window.pages.live.stop()
    window.pages.live.stop()
    result = wait_for_result(window, qtbot)
    assert result.name == "quickstart"
    assert [cause.id for cause in result.exit.causes] == ["interrupted"]
    assert any(stage.variant for stage in result.stages)
    qtbot.waitUntil(lambda: result.verdict.status in list_texts(window))


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_enter_starts_the_quick_check_and_its_result_is_shown(
    open_window: Callable[[], Window], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, _, seconds, *options = presenter.QUICK_CHECK
    assert (command, float(seconds)) == ("quickstart", 2)
    monkeypatch.setattr(presenter, "QUICK_CHECK", (command, "--seconds", "1", *options))  # half as long
    window = open_window()
    press_enter_on_home(window, qtbot)
    result = wait_for_result(window, qtbot)  # short steps may find no rate on a busy machine
    qtbot.waitUntil(lambda: result.verdict.status in list_texts(window))
    assert result.max_rate is not None
    if result.max_rate.per_s.value is None:
        assert any(str(result.max_rate.per_s.reason) in text for text in list_texts(window)), (
            "the page shows the reason"
        )
    else:
        assert result.plan is not None
