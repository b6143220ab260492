"""Flow (b): a model is dropped on the window, inspected, quantized, benchmarked and shown."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.run.model_editor import ModelEditor
from app.gui.run.preview import Preview
from app.gui.window import Window
from app.profiles.bundled import bundled_models
from app.storage.run_directory import find_run
from tests.fakes.window_actions import (
    InputCounter,
    assert_verdict_is_shown,
    click,
    drop_files,
    fill_in,
    find,
    is_page_shown,
    press,
)


def test_dropped_model_is_inspected_benchmarked_and_shown(open_window: Callable[[], Window], qtbot: QtBot) -> None:
    """fp32, as stored, is compared with int8 in two clicks after the drop; the other settings shorten the run."""
    window = open_window()
    assert drop_files(window, bundled_models()["digits"]) == "Benchmark this model"
    assert is_page_shown(window, "run")()
    page = window.pages.run
    editor, preview = find(page, ModelEditor), find(page, Preview)
    qtbot.waitUntil(lambda: editor.tree.isVisible() and editor.tree.model().rowCount() > 0)
    inspection = editor.inspector.state.inspection
    assert inspection is not None
    with InputCounter() as hand:
        click(qtbot, editor.precision, "int8-dynamic")
        shorten_run(qtbot, window)
        qtbot.waitUntil(page.header.start_button.isEnabled)
        summary = "The run measures 2 stages on this machine"
        qtbot.waitUntil(lambda: summary in preview.start_summary.text(), timeout=60_000)
        click(qtbot, page.header, "Start (F5)")
        qtbot.waitUntil(is_page_shown(window, "live"))
    assert hand.clicks == 2
    qtbot.waitUntil(lambda: window.pages.live.body is not None and is_listing_variants(window), timeout=60_000)
    qtbot.waitUntil(is_page_shown(window, "results"), timeout=60_000)
    run = find_run("last")
    assert_verdict_is_shown(qtbot, window, run)
    local = run.complete_result.local
    assert local is not None
    variants = [(variant.variant.model, variant.variant.batch, variant.variant.precision) for variant in local.variants]
    assert variants == [("digits", 1, "as-is"), ("digits", 1, "int8-dynamic")]
    table = window.pages.results.content().tabs.currentWidget()
    assert table is not None


def shorten_run(qtbot: QtBot, window: Window) -> None:
    form = window.pages.run.form
    press(qtbot, find(window.pages.run, ModelEditor).batch, "8")  # unchecks 8 of the defaults 1 and 8
    press(qtbot, get_scenarios_editor(window), "offline")
    for key, text in (("warmup", "1s"), ("min_duration", "200ms"), ("max_duration", "1s"), ("cold_starts", "0")):
        fill_in(qtbot, form.find_part(("load", key)).editor.line, text)


def is_listing_variants(window: Window) -> bool:
    body = window.pages.live.body
    return body is not None and body.variants.isVisible() and body.variants.frame_model.rowCount() == 2


def get_scenarios_editor(window: Window) -> QWidget:
    editor: QWidget = window.pages.run.form.find_part(("load", "scenarios")).editor
    return editor
