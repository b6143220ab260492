from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.gui.charts.export import find_export_caption
from app.gui.engine.launch import ENGINE_LOG
from app.gui.live.body import LiveBody
from app.gui.live.page import LivePage
from app.gui.live.panels import FailureTable
from app.gui.live.state import LiveState, RunStatus
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Launch, Navigation
from app.gui.theme import ThemeController
from app.records.events import CallsFinished, ErrorReported, Event, PhaseChanged, RunStarted, VariantStarted
from app.records.local import GenerationTest
from app.records.result import ErrorSample
from app.records.trial import Failure
from app.storage.control import CONTROL
from app.storage.run_directory import RESULT, StoredRun, runs_home
from loadgen.reference.script import Script
from loadgen.reference.scripted import ScriptedServer
from reports.model import ErrorSummary
from tests.fakes import language_model_runs
from tests.fakes.calls import stage_of
from tests.fakes.live_runs import (
    INVALID,
    at,
    run_finished,
    run_started,
    second_of_host,
    snapshot,
    stage_finished,
    stage_started,
    whole_run,
    write_events,
    write_telemetry,
)
from tests.fakes.program import write_profile
from tests.fakes.window_actions import texts_of


class ShownWindows(QObject):
    def __init__(self, application: QApplication) -> None:
        super().__init__(application)
        self.shown_names: list[str] = []
        application.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - as Qt names it
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
            self.shown_names.append(type(watched).__name__)
        return False


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> LivePage:
    page = LivePage(navigation, theme)
    qtbot.addWidget(page)
    page.resize(1100, 800)
    page.show()
    return page


def get_body(page: LivePage) -> LiveBody:
    assert page.body is not None
    return page.body


def get_status(page: LivePage) -> RunStatus:
    return page.state.status


def get_action_text(strip: MessageStrip) -> str | None:
    """Return the text of the action button; `None` if the strip has only its fixed buttons."""
    fixed = ("Show &details", "&Copy details")
    texts = [
        button.text()
        for button in strip.findChildren(QPushButton)
        if not button.isHidden() and button.text() not in fixed
    ]
    return texts[0] if texts else None


def press_action(qtbot: QtBot, strip: MessageStrip) -> None:
    text = get_action_text(strip)
    button = next(candidate for candidate in strip.findChildren(QPushButton) if candidate.text() == text)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def watch_until(page: LivePage, qtbot: QtBot, directory: Path, until: Callable[[LiveState], bool]) -> LiveBody:
    page.watch(directory)
    qtbot.waitUntil(lambda: until(page.state))
    return get_body(page)


def test_idle_live_page_opens_the_setup_and_the_last_run(page: LivePage, navigation: Navigation, qtbot: QtBot) -> None:
    write_events(runs_home() / "20260101-last", whole_run())
    assert (page.command_line(), page.run_directories(), page.is_running) == (None, (), False)
    page.enter()
    qtbot.waitUntil(page.idle.last_button.isVisible)
    with qtbot.waitSignal(navigation.page_requested) as page_request:
        qtbot.mouseClick(page.idle.set_up_button, Qt.MouseButton.LeftButton)
    assert page_request.args == ["run"]
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        qtbot.mouseClick(page.idle.last_button, Qt.MouseButton.LeftButton)
    assert opened.args == [runs_home() / "20260101-last"]


def test_running_run_is_watched_by_the_live_page_until_its_process_is_lost(
    page: LivePage, navigation: Navigation, qtbot: QtBot
) -> None:
    run = runs_home() / "20260101-going"
    (run / CONTROL).mkdir(parents=True)
    write_events(run, [run_started(run, os.getpid()), stage_started(0, 1), snapshot(0, 2, 1)])
    navigation.watch_run_requested.connect(page.watch)  # the window does this, too
    page.enter()
    qtbot.waitUntil(lambda: page.state.status == "running")
    assert page.is_running
    assert page.command_line() == "sizewise runs attach 20260101-going"
    (run / CONTROL).rmdir()
    qtbot.waitUntil(lambda: page.state.status == "lost")


