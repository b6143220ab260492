"""Flow (g): a run is opened, re-evaluated for a time range and exported; the command writes the same report."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from selenium import webdriver
from selenium.webdriver.common.by import By

from app.gui.window import Window
from reports import formatting
from tests.fakes.chromium import requested_urls, wait_until_drawn
from tests.fakes.program import SizewiseInProcess
from tests.fakes.window_actions import fill_in, press, press_key

PATIENCE_MS = 60_000


@pytest.fixture
def run(library_runs: tuple[Path, ...]) -> Path:
    return library_runs[0]


def test_export_of_a_reevaluated_time_range_equals_that_of_the_command(
    open_window: Callable[[], Window], run: Path, home: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    window = open_window()
    results = window.pages.results
    with qtbot.waitSignal(results.presenter.opened, timeout=PATIENCE_MS):
        window.navigation.open_run_requested.emit(run)
    assert window.pages.current is results
    content = results.content()
    low_stage = results.presenter.displayed_run.own_report.stages[0]  # type: ignore[union-attr]
    with qtbot.waitSignal(results.presenter.reevaluated, timeout=PATIENCE_MS):
        content.overview.time_axis.linked.select_time_range(low_stage.start_s, low_stage.end_s)
    displayed = results.presenter.displayed_run
    assert displayed is not None
    assert [row.name for row in displayed.report.stages] == ["low"]
    assert window.menu_actions is not None
    window.menu_actions.by_name["copy-command"].trigger()
    line = QGuiApplication.clipboard().text()
    assert line == results.command_line()
    window.menu_actions.by_name["export"].trigger()
    drawer = content.drawer
    assert drawer.isVisible()
    assert drawer.path_field.text() == str(
        run / "report-reevaluated-redacted.html"
    )  # the request body is redacted by default
    drawer.path_field.setText(str(tmp_path / "window.html"))
    line = (results.command_line() or "").partition(" --out ")[0]
    assert "--redact prompts" in line
    qtbot.waitUntil(drawer.save_button.isEnabled, timeout=PATIENCE_MS)
    with qtbot.waitSignal(drawer.saved, timeout=PATIENCE_MS):
        drawer.save_button.click()
    page = (tmp_path / "window.html").read_text()
    process = SizewiseInProcess(home, tmp_path)(*shlex.split(line)[1:], "--out", str(tmp_path / "terminal.html"))
    assert process.returncode in (0, 4, 10), process.stderr
    assert (tmp_path / "terminal.html").read_text() == page
    for tile in displayed.report.tiles:
        format_tile = formatting.format_value_unit if tile.quantity.is_undersampled else formatting.format_value
        assert format_tile(tile.quantity) in page


@pytest.mark.browser
def test_exported_report_opens_in_a_browser_and_the_summary_is_copied(
    open_window: Callable[[], Window], run: Path, tmp_path: Path, qtbot: QtBot, browser: webdriver.Chrome
) -> None:
    window = open_window()
    results = window.pages.results
    with qtbot.waitSignal(results.presenter.opened, timeout=PATIENCE_MS):
        window.navigation.open_run_requested.emit(run)
    drawer, page = results.content().drawer, tmp_path / "elsewhere" / "report.html"
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    press_key(window, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(drawer.isVisible)
    qtbot.waitUntil(drawer.save_button.isEnabled, timeout=PATIENCE_MS)
    fill_in(qtbot, drawer.path_field, str(page))
    press(qtbot, drawer, "Save")
    qtbot.waitUntil(drawer.open_button.isEnabled, timeout=PATIENCE_MS)
    press(qtbot, drawer, "Copy summary as Markdown")
    qtbot.waitUntil(lambda: QGuiApplication.clipboard().text().startswith("#"), timeout=PATIENCE_MS)
    assert QGuiApplication.clipboard().text() == (run / "summary.md").read_text()
    browser.get(page.as_uri())
    wait_until_drawn(browser)
    displayed = results.presenter.displayed_run
    assert displayed is not None
    assert displayed.own_report.header.run_id in browser.find_element(By.TAG_NAME, "body").text
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requested_urls(browser))
    assert browser.get_log("browser") == []
