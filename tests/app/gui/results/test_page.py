from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLabel, QWidget
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.engine.launch import ENGINE_LOG
from app.gui.home.cards import RunButton
from app.gui.navigation import Navigation
from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.latency import LatencyTab
from app.gui.results.tabs.throughput import ThroughputTab
from app.gui.results.tiles import tile_lines
from app.records.events import NoteAdded
from app.records.metrics import metric_label
from app.records.trial import Failure
from app.reporting.stored import build_stored_report
from app.storage.labels import read_labels, set_title
from app.storage.run_directory import RESULT, StoredRun
from reports import formatting
from reports.decision import build_run_decision
from reports.rendering import render
from tests.app.gui.results.conftest import OpenRun
from tests.fakes.stored_runs import truncate_run


def list_texts(page: QWidget) -> list[str]:
    return [label.text() for label in page.findChildren(QLabel) if label.isVisibleTo(page)]


def reevaluate(page: ResultsPage, qtbot: QtBot, action: object) -> DisplayedRun:
    with qtbot.waitSignal(page.presenter.reevaluated):
        action()  # type: ignore[operator]
    assert page.presenter.displayed_run is not None
    return page.presenter.displayed_run


def test_results_page_shows_the_numbers_of_the_report(
    page: ResultsPage, open_run: OpenRun, searched: Path, qtbot: QtBot
) -> None:
    report = open_run(searched).report
    visible_texts = list_texts(page)
    assert report.header.title in visible_texts
    assert report.tiles
    for tile in report.tiles:
        assert tile.label in visible_texts
        assert formatting.format_value_unit(tile.quantity) in visible_texts
        assert set(tile_lines(tile)) <= set(visible_texts)
    assert any(report.verdict.sentence.startswith(text.rstrip(".")) for text in visible_texts if len(text) > 20)
    card = page.content().verdict_card
    assert build_run_decision(report).evidence in card.based_on.text()
    order = [card.sentence.text(), card.based_on.text(), report.tiles[0].label]
    lines = [next(line for line in page.findChildren(QLabel) if line.text() == text) for text in order]
    tops = [line.mapTo(page, QPoint()).y() for line in lines]
    assert tops == sorted(tops), "the result, what it is based on, then the numbers"
    for row in report.objectives:
        assert any(formatting.format_quantity(row.observed) in text for text in visible_texts), row.text
    content = page.content()
    throughput_tab = next(tab for tab in content.all_tabs if isinstance(tab, ThroughputTab))
    content.tabs.setCurrentWidget(throughput_tab)
    (stages,) = throughput_tab.sections.boxes["stages"].tables
    model, table = stages.model, stages.table
    assert model.rowCount() == len(report.stages)
    headers = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())]
    column = headers.index(metric_label(report.times, "p95"))
    for row_index, stage in enumerate(report.stages):
        assert model.index(row_index, column).data() == formatting.format_quantity(stage.p95)
    page.resize(1_100, 2_000)
    (chart,) = content.load_curves.charts
    qtbot.waitUntil(lambda: chart.height() >= 600)
    assert table.y() < table.height(), "the room of a tall page is below the table"


def test_results_page_of_many_stages_describes_the_whole_run(
    page: ResultsPage, open_run: OpenRun, run_templates: dict[str, Path]
) -> None:
    report = open_run(run_templates["day"]).report
    visible_texts = list_texts(page)
    assert "in 24 stages" in visible_texts
    assert not any("hour" in text for text in visible_texts)
    (latency_tab,) = page.findChildren(LatencyTab)
    page.content().tabs.setCurrentWidget(latency_tab)
    assert any(f"{formatting.format_count(report.spectra[0].n)} responses" in text for text in list_texts(page))


