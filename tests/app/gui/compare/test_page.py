from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.compare.entries import format_run_label
from app.gui.compare.page import ComparePage
from app.gui.navigation import Navigation
from app.records.comparison import Comparison
from app.storage.labels import set_title
from tests.app.cli.test_runs import RUNS, SLOWER_FROM, scaled
from tests.app.gui.compare.conftest import store_run, wait_until_idle
from tests.fakes.repeated import result, steady
from tests.fakes.results import full_run
from tests.fakes.widget_walk import clipped_texts, unnamed_widgets, unreachable_widgets

OpenPage = Callable[[], ComparePage]


def get_comparison(page: ComparePage) -> Comparison:
    outcome = page.presenter.outcome
    assert outcome is not None
    assert outcome.comparison is not None
    return outcome.comparison


def run_command_of(page: ComparePage, capsys: pytest.CaptureFixture[str]) -> Comparison:
    """Return the comparison that the page's command line prints."""
    line = page.command_line()
    assert line is not None
    main([*shlex.split(line)[1:], "--json"])
    return msgspec.json.decode(capsys.readouterr().out, type=Comparison)


def test_compare_page_shows_the_comparison_that_its_command_prints(
    baseline: Path, slower_run: Path, open_page: OpenPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    page = open_page()
    page.compare((baseline, slower_run))
    wait_until_idle(qtbot, page)
    assert page.command_line() == f"sizewise compare {baseline} {slower_run}"
    assert get_comparison(page) == run_command_of(page, capsys)
    verdict = page.verdict_tab
    frame = verdict.changes.frame_model.frame
    assert frame["verdict"].tolist()[0] == "worse"
    assert frame["metric"].tolist()[0] == "latency_ms.p95"
    assert frame["change"].tolist()[0].startswith("+100")
    assert "1 worse" in verdict.sentence
    forest_frame = verdict.forest_chart.frame()
    (point,) = forest_frame[forest_frame["Name"] == "p95 latency, steady: worse"].to_dict("records")
    assert point["Change (%)"] == pytest.approx(100.0, abs=2.0)
    ends = forest_frame[forest_frame["Series"] == "95 % CI"]["Change (%)"].dropna()
    assert ends.iloc[0] < point["Change (%)"] < ends.iloc[1]


def test_sides_tolerance_and_repeats_are_on_the_command_line_of_compare(
    baseline: Path, slower_run: Path, open_page: OpenPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    third = store_run(result(steady(10.2, 0.1), run_id="third"), 5)
    page = open_page()
    page.compare((baseline, slower_run, third))
    wait_until_idle(qtbot, page)
    picker = page.picker
    picker.side_boxes[2].setCurrentIndex(0)
    picker.tolerance.setValue(12.5)
    wait_until_idle(qtbot, page)
    assert page.command_line() == f"sizewise compare {baseline},{third} {slower_run} --tolerance 12.5%"
    assert get_comparison(page).baseline == ("baseline", "third")
    assert get_comparison(page) == run_command_of(page, capsys)
    page.presenter.swap()
    wait_until_idle(qtbot, page)
    assert get_comparison(page).candidate == ("baseline", "third")
    assert page.verdict_tab.changes.frame_model.frame["change"].tolist()[0].startswith("-49.5")
    picker.side_boxes[2].setCurrentIndex(2)
    wait_until_idle(qtbot, page)
    assert get_comparison(page).candidate == ("baseline",)


def test_incomparable_runs_need_the_force_box_and_exports_are_marked_as_forced(
    baseline: Path,
    other_load: Path,
    open_page: OpenPage,
    qtbot: QtBot,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = open_page()
    page.compare((baseline, other_load))
    wait_until_idle(qtbot, page)
    verdict = page.verdict_tab
    assert verdict.sentence == "The runs are not comparable: workload must be the same."
    assert verdict.differences.frame_model.frame["effect"].tolist()[0] == "not comparable"
    assert verdict.changes.isHidden()
    assert verdict._banner_label.isHidden(), "the sentence above already states the reason"
    qtbot.mouseClick(verdict.force_box, Qt.MouseButton.LeftButton, pos=verdict.force_box.rect().center())
    if not verdict.force_box.isChecked():
        verdict.force_box.click()
    wait_until_idle(qtbot, page)
    assert not verdict.changes.isHidden()
    line = page.command_line()
    assert line is not None
    assert line.endswith(" --force")
    assert get_comparison(page) == run_command_of(page, capsys)
    for name in ("comparison.html", "comparison.md", "comparison.txt"):
        page.export_to(tmp_path / name)
        qtbot.waitUntil(lambda name=name: (tmp_path / name).exists())  # type: ignore[misc]
        assert "FORCED" in (tmp_path / name).read_text()
    page.export_to(tmp_path / "comparison.json")
    qtbot.waitUntil((tmp_path / "comparison.json").exists)
    assert json.loads((tmp_path / "comparison.json").read_text())["is_forced"] is True


def test_forced_comparison_is_reset_when_other_runs_are_selected(
    baseline: Path, slower_run: Path, other_load: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.compare((baseline, other_load))
    page.presenter.set_forced(True)
    wait_until_idle(qtbot, page)
    page.compare((slower_run, other_load))
    wait_until_idle(qtbot, page)
    assert not page.presenter.request.is_forced


def test_unwritable_comparison_export_is_reported(
    baseline: Path, slower_run: Path, open_page: OpenPage, qtbot: QtBot, tmp_path: Path
) -> None:
    page = open_page()
    page.compare((baseline, slower_run))
    wait_until_idle(qtbot, page)
    page.export_to(tmp_path / "none" / "comparison.html")
    qtbot.waitUntil(lambda: "cannot be written" in page.strip.text())


def test_inconclusive_metric_suggests_a_number_of_pairs_and_copies_the_command(
    baseline: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    near = store_run(result(steady(10.8, 0.5), run_id="near"), 4)
    page = open_page()
    page.compare((baseline, near))
    wait_until_idle(qtbot, page)
    verdict = page.verdict_tab
    (change,) = [row for row in get_comparison(page).changes if row.metric == "latency_ms"]
    assert f"--pairs {change.more_repeats}" in verdict.measure_command
    assert verdict.measure_command.startswith(f"sizewise compare {baseline}/spec.yaml {near}/spec.yaml --measure")
    copy = next(button for button in verdict.pairs_card.findChildren(QPushButton) if "command" in button.text())
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == verdict.measure_command


def test_runs_in_the_add_menu_are_loaded_while_the_menu_is_open(
    baseline: Path, slower_run: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.compare((baseline,))
    wait_until_idle(qtbot, page)
    menu = page.picker.add_menu

    def list_menu_texts() -> list[str]:
        return [action.text() for action in menu.actions() if action.text()]

    menu.popup(page.mapToGlobal(page.rect().center()))
    assert list_menu_texts() == ["Loading runs…", "Add run &folder…"]
    qtbot.waitUntil(lambda: len(list_menu_texts()) == 2 and "slower" in list_menu_texts()[0])
    menu.close()
    third = store_run(result(steady(10.2, 0.1), run_id="third"), 5)
    menu.popup(page.mapToGlobal(page.rect().center()))
    assert len(list_menu_texts()) == 2
    qtbot.waitUntil(lambda: len(list_menu_texts()) == 3)
    menu.actions()[0].trigger()
    menu.close()
    wait_until_idle(qtbot, page)
    assert [entry.path for entry in page.presenter.request.entries] == [baseline, third]


def test_invalid_run_is_not_compared_and_its_entry_has_the_reason(
    baseline: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    invalid_run = result(steady(10.0, 0.1), run_id="void")
    path = store_run(replace(invalid_run, verdict=replace(invalid_run.verdict, status="INVALID")), 6)
    page = open_page()
    page.compare((baseline, path))
    wait_until_idle(qtbot, page)
    assert page.verdict_tab.sentence == "One of the runs cannot be compared. Select another run."
    entry = page.presenter.request.entries[1]
    assert entry.problem is not None
    assert entry.problem.startswith("void is INVALID")
    assert entry.is_invalid
    with qtbot.waitSignal(page.navigation.open_run_requested) as opened:
        page.verdict_tab.reasons_button.click()
    assert opened.args == [path]
    page.verdict_tab.replace_button.click()
    assert [item.path for item in page.presenter.request.entries] == [baseline]
    page.picker.add_menu.close()
    wait_until_idle(qtbot, page)
    assert not page.verdict_tab.replace_button.isVisibleTo(page)


def test_overlays_tab_shows_latency_by_distribution_load_and_time_per_stage(
    searched: tuple[Path, ...], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.compare(searched)
    page.tabs.setCurrentWidget(page.overlays_tab)
    wait_until_idle(qtbot, page)
    overlays = page.overlays_tab
    qtbot.waitUntil(lambda: len(overlays.chart.series()) == 2)
    first, second = overlays.chart.series()
    assert first.label == "1 quickstart"
    assert np.median(first.x) == pytest.approx(2 * np.median(second.x), rel=0.1)
    slow, fast = overlays.percentile_chart.series()
    assert 99 <= slow.x[-1] < 100
    assert slow.y[np.searchsorted(slow.x, 50)] == pytest.approx(2 * fast.y[np.searchsorted(fast.x, 50)], rel=0.1)
    assert overlays.stage_box.currentText() == "step 218 req/s"
    assert overlays.stage_box.isVisibleTo(page)
    assert overlays.metric_box.isVisibleTo(page)
    overlays.stage_box.setCurrentIndex(0)
    wait_until_idle(qtbot, page)
    assert overlays.stage_box.currentText() == "probe 25 req/s"
    assert "1 quickstart has 75 responses." in overlays.note
    request_latency = overlays.chart.series()[0].x.copy()
    color = overlays.chart.series()[1].style_index
    overlays.metric_box.setCurrentIndex(overlays.metric_box.findText("service time (from send)"))
    assert not np.array_equal(overlays.chart.series()[0].x, request_latency)
    for view, x_label in (("load", "Rate"), ("time", "Time")):
        overlays.view_box.setCurrentIndex(overlays.view_box.findData(view))
        wait_until_idle(qtbot, page)
        assert overlays.chart.plot.x_axis.axis.label == x_label
        assert overlays.metric_box.currentText() == "p95 latency"
        first, second = overlays.chart.series()
        assert (first.label, second.style_index) == ("1 quickstart", color)
        assert len(first.x) > 3
    outcome = page.presenter.outcome
    assert outcome is not None
    overlays.show_outcome(msgspec.structs.replace(outcome, stages=()))
    overlays.view_box.setCurrentIndex(overlays.view_box.findData("distribution"))
    assert not overlays.stage_box.isVisibleTo(page)
    assert not overlays.metric_box.isVisibleTo(page), "there is nothing to choose"


def test_stages_tab_has_a_row_of_verdicts_per_stage(
    searched: tuple[Path, ...], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.compare(searched)
    wait_until_idle(qtbot, page)
    table = page.stages_tab.table
    assert table is not None
    frame = table.frame_model.frame
    assert "latency_ms.p95" in frame.columns
    assert "step 218 req/s" in frame["stage"].tolist()
    (cell,) = frame.loc[frame["stage"] == "step 218 req/s", "latency_ms.p95"]
    assert cell.split()[0] in ("better", "worse", "same", "inconclusive")


def test_trend_marks_a_level_shift_where_the_command_reports_one(
    open_page: OpenPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    base_run, noise = full_run().result, np.random.default_rng(1).lognormal(0, 0.01, RUNS)
    for number in range(RUNS):
        store_run(scaled(base_run, number, float(noise[number]) * (1.2 if number >= SLOWER_FROM else 1.0)), number + 1)
    page = open_page()
    page.tabs.setCurrentWidget(page.trend_tab)
    qtbot.waitUntil(lambda: page.trend_tab.trend is not None)
    trend = page.trend_tab
    assert trend.chart is not None
    assert [mark.x for mark in trend.chart.decorations.markers] == [SLOWER_FROM + 1.0]
    line = page.command_line()
    assert line is not None
    assert main(shlex.split(line)[1:]) == 0
    out = capsys.readouterr().out
    changes = trend.table.frame_model.frame.set_index("metric")["changed"]
    assert changes["p50 latency"] in out
    assert f"since run-{SLOWER_FROM:02d} (worse)" in changes["p50 latency"]
    first, last_index = trend.trend, trend.series_box.count() - 1
    assert trend.series_box.currentIndex() != last_index
    trend.series_box.setCurrentIndex(last_index)
    trend.enter(None)
    qtbot.waitUntil(lambda: trend.trend is not first)
    assert trend.series_box.currentIndex() == last_index, "the metric stays selected"


def test_empty_comparison_links_to_the_library_and_can_compare_the_last_two_runs(
    baseline: Path, slower_run: Path, open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    assert page.command_line() == "sizewise runs trend"
    assert not page.export()

    library_button, last_two_button = page.empty_state.findChildren(QPushButton)
    with qtbot.waitSignal(navigation.page_requested) as page_request:
        qtbot.mouseClick(library_button, Qt.MouseButton.LeftButton)
    assert page_request.args == ["library"]
    qtbot.mouseClick(last_two_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.run_directories() == (baseline, slower_run))
    wait_until_idle(qtbot, page)
    assert page.empty_state.isHidden()


def test_compare_page_adds_a_run_once_and_removes_a_run(
    baseline: Path, slower_run: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.compare((baseline,))
    assert page.presenter.add(slower_run)
    assert not page.presenter.add(slower_run)
    wait_until_idle(qtbot, page)
    assert page.run_directories() == (baseline, slower_run)
    page.picker.remove_requested.emit(0)
    wait_until_idle(qtbot, page)
    assert page.run_directories() == (slower_run,)
    assert "Add a second run" in page.verdict_tab.sentence


def test_compare_page_shows_the_title_of_a_run(
    baseline: Path, slower_run: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    set_title(slower_run, "after the driver")
    page = open_page()
    page.compare((baseline, slower_run))
    wait_until_idle(qtbot, page)
    assert [format_run_label(index, item) for index, item in enumerate(page.presenter.request.entries)][1] == (
        "2 after the driver"
    )
    assert any("2 after the driver · " in label.text() for label in page.picker.findChildren(QLabel))


def test_compare_tabs_are_named_reachable_and_not_clipped_at_twice_the_text_size(
    searched: tuple[Path, ...], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.resize(1500, 950)
    page.theme_controller.scale_text(2)
    try:
        page.compare(searched)
        wait_until_idle(qtbot, page)
        for index in range(page.tabs.count()):
            page.tabs.setCurrentIndex(index)
            wait_until_idle(qtbot, page)
            assert unnamed_widgets(page) == []
            assert unreachable_widgets(page) == []
            assert clipped_texts(page) == []
    finally:
        page.theme_controller.scale_text(1)


def test_long_reason_of_an_invalid_run_is_not_clipped_at_twice_the_text_size(
    baseline: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    run_id = "20261127-120000-a-name-of-some-length-0001"
    invalid_run = result(steady(10.0, 0.1), run_id=run_id)
    path = store_run(replace(invalid_run, verdict=replace(invalid_run.verdict, status="INVALID")), 6)
    page = open_page()
    page.resize(700, 700)
    page.theme_controller.scale_text(2)
    try:
        page.compare((baseline, path, path.parent / "none"))
        wait_until_idle(qtbot, page)
        qtbot.waitUntil(lambda: clipped_texts(page) == [])
    finally:
        page.theme_controller.scale_text(1)
