"""Flows (c), an endpoint is tested and benchmarked, and (d), its max rate is searched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLineEdit
from pytestqt.qtbot import QtBot

from app.gui.run.connection_test_panel import ConnectionTestPanel
from app.gui.run.preview import Preview
from app.gui.run.search_editor import SearchEditor
from app.gui.window import Window
from app.profiles import templates
from app.profiles.document import KeyPath
from app.records.events import NoteAdded
from app.storage.run_directory import StoredRun, find_run
from loadgen.reference.script import HttpMock, OpenAiMock, Script, ServiceModel
from loadgen.reference.scripted import ScriptedServer
from reports.formatting import format_number
from tests.fakes.window_actions import (
    InputCounter,
    assert_verdict_is_shown,
    click,
    fill_in,
    find,
    is_page_shown,
    press,
    press_key,
    texts_of,
    type_in,
)

OpenWindow = Callable[[], Window]
_PATIENCE_MS = 300_000


@pytest.fixture
def chat_server() -> Iterator[str]:
    """A model server with one model, which responds within 20 ms."""
    tokens = ServiceModel(delay_s=0.02, servers=4)
    with ScriptedServer(Script(protocols=(OpenAiMock(tokens, model="llama"),))) as server:
        yield server.url


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A server with two parallel requests of 20 ms each: it sustains 100 req/s."""
    with ScriptedServer(Script(protocols=(HttpMock(ServiceModel(delay_s=0.02, servers=2)),))) as server:
        yield f"{server.url}/score"


