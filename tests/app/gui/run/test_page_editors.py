from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from app.gui.run.lengths_editor import LengthsEditor
from app.gui.run.page import create_special_editors
from app.gui.run.preview import Preview
from app.gui.run.search_editor import SearchEditor
from app.gui.theme import ThemeController
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.pricing.catalog import get_price_list_path
from tests.fakes.edited_document import EditedDocument


def load_bundled(name: str, **changes: Any) -> EditedDocument:
    path = bundled_profiles()[name]
    document = EditedDocument(read_document(path.read_bytes(), str(path)).value, path)
    for key, value in changes.items():
        document.set_value(key.replace("__", "."), value)
    return document


def get_accessible_name(widget: QWidget) -> str:
    """Return the name that a screen reader reads; a button without an accessible name has its text."""
    return widget.accessibleName() or (widget.text() if isinstance(widget, QAbstractButton) else "")


def test_special_editors_are_visible_if_applicable_and_have_accessible_names(
    qtbot: QtBot, theme: ThemeController
) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    layout = QVBoxLayout(parent)
    editors = create_special_editors(theme)
    for editor in editors.values():
        layout.addWidget(editor)
    parent.show()
    document = load_bundled("http", target__url="http://127.0.0.1:1/")
    for editor in editors.values():
        editor.show_document(document)
    assert [key for key, editor in editors.items() if editor.isVisible()] == [
        "target.url", "load.sweep", "load.stages", "load.search", "preview"
    ]  # fmt: skip
    nameless = [
        widget
        for kind in (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox)
        for widget in parent.findChildren(kind)
        if widget.isVisible() and not widget.objectName().startswith("qt_") and not get_accessible_name(widget)
    ]
    assert nameless == []
    preview = editors["preview"]
    assert isinstance(preview, Preview)
    qtbot.waitUntil(lambda: preview.view.work is not None, timeout=30_000)
    search = editors["load.search"]
    assert isinstance(search, SearchEditor)
    qtbot.waitUntil(lambda: bool(search.view.rates_per_s), timeout=30_000)


def test_lengths_are_sampled_with_the_seed_of_the_profile(qtbot: QtBot, theme: ThemeController) -> None:
    editor = LengthsEditor(theme)
    qtbot.addWidget(editor)
    editor.show_document(load_bundled("chat"))
    qtbot.waitUntil(lambda: editor.view.prompts is not None, timeout=30_000)
    first = editor.view.prompts
    assert first is not None
    assert sum(first.shares) == pytest.approx(100)
    assert "tokens, median" in dict(editor.rows.rows)["Prompt"]
    assert "share" in {series.key for series in editor.output_chart.series()}
    editor.show_document(load_bundled("chat", load__seed=8))
    qtbot.waitUntil(lambda: editor.view.prompts != first, timeout=30_000)
    editor.show_document(load_bundled("chat", workload={"prompts": {"input_tokens": "many"}}))
    qtbot.waitUntil(lambda: editor.view.reason is not None, timeout=30_000)
    assert "'many' is not a valid length" in str(editor.view.reason)


def test_lengths_are_shown_for_an_incomplete_profile(qtbot: QtBot, theme: ThemeController) -> None:
    editor = LengthsEditor(theme)
    qtbot.addWidget(editor)
    workload = {"prompts": {"input_tokens": 40}}
    editor.show_document(EditedDocument({"target": {"protocol": "openai-chat"}, "workload": workload}))
    qtbot.waitUntil(lambda: editor.view.prompts is not None, timeout=30_000)
    assert dict(editor.rows.rows) == {"Prompt": "40 tokens per request"}