def test_finished_run_is_replayed_on_the_live_page(
    page: LivePage, navigation: Navigation, qtbot: QtBot, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_id = "20251117-093000-watched-0a1b"
    write_events(
        run, [replace(event, run_id=run_id) if isinstance(event, RunStarted) else event for event in whole_run(4)]
    )
    write_telemetry(run, map(second_of_host, range(1, 40)))
    (run / RESULT).touch()
    body = watch_until(page, qtbot, run, lambda state: state.status == "finished")
    qtbot.waitUntil(lambda: all(chart.series() for chart in body.charts.linked.charts) and not body.is_painting)
    caption = find_export_caption(body.charts)
    assert caption is not None
    assert caption.date == "2025-11-17T09:30:00+00:00", "when the run started, not when it is shown"
    assert body.header.progress.text() == "4 of 4 done"
    assert body.badge.text() == "VALID"
    assert "Duration 0:42" in body.header.times.text()
    assert body.ribbon.accessibleDescription().count("✓ SLO met") == 4
    assert [line.label for line in body.charts.rates.series()] == ["offered", "sent", "completed", "goodput"]
    assert [line.label for line in body.charts.latency.series()] == ["p50", "p95", "p99", "p99 send lag"]
    assert body.charts.latency.decorations.limit == 50
    assert [line.label for line in body.charts.machine.series()] == ["whole machine (%)"]
    body.charts.view.setCurrentIndex(body.charts.view.findData("process_cpu"))
    assert body.charts.machine.series()[0].label == "endpoint (% of a core)"
    assert body.validity.visible_texts() == [("✓ VALID", "send lag p99: 0.200\u202fms (limit 5\u202fms)", "")]
    assert not body.header.stop.isVisible()
    assert not body.controls.isVisible()
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        press_action(qtbot, page.strip)
    assert opened.args == [run]
    assert page.command_line() == f"sizewise runs attach {run}"


def test_live_page_shows_no_window_of_its_own(page: LivePage, qtbot: QtBot, tmp_path: Path, qapp: QApplication) -> None:
    """A widget that is shown before it has a parent flashes up as a window and takes the focus."""
    watcher = ShownWindows(qapp)
    write_events(tmp_path, [*whole_run(1)])
    watch_until(page, qtbot, tmp_path, lambda state: state.status == "finished")
    qapp.removeEventFilter(watcher)
    assert watcher.shown_names == []


def test_machine_chart_shows_the_selected_view(page: LivePage, qtbot: QtBot, tmp_path: Path) -> None:
    write_events(tmp_path, whole_run(1))
    write_telemetry(tmp_path, map(second_of_host, range(1, 12)))
    body = watch_until(page, qtbot, tmp_path, lambda state: state.status == "finished")
    qtbot.waitUntil(lambda: bool(body.charts.machine.series()))
    body.charts.view.setCurrentIndex(body.charts.view.findData("memory"))
    assert body.charts.machine.series()[0].label == "whole machine (GiB)"
    assert len(body.charts.machine.series()) == 4


def test_live_page_of_a_language_model_has_token_charts_and_a_table_of_tests(
    page: LivePage, qtbot: QtBot, tmp_path: Path, qapp: QApplication
) -> None:
    watcher = ShownWindows(qapp)
    variant, tests = language_model_runs.variant(), ("pp512", "tg16")
    stage = language_model_runs.measured_stage(variant, GenerationTest(512, 0))
    test = replace(stage_started(0, 2, kind="closed"), test="pp512")
    value = replace(snapshot(0, 3, 2), prefill_tokens_per_s=2060.0)
    write_events(
        tmp_path, [replace(run_started(), is_local=True), VariantStarted(at(1), 1, 1, variant, "batch 1", tests)]
    )
    write_events(tmp_path, [test, value, CallsFinished(at(9), stage_of(), stage), run_finished(10)])
    body = watch_until(page, qtbot, tmp_path, lambda state: state.status == "finished")
    qtbot.waitUntil(lambda: bool(body.kpis.visible_texts()) and not body.is_painting)
    assert body.kpis.visible_texts()[0] == ("Prefill throughput", "2,060\u202ftok/s", "pp512")
    visible_charts = [chart for chart in body.charts.linked.charts if chart.isVisible()]
    assert [chart.title for chart in visible_charts] == ["Prefill throughput", "Decode throughput", "ITL", "Machine"]
    assert visible_charts[0].frame()["prefill (tok/s)"].max() == 2060
    assert body.charts.view.currentData() == "process_memory"
    model = body.generation.frame_model
    assert [model.data(model.index(0, column)) for column in range(5)] == ["1: batch 1", "pp512", "2,530", "–", "–"]
    assert not body.variants.isVisible()
    assert not body.failures.isVisible()
    assert not body.controls.rate.isVisible()
    qapp.removeEventFilter(watcher)
    assert watcher.shown_names == [], "no chart is a window of its own"
    write_events(tmp_path / "next", [*whole_run(1)])
    watch_until(page, qtbot, tmp_path / "next", lambda state: state.status == "finished" and state.elapsed_s == 12)
    assert [chart.title for chart in body.charts.linked.charts if chart.isVisible()][:2] == [
        "Request rate",
        "Latency and send lag",
    ]
    assert body.failures.isVisible()


def test_invalid_measurement_is_reported_until_the_stage_is_repeated(
    page: LivePage, qtbot: QtBot, tmp_path: Path
) -> None:
    (tmp_path / CONTROL).mkdir()
    events: list[Event] = [
        run_started(tmp_path, os.getpid()),
        stage_started(0, 1),
        stage_finished(0, 11, INVALID, name="step"),
    ]
    write_events(tmp_path, events)
    body = watch_until(page, qtbot, tmp_path, lambda state: state.validity == "INVALID")
    assert "The measurement is invalid so far" in page.strip.text()
    assert "send lag p99: 80 ms" in page.strip.text()
    qtbot.waitUntil(lambda: [mark for mark, _, _ in body.validity.visible_texts()] == ["✕ INVALID"])
    assert "stop other work" in body.validity.visible_texts()[0][2]
    content, width = body.validity.widget(), body.validity.viewport().width()
    assert content is not None
    assert content.minimumHeight() == content.heightForWidth(width), "otherwise its texts are clipped"
    write_events(tmp_path, [stage_started(1, 12), stage_finished(1, 22, name="step")])
    qtbot.waitUntil(lambda: page.strip.text() == "")
    write_events(tmp_path, [run_finished(30)])
    qtbot.waitUntil(lambda: page.state.status == "finished")


def test_request_errors_are_listed_with_count_first_time_and_sample(
    page: LivePage, qtbot: QtBot, tmp_path: Path
) -> None:
    error_event = ErrorReported(at(4), 0, ErrorSample("timeout", at(4), "the request timed out"))
    write_events(
        tmp_path,
        [run_started(), stage_started(0, 1), error_event, snapshot(0, 4, 1, errors={"timeout": 2}), run_finished(5)],
    )
    body = watch_until(page, qtbot, tmp_path, lambda state: state.status == "finished")
    qtbot.waitUntil(lambda: body.failures.table.frame_model.rowCount() == 1)
    model = body.failures.table.frame_model
    texts = [model.data(model.index(0, column)) for column in range(4)]
    assert texts == ["timeout", "2", "0:04", "the request timed out"]
    assert body.failures.sample.text() == "timeout, first example: the request timed out"


def test_sample_of_the_selected_error_stays_while_errors_arrive(qtbot: QtBot) -> None:
    table = FailureTable()
    qtbot.addWidget(table)
    table.show()
    assert texts_of(table) == ["No responses yet."]
    table.show_failures((), has_responses=True)
    assert texts_of(table) == ["No errors have occurred."]
    lines = tuple(
        ErrorSummary(error=error, first_s=at, count=1, sample=f"seen {error}") for at, error in enumerate("abc")
    )
    table.show_failures(lines[:2], has_responses=True)
    assert table.sample.text() == "b, first example: seen b", "the newest"
    table.table.selectRow(0)
    assert table.sample.text() == "a, first example: seen a"
    table.show_failures(lines, has_responses=True)
    assert table.sample.text() == "a, first example: seen a"
    table.show_failures((), has_responses=True)
    assert table.sample.isHidden()
    table.show_failures(lines, has_responses=True)
    assert table.sample.text() == "c, first example: seen c"


def test_selected_ribbon_stage_is_marked_in_the_charts(page: LivePage, qtbot: QtBot, tmp_path: Path) -> None:
    write_events(tmp_path, whole_run(3))
    body = watch_until(page, qtbot, tmp_path, lambda state: state.status == "finished")
    qtbot.waitUntil(lambda: "stage 2" in body.ribbon.accessibleDescription())
    body.ribbon.setFocus()
    for _ in range(2):
        qtbot.keyClick(body.ribbon, Qt.Key.Key_Left)
    assert body.ribbon.accessibleDescription() == "stage 1: 100 req/s  ✓ SLO met"
    assert body.charts.latency.crosshair.x == 11
    assert [(band.start, band.end) for band in body.charts.latency.decorations.bands] == [(11, 21)]


def test_lost_process_is_reported_with_its_failure_and_partial_results_are_opened(
    page: LivePage, navigation: Navigation, qtbot: QtBot, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / CONTROL).mkdir(parents=True)
    engine = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    phase = PhaseChanged(at(1), "stages", "2 stage(s)", 2, 20.0)
    write_events(run, [run_started(run, engine.pid), phase, stage_started(0, 1), snapshot(0, 5, 1)])
    watch_until(page, qtbot, run, lambda state: state.status == "running")
    (run / ENGINE_LOG).write_bytes(msgspec.json.encode(Failure(5, "no space is left on the disk", "Free some.")))
    engine.kill()
    engine.communicate()
    qtbot.waitUntil(lambda: page.state.status == "lost")
    assert "ended unexpectedly" in page.strip.text()
    assert "no space is left on the disk" in page.strip.text().lower()
    assert "Free some. The results so far are stored" in page.strip.text()
    assert get_action_text(page.strip) == "Show resu&lts so far"
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        press_action(qtbot, page.strip)
    assert opened.args == [run]


def test_failed_launch_is_reported_with_its_reason(page: LivePage, qtbot: QtBot, tmp_path: Path) -> None:
    page.run.engine.launch(Launch(("run", "no-such-profile.yaml"), tmp_path / "run", "of nothing"))
    assert (page.state.status, page.state.name) == ("starting", "of nothing")
    qtbot.waitUntil(lambda: page.state.status == "failed")
    assert "no-such-profile.yaml" in page.strip.text()
    assert get_action_text(page.strip) is None


def test_run_stopped_during_its_start_is_no_error_and_leaves_no_directory(
    page: LivePage, qtbot: QtBot, tmp_path: Path
) -> None:
    page.run.engine.launch(Launch(("run", "no-such-profile.yaml"), tmp_path / "run", "x"))
    page.stop()
    page.stop()
    qtbot.waitUntil(lambda: page.state.status == "failed")
    assert page.strip.text() == "The run was stopped before the first measurement."
    assert not (tmp_path / "run").exists()


def test_live_run_is_annotated_changed_extended_and_stopped_and_its_results_open(
    page: LivePage, navigation: Navigation, qtbot: QtBot, tmp_path: Path, home: Path
) -> None:
    """The benchmark process itself runs against a scripted server."""
    run = home / "runs" / "20260101-real"
    states: list[LiveState] = []
    page.state_changed.connect(states.append)
    with ScriptedServer(Script(delay_s=0.005)) as server:
        profile = write_profile(tmp_path, server.url, rate="50/s", duration="60s")
        page.run.engine.launch(Launch(("run", profile), run, "test"))
        assert page.is_running
        body = get_body(page)
        assert body.header.status.text() or body.header.stop.isVisible()
        qtbot.waitUntil(lambda: len(body.charts.rates.series()) == 4, timeout=60_000)
        qtbot.waitUntil(lambda: body.controls.rate.isEnabled() and body.controls.rate.value() == 50)
        qtbot.keyClicks(body.controls.note, "driver updated")
        qtbot.keyClick(body.controls.note, Qt.Key.Key_Return)
        body.controls.rate.setValue(90)
        qtbot.mouseClick(body.controls.change_rate_button, Qt.MouseButton.LeftButton)
        texts = body.charts.rates.decorations
        body.controls.extension.setValue(20)
        assert body.controls.command() == "sizewise runs extend 20260101-real 20s"
        qtbot.mouseClick(body.controls.copy_button, Qt.MouseButton.LeftButton)
        assert QApplication.clipboard().text() == body.controls.command()
        qtbot.mouseClick(body.controls.extend_button, Qt.MouseButton.LeftButton)
        labels = {"driver updated", "rate 90 req/s", "extended by 20 s"}
        qtbot.waitUntil(lambda: {mark.label for mark in texts.markers} == labels)
        qtbot.keyClick(body.ribbon, Qt.Key.Key_Escape)
        assert "Stop this run?" in page.stop_strip.text()
        assert get_status(page) == "running", "the first Escape shows the confirmation only"
        with qtbot.waitSignal(navigation.open_run_requested, timeout=60_000) as opened:
            qtbot.keyClick(body.ribbon, Qt.Key.Key_Escape)
            assert get_status(page) == "stopping"
    assert opened.args == [run]
    assert get_status(page) == "finished"
    assert page.stop_strip.text() == ""
    assert "exit code 130" in page.strip.text()
    result = StoredRun(run).result
    assert result is not None
    assert "User note: driver updated" in result.notes
    assert any(note.endswith("stage steady was extended by 20 s to 80 s.") for note in result.notes)
    assert states[0].status == "starting"
    assert not page.is_running
    pid = next(event.pid for event in StoredRun(run).events() if isinstance(event, RunStarted))
    qtbot.waitUntil(lambda: not psutil.pid_exists(pid))