def create_profile(qtbot: QtBot, window: Window, url: str) -> None:
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    press_key(window, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(is_page_shown(window, "run"))
    fill(qtbot, window, ("target", "url"), url)


def fill(qtbot: QtBot, window: Window, path: KeyPath, text: str) -> None:
    fill_in(qtbot, window.pages.run.form.find_part(path).editor.line, text)


def start(qtbot: QtBot, window: Window) -> StoredRun:
    """Press Start on the Run page and wait until the run is running."""
    page = window.pages.run
    qtbot.waitUntil(page.header.start_button.isEnabled)
    press(qtbot, page, "Start (F5)")
    return wait_until_running(qtbot, window)


def wait_until_running(qtbot: QtBot, window: Window) -> StoredRun:
    qtbot.waitUntil(is_page_shown(window, "live"))
    qtbot.waitUntil(lambda: window.pages.live.state.status == "running", timeout=_PATIENCE_MS)
    directory = window.pages.live.state.directory
    assert directory is not None
    return StoredRun(directory)


def wait_for_results(qtbot: QtBot, window: Window, run: StoredRun) -> None:
    qtbot.waitUntil(is_page_shown(window, "results"), timeout=_PATIENCE_MS)
    assert find_run("last").directory == run.directory
    assert_verdict_is_shown(qtbot, window, run)


def test_ttft_by_concurrency_of_a_chat_server_needs_four_clicks(
    open_window: OpenWindow, chat_server: str, endpoint: str, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new user knows only the URL. A note is added to the running benchmark; afterwards an HTTP endpoint is tested in
    the same window."""
    short = {"sweep": {"concurrency": [1, 2], "step_duration": "3s"}}
    monkeypatch.setattr(templates, "_CONCURRENCY_SWEEP", short)
    window, url = open_window(), f"{chat_server}/v1/chat/completions"
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    with InputCounter() as hand:
        click(qtbot, window, "Load-test an endpoint")
        qtbot.waitUntil(lambda: isinstance(QApplication.focusWidget(), QLineEdit))
        type_in(window, url)
        page = window.pages.run
        click(qtbot, page, "Test connection")
        connection = find(page, ConnectionTestPanel)
        qtbot.waitUntil(lambda: connection.badge.text() == "PASS", timeout=_PATIENCE_MS)
        click(qtbot, connection, "Use suggested SLO")
        test_rows, tree = dict(connection.rows.rows), page.presenter.document.tree
        qtbot.waitUntil(page.header.start_button.isEnabled)
        click(qtbot, page.header, "Start (F5)")
        run = wait_until_running(qtbot, window)
    assert (hand.clicks, hand.typed) == (4, url)
    assert tree["target"] == {"protocol": "openai-chat", "model": "llama", "url": f"{chat_server}/v1"}
    assert (connection.badge.text(), test_rows["Status"], test_rows["Model"]) == ("PASS", "200", "llama")
    assert [objective.partition(" ")[0] for objective in tree["slo"]] == ["ttft_ms.p95", "tpot_ms.p95", "goodput_share"]
    body = window.pages.live.body
    assert body is not None
    qtbot.waitUntil(lambda: body.charts.rates.frame().notna().to_numpy().sum() > 3, timeout=_PATIENCE_MS)
    fill_in(qtbot, body.controls.note, "the cache is warm now")
    wait_for_results(qtbot, window, run)
    assert [event.text for event in run.events() if isinstance(event, NoteAdded)] == ["the cache is warm now"]
    content = window.pages.results.content()
    content.tabs.setCurrentWidget(content.validity_tab)
    qtbot.waitUntil(lambda: any("the cache is warm now" in text for text in texts_of(content.validity_tab)))
    closed = [stage for stage in run.complete_result.stages if stage.kind == "closed"]
    ttft_by_concurrency = {stage.concurrency: stage.metrics["ttft_ms"]["p50"].value for stage in closed}
    assert list(ttft_by_concurrency) == [1, 2]
    assert all(ttft_ms is not None and ttft_ms > 0 for ttft_ms in ttft_by_concurrency.values())
    check_http_endpoint(qtbot, window, endpoint)


def check_http_endpoint(qtbot: QtBot, window: Window, endpoint: str) -> None:
    create_profile(qtbot, window, endpoint)
    page = window.pages.run
    connection, preview = find(page, ConnectionTestPanel), find(page, Preview)
    press(qtbot, page, "Test connection")
    qtbot.waitUntil(lambda: bool(connection.rows.rows), timeout=30_000)
    test_rows = dict(connection.rows.rows)
    assert connection.badge.text() == "PASS"
    assert test_rows["Status"] == "200"
    assert test_rows["Total time"].endswith("ms")
    for key, text in (("rate", "30/s"), ("duration", "5s")):
        fill(qtbot, window, ("load", "stages", 0, key), text)
    expected_summary = f"The run sends about 150 requests to {endpoint}, for at most "
    qtbot.waitUntil(lambda: preview.start_summary.text().startswith(expected_summary))


@pytest.mark.soak  # the quickstart test asserts its rate, and test_flow_first_run searches from the window
def test_max_rate_is_reported_and_failed_steps_are_on_the_curve(
    open_window: OpenWindow, endpoint: str, qtbot: QtBot
) -> None:
    window = open_window()
    create_profile(qtbot, window, endpoint)
    page = window.pages.run
    form = page.form
    fill(qtbot, window, ("load", "stages", 0, "duration"), "500ms")
    fill(qtbot, window, ("load", "warmup"), "0s")
    press(qtbot, page, "Max rate")
    press(qtbot, page, "Find max rate")
    objectives = form.find_part(("slo",)).editor
    fill_in(qtbot, objectives.rows[0].line, "latency_ms.p95 < 200")
    search = find(page, SearchEditor)
    qtbot.waitUntil(search.fields.isVisible)
    fill_in(qtbot, search.start, "40/s")
    fill_in(qtbot, search.step_duration, "500ms")
    search.repeats.setValue(1)
    run = start(qtbot, window)
    wait_for_results(qtbot, window, run)
    result = json.loads((run.directory / "result.json").read_text())
    stages = [stage for stage in result["stages"] if stage["kind"] in ("probe", "step")]
    content = window.pages.results.content()
    (curve,) = content.load_curves.charts
    if result["verdict"]["status"] == "INVALID":  # the machine was too busy for a search
        return
    assert 50 < result["max_rate"]["per_s"]["value"] < 110
    max_rate_texts = [
        text for text in texts_of(content.tiles) if text.startswith(format_number(result["max_rate"]["per_s"]["value"]))
    ]
    assert max_rate_texts, texts_of(content.tiles)
    points = curve.frame()
    failed_names = {stage["name"] for stage in stages if stage["meets_slo"] is False}
    hollow_names = points[points["Hollow"] == True]["Name"]  # noqa: E712 - lines have no value
    assert failed_names
    assert {name.partition(":")[0] for name in hollow_names} >= failed_names