def test_preview_shows_work_requests_tokens_and_cost_or_the_reason(qtbot: QtBot) -> None:
    preview = Preview()
    qtbot.addWidget(preview)
    document = load_bundled("chat")
    preview.show_document(document)
    qtbot.waitUntil(lambda: preview.view.work is not None, timeout=30_000)
    tiles = {tile.name: (tile.value, tile.detail) for tile in preview.tiles()}
    assert tiles["Work"] == ("1 stage", "")
    assert tiles["Requests"] == ("about 400", "expected")
    assert tiles["Tokens"][0].endswith(" input")
    assert tiles["Cost"][0] == "n/a"
    assert preview.start_summary.text().startswith("The run sends about 400 requests to a server that the run starts")
    document.set_value("load.stages", [{"rate": "x"}])
    preview.show_document(document)
    qtbot.waitUntil(lambda: preview.view.work is None, timeout=30_000)
    assert preview.start_summary.text() == "The planned run appears here when the profile has no errors."
    assert preview.strip.text() == "", "the page states the error"
    assert preview.tiles() == ()
    prices = get_price_list_path()
    prices.parent.mkdir(parents=True)
    prices.write_text("{", "utf-8")
    preview.show_document(load_bundled("chat"))
    qtbot.waitUntil(lambda: preview.view.reason is not None, timeout=30_000)
    assert preview.strip.text().startswith(f"The run is not ready to start: {prices} cannot be read")
    assert preview.start_summary.isHidden()


def test_preview_of_variants_names_those_that_cannot_run(qtbot: QtBot) -> None:
    preview = Preview()
    qtbot.addWidget(preview)
    target = {"model": "digits", "threads": [1, 1000]}
    preview.show_document(EditedDocument({"sizewise": 1, "name": "mine", "target": target}, Path("/x/p.yaml")))
    qtbot.waitUntil(lambda: preview.view.unrunnable_variants is not None, timeout=30_000)
    ((cell, reason),) = preview.unrunnable_rows.rows
    assert cell == "1 variant"
    assert reason.endswith("(target.threads): digits cpu as-is, batch 1, 1000 threads")
    assert "measures 2 stages on this machine" in preview.start_summary.text()


def test_search_editor_adds_a_search_an_slo_and_edits_its_settings(qtbot: QtBot, theme: ThemeController) -> None:
    editor = SearchEditor(theme)
    qtbot.addWidget(editor)
    document = EditedDocument({"target": {"protocol": "http"}})

    def apply_edit(path: str, value: object) -> None:
        document.set_value(path, value)
        editor.show_document(document)

    editor.edited.connect(apply_edit)
    editor.show_document(document)
    editor.show()
    assert not editor.chart.isVisible()
    editor.search_box.click()
    assert document.value("load.search.start") == "10/s"
    qtbot.waitUntil(lambda: "needs an SLO" in editor.strip.text(), timeout=30_000)
    editor.strip.action_triggered.emit()
    assert document.value("slo") == ["latency_ms.p95 < 50"]
    qtbot.waitUntil(lambda: editor.strip.text() == "", timeout=30_000)
    assert editor.view.rates_per_s[:2] == (10, 20)
    assert editor.summary_label.text().startswith(
        "If the max rate is 10.0 to 2,500 req/s, the search needs 14 to 21 probes, "
    )
    editor.start.setText("40/s")
    editor.start.editingFinished.emit()
    assert document.value("load.search.start") == "40/s"
    qtbot.waitUntil(lambda: editor.view.rates_per_s[0] == 40, timeout=30_000)
    editor.arrivals.setCurrentText("gamma")
    editor.arrivals.activated.emit(2)
    editor.repeats.setValue(2)
    assert document.value("load.search") == {
        "arrivals": "gamma", "cv": 2.0, "start": "40/s", "step_duration": "10s", "repeats": 2,
        "max_duration": "5m",
    }  # fmt: skip
    for text, stored in (("10m", "10m"), ("", None)):
        editor.max_duration.setText(text)
        editor.max_duration.editingFinished.emit()
        assert document.value("load.search.max_duration") == stored
    assert editor.max_duration.text() == "5m", "without a value, the default applies"
    editor.step_duration.setText("long")
    editor.step_duration.editingFinished.emit()
    qtbot.waitUntil(lambda: "The search has errors" in editor.strip.text(), timeout=30_000)
    editor.search_box.click()
    assert document.value("load.search") is None