def test_edited_slo_is_evaluated_and_reset_restores_the_own_slo(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    own_run = open_run(stages)
    editor, verdict = page.content().overview.slo_editor, page.content().verdict_card
    assert [line.text() for line in editor.lines] == ["latency_ms.p95 < 50", "error_rate < 0.1%"]
    strict = reevaluate(page, qtbot, lambda: editor.lines[0].setText("latency_ms.p95 < 2"))
    assert strict.report.verdict.outcome == "FAIL"
    assert page.content().header.outcome.text() == "FAIL"
    assert verdict.stamp.isVisibleTo(page)
    assert verdict.stamp.text().startswith("The run was re-evaluated with SLO p95 latency < 2 ms, error rate < 0.1 %")
    assert editor.lines[0].badge.text() == "FAIL"
    restored = reevaluate(page, qtbot, editor.reset_button.click)
    assert restored.report is own_run.own_report
    assert not verdict.stamp.isVisibleTo(page)
    assert editor.lines[0].text() == "latency_ms.p95 < 50"


def test_invalid_objective_is_reported_beside_its_line_and_changes_nothing(
    page: ResultsPage, open_run: OpenRun, stages: Path
) -> None:
    displayed = open_run(stages)
    line = page.content().overview.slo_editor.lines[0]
    line.setText("latency_ms.p59 < 5")
    assert 'latency_ms has no aggregate "p59"' in line.message.text()
    assert page.presenter.displayed_run is displayed
    assert not page.presenter.is_busy


def test_selected_time_range_changes_all_numbers_and_the_command_line(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    own_run = open_run(stages)
    content = page.content()
    middle = own_run.own_report.stages[1]
    windowed = reevaluate(
        page,
        qtbot,
        lambda: content.overview.time_axis.linked.select_time_range(middle.start_s + 0.001, middle.start_s + 9.999),
    )
    assert [row.name for row in windowed.report.stages] == ["middle"]
    assert windowed.report.stages[0].completed < middle.completed
    assert formatting.format_value_unit(windowed.report.tiles[0].quantity) in list_texts(page)
    content.tabs.setCurrentWidget(content.requests_tab)
    qtbot.waitUntil(lambda: content.requests_tab.model.rowCount() > 0)
    assert "in the selected time range" in content.requests_tab.status.text()
    command = page.command_line()
    assert command is not None
    assert main([*shlex.split(command)[1:], "--format", "text"]) == 0
    output = capsys.readouterr().out
    for tile in windowed.report.tiles:
        assert formatting.format_quantity(tile.quantity).replace(formatting.THIN_SPACE, " ") in output
    restored = reevaluate(page, qtbot, content.overview.time_axis.linked.clear_time_range)
    assert restored.report is own_run.own_report


def test_empty_time_range_is_rejected_and_the_page_is_unchanged(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    own_run = open_run(stages)
    with qtbot.waitSignal(page.presenter.rejected):
        page.content().overview.time_axis.linked.select_time_range(9_000, 9_010)
    assert page.strip.text().startswith("No request was scheduled from 9000 s to 9010 s of the run.")
    assert page.presenter.displayed_run is own_run
    assert page.content().overview.time_axis.linked.time_range() is None


def test_notes_and_shown_times_are_markers_on_the_time_axis(page: ResultsPage, open_run: OpenRun, stages: Path) -> None:
    clock = StoredRun(stages).complete_result.clock
    line = msgspec.json.encode(NoteAdded(at_ns=clock.monotonic_start_ns + 1_500_000_000, text="a deploy\nbegan"))
    with (stages / "events.jsonl").open("ab") as events:
        events.write(line + b"\n")
    open_run(stages)
    rates = page.content().overview.time_axis.rates
    assert [(mark.x, mark.label) for mark in rates.decorations.markers] == [(1.5, "a deploy began")]
    page.show_time(2.0)
    assert [mark.x for mark in rates.decorations.markers] == [1.5, 2.0]


def test_enter_on_the_slowest_request_moves_the_crosshair_to_its_time(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    open_run(stages)
    content = page.content()
    content.tabs.setCurrentWidget(content.requests_tab)
    table = content.requests_tab.table
    qtbot.waitUntil(lambda: content.requests_tab.model.rowCount() > 0)
    frame = content.requests_tab.model.visible_frame()
    assert frame["latency_ms"].iloc[0] == frame["latency_ms"].max()
    table.setFocus()
    table.selectRow(0)
    table.setCurrentIndex(content.requests_tab.model.index(0, 0))
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert content.overview.time_axis.rates.crosshair.x == pytest.approx(frame["at_s"].iloc[0])


def test_requests_are_filtered_by_stage_result_and_minimum_latency(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    open_run(stages)
    requests = page.content().requests_tab
    page.content().tabs.setCurrentWidget(requests)
    qtbot.waitUntil(lambda: requests.model.rowCount() > 0)
    total_count = requests.model.rowCount()
    requests.stage_box.setCurrentText("low")
    low = requests.model.visible_frame()
    assert set(low["stage"]) == {"low"}
    min_latency_ms = round(float(low["latency_ms"].quantile(0.9)), 3)
    requests.min_latency_field.setText(f"{min_latency_ms}")
    assert requests.model.rowCount() == (low["latency_ms"] >= min_latency_ms).sum() < len(low) / 2
    requests.min_latency_field.setText("slow")
    assert "The minimum latency slow is not a number." in requests.status.text()
    requests.min_latency_field.setText("")
    requests.stage_box.setCurrentIndex(0)
    assert requests.model.rowCount() == total_count
    requests.result_box.setCurrentText("failed")
    assert requests.model.rowCount() == 0


def test_title_is_shown_exported_undone_and_reread(
    page: ResultsPage, open_run: OpenRun, stages: Path, tmp_path: Path, qtbot: QtBot, navigation: Navigation
) -> None:
    open_run(stages)
    header, undo = page.content().header, page.undo_stack()
    assert undo is not None
    assert (header.title.text(), header.title_field.placeholderText()) == ("three stages", "three stages")
    header.title_field.setText("before the new driver")
    with qtbot.waitSignal(navigation.library_changed):
        header.title_field.editingFinished.emit()
    assert read_labels(stages).title == "before the new driver"
    assert header.title.text() == "before the new driver"
    assert header.details.text().startswith("three stages · ")
    displayed = page.presenter.displayed_run
    assert displayed is not None
    assert "before the new driver" in render(displayed.report, "markdown")
    stored_report = build_stored_report(StoredRun(stages))
    assert (displayed.report.header, displayed.report.notes) == (stored_report.header, stored_report.notes)
    undo.undo()
    assert (header.title.text(), header.title_field.text(), read_labels(stages).title) == ("three stages", "", "")
    undo.redo()
    set_title(stages, "by another hand")
    page.enter()
    assert header.title.text() == "by another hand"
    with qtbot.waitSignal(page.presenter.failed):
        page.open_run(tmp_path / "none")
    qtbot.waitUntil(lambda: "by another hand" in list_texts(page.recent_runs.run_rows))


def test_tags_and_notes_of_the_run_are_stored_and_undone(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    open_run(stages)
    header, undo = page.content().header, page.undo_stack()
    assert undo is not None
    header.tags_field.setText("nightly, baseline")
    header.tags_field.editingFinished.emit()
    assert read_labels(stages).tags == ("baseline", "nightly")
    header.note_field.setText("the fan was on")
    qtbot.keyClick(header.note_field, Qt.Key.Key_Return)
    assert [note.text for note in read_labels(stages).notes] == ["the fan was on"]
    assert "the fan was on" in header.notes.text()
    undo.undo()
    undo.undo()
    assert read_labels(stages).tags == ()
    assert header.tags_field.text() == ""
    undo.redo()
    assert read_labels(stages).tags == ("baseline", "nightly")
    header.tags_field.setText("no!tag")
    header.tags_field.editingFinished.emit()
    assert "is not a valid tag" in page.strip.text()
    assert header.tags_field.text() == "baseline, nightly"


def test_report_is_exported_to_the_selected_path_and_the_summary_copied(
    page: ResultsPage, open_run: OpenRun, stages: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    displayed = open_run(stages)
    drawer = page.content().drawer
    drawer.format_box.setCurrentIndex(drawer.format_box.findData("markdown"))
    assert page.export()
    assert drawer.path_field.text() == str(stages / "summary.md")
    qtbot.waitUntil(drawer.save_button.isEnabled)
    drawer.path_field.setText(str(tmp_path / "out" / "summary.md"))
    with qtbot.waitSignal(drawer.saved):
        drawer.save_button.click()
    assert (tmp_path / "out" / "summary.md").read_text() == render(displayed.report, "markdown")
    assert drawer.open_button.isEnabled()
    drawer.copy_button.click()
    qtbot.waitUntil(lambda: QGuiApplication.clipboard().text() == render(displayed.report, "markdown"))
    drawer.path_field.setText(str(stages / RESULT / "impossible.md"))
    with qtbot.waitSignal(drawer.failed):
        drawer.save_button.click()
    assert "impossible.md cannot be written" in page.strip.text()


def test_report_of_another_slo_has_its_own_file_name(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    open_run(stages)
    reevaluate(page, qtbot, lambda: page.content().overview.slo_editor.lines[0].setText("latency_ms.p95 < 3"))
    drawer = page.content().drawer
    drawer.format_box.setCurrentIndex(drawer.format_box.findData("json"))
    assert page.export()
    assert drawer.path_field.text() == str(stages / "report-reevaluated.json")
    qtbot.waitUntil(drawer.save_button.isEnabled)
    with qtbot.waitSignal(drawer.saved):
        drawer.save_button.click()
    assert json.loads((stages / "report-reevaluated.json").read_text())["verdict"]["sentence"].startswith(
        "The run was re-evaluated with SLO"
    )


def test_interrupted_run_shows_finished_stages_and_the_reported_failure(
    page: ResultsPage, open_run: OpenRun, stages: Path
) -> None:
    truncate_run(StoredRun(stages), 2)
    (stages / ENGINE_LOG).write_bytes(msgspec.json.encode(Failure(5, "no space is left on the disk")) + b"\n")
    displayed = open_run(stages)
    assert [row.name for row in displayed.report.stages] == ["low", "middle"]
    assert any(
        "The result was recovered from an interrupted run: 2 of 3 stages finished" in text for text in list_texts(page)
    )
    assert any("The benchmark process reported: no space is left on the disk" in text for text in list_texts(page))
    command = page.command_line()
    assert command is not None
    assert command.endswith("--recover")
    assert page.run_directories() == ()
    assert [button.isEnabled() for button in page.content().header.buttons] == [True, False, False, True]


def test_damaged_run_is_reported_and_recent_runs_are_offered(
    page: ResultsPage, stages: Path, tmp_path: Path, qtbot: QtBot, navigation: Navigation
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / RESULT).write_text("{")
    with qtbot.waitSignal(page.presenter.failed):
        page.open_run(tmp_path / "broken")
    assert "result.json cannot be read" in page.strip.text()
    rows = page.recent_runs.run_rows
    qtbot.waitUntil(lambda: "three stages" in list_texts(rows))
    with qtbot.waitSignal(page.presenter.opened):
        next(row for row in rows.findChildren(RunButton) if row.accessibleName() == "Open run three stages").click()


def test_results_page_without_a_run_offers_the_home_page_and_has_no_commands(page: ResultsPage, qtbot: QtBot) -> None:
    page.enter()
    qtbot.waitUntil(page.recent_runs.home_button.isVisible)
    assert (page.command_line(), page.run_directories(), page.export(), page.filter_field(), page.start()) == (
        None, (), False, None, False,
    )  # fmt: skip


def test_header_buttons_compare_plan_and_repeat_the_run(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot, navigation: Navigation
) -> None:
    open_run(stages)
    header = page.content().header
    for button, signal, argument in (
        (header.buttons[1], navigation.comparison_requested, (stages,)),
        (header.buttons[2], navigation.plan_requested, (stages,)),
        (header.buttons[3], navigation.repeat_profile_requested, stages / "spec.yaml"),
    ):
        with qtbot.waitSignal(signal) as request:
            button.click()
        assert request.args == [argument]
    assert page.run_directories() == (stages,)


def test_time_requested_before_the_run_is_opened_is_shown_afterwards(
    page: ResultsPage, stages: Path, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(page.presenter.opened):
        page.open_run(stages)
        page.show_time(21.5)
    assert page.content().overview.time_axis.rates.crosshair.x == pytest.approx(21.5)


def test_validity_of_the_shown_run_is_emitted_for_the_status_bar(
    page: ResultsPage, navigation: Navigation, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(navigation.validity_changed) as validity_change:
        displayed = open_run(stages)
    assert validity_change.args == [
        displayed.result.verdict.status,
        "\n".join(displayed.result.verdict.reasons),
        "results",
    ]


def test_visible_tabs_have_no_gaps_after_a_run_with_other_tabs(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qt does not move the tabs of a hidden page when the last call to setTabVisible changes nothing."""
    page.resize(1_700, 900)
    open_run(stages)
    content = page.content()
    bar = content.tabs.tabBar()

    def gaps() -> list[int]:
        qtbot.wait(1)
        visible_rects = [bar.tabRect(index) for index in range(bar.count()) if content.tabs.isTabVisible(index)]
        return [
            visible_rects[0].left(),
            *(after.left() - before.right() - 1 for before, after in itertools.pairwise(visible_rects)),
        ]

    assert set(gaps()) == {0}
    for applicable in ((0, 1, 5, 8, 9, 10), (1, 2, 3, 5, 6, 7, 8)):
        for index, tab in enumerate(content.all_tabs):
            monkeypatch.setattr(tab, "applies_to", lambda _, is_applicable=index in applicable: is_applicable)
        open_run(stages)
        assert [index for index in range(bar.count()) if content.tabs.isTabVisible(index)] == list(applicable)
        assert set(gaps()) == {0}
