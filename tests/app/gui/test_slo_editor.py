from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCompleter, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from app.analysis.objectives import parse_objective
from app.gui.slo_editor import LimitsEditor, SloEditor, format_simple_objective, list_metric_choices
from app.gui.widgets import vbox
from app.records.metrics import METRICS

OWN = ("latency_ms.p95 < 50", "error_rate < 0.1%")


@pytest.fixture
def editor(qtbot: QtBot) -> SloEditor:
    editor = SloEditor()
    qtbot.addWidget(editor)
    editor.show_slo(OWN, OWN)
    return editor


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("latency_ms.p99.9  <  50", "latency_ms.p99.9 < 50"),
        ("error_rate < 0.25%", "error_rate < 0.25%"),
        ("goodput_share > 99%", "goodput_share > 99%"),
        ("latency_ms.p95 <= 50", "latency_ms.p95 <= 50"),
        ("latency_ms.p95 < 50 | warn", "latency_ms.p95 < 50 | warn"),
    ],
)
def test_slo_line_writes_the_objective_in_normal_form(editor: SloEditor, text: str, written: str) -> None:
    editor.show_slo((text,), OWN)
    assert (editor.texts(), editor.lines[0].problem) == ((written,), None)


def test_valid_objective_is_emitted_and_incomplete_objective_is_not(qtbot: QtBot, editor: SloEditor) -> None:
    with qtbot.waitSignal(editor.edited) as edited:
        editor.lines[0].setText("latency_ms.p95 < 5")
    assert edited.args == [("latency_ms.p95 < 5", OWN[1])]
    with qtbot.assertNotEmitted(editor.edited):
        editor.lines[0].setText("latency_ms.p95 <")
    assert editor.lines[0].message.text()


def test_slo_lines_are_added_removed_and_reset(qtbot: QtBot, editor: SloEditor) -> None:
    assert not editor.reset_button.isEnabled()
    editor.add_button.click()
    with qtbot.waitSignal(editor.edited) as edited:
        editor.lines[-1].setText("ttft_ms.p95 < 500")
    assert edited.args == [(*OWN, "ttft_ms.p95 < 500")]
    with qtbot.waitSignal(editor.edited) as edited:
        editor.lines[0].remove_button.click()
    assert edited.args == [(OWN[1], "ttft_ms.p95 < 500")]
    with qtbot.waitSignal(editor.edited) as edited:
        editor.reset_button.click()
    assert edited.args == [None]
    assert editor.texts() == OWN


def test_every_completion_starts_a_valid_objective(editor: SloEditor) -> None:
    completer = editor.lines[0].completer()
    assert isinstance(completer, QCompleter)
    model = completer.model()
    completions = [str(model.index(row, 0).data()) for row in range(model.rowCount())]
    assert "latency_ms.p99.9 " in completions
    assert "error_rate " in completions
    for text in completions:
        is_share = METRICS[text.strip().partition(".")[0]].unit == "share"
        parse_objective(f"{text}< {'1%' if is_share else '1'}")


def test_tab_key_moves_through_lines_and_buttons(qtbot: QtBot) -> None:
    page, before, editor = QWidget(), QLineEdit(), SloEditor()
    vbox(before, editor, QLineEdit(), within=page)
    qtbot.addWidget(page)
    with qtbot.waitActive(page):
        page.show()
        page.activateWindow()
    editor.show_slo(("latency_ms.p95 < 50", "error_rate < 1%"), ())
    qtbot.waitUntil(lambda: all(line.isVisible() for line in editor.lines))
    before.setFocus()
    focused_widgets: list[QWidget | None] = []
    for _ in range(6):
        qtbot.keyClick(page.focusWidget(), Qt.Key.Key_Tab)
        focused_widgets.append(page.focusWidget())
    first, second = editor.lines
    assert focused_widgets == [
        first, first.remove_button, second, second.remove_button, editor.add_button, editor.reset_button,
    ]  # fmt: skip


DEFAULTS = ("ttft_ms.p95 < 500", "goodput_share >= 90%")


def test_metrics_of_the_protocol_are_listed_first() -> None:
    choices = list_metric_choices(DEFAULTS)
    assert choices[:3] == ("ttft_ms.p95", "goodput_share", "ttft_ms.p50")
    assert {"itl_ms.p95", "latency_ms.p99", "error_rate"} < set(choices)
    assert "ttft_ms.p50" not in list_metric_choices(("latency_ms.p95 < 50",))
    assert [choice for choice in list_metric_choices(("service_ms.p95 < 50",)) if "latency" in choice] == []
    for choice in choices:
        assert parse_objective(format_simple_objective(choice, "5")).limit in (5, 0.05)


def test_limits_editor_edits_metric_and_limit_of_each_objective(qtbot: QtBot) -> None:
    editor = LimitsEditor()
    edited: list[list[str] | None] = []
    qtbot.addWidget(editor)

    def apply_slo(slo: list[str] | None) -> None:
        edited.append(slo)
        editor.show_slo(slo or [], DEFAULTS)

    editor.edited.connect(apply_slo)
    editor.show_slo([*DEFAULTS, "latency_ms.p95 < 50 | warn"], DEFAULTS)
    first, share, warning = editor.lines
    assert [first.metric_box.currentText(), first.limit_line.text(), first.unit_label.text()] == [
        "p95 TTFT",
        "500",
        "ms",
    ]
    assert [share.comparator_label.text(), share.limit_line.text(), share.unit_label.text()] == ["≥", "90", "%"]
    assert (warning.metric_box.isHidden(), warning.text_label.text()) == (True, "p95 latency < 50 ms")
    first.limit_line.selectAll()
    qtbot.keyClicks(first.limit_line, "40")
    assert edited[-1] == ["ttft_ms.p95 < 40", *editor.texts()[1:]]
    assert editor.lines[0] is first, "the cursor stays in the line"
    share.metric_box.setCurrentIndex(share.metric_box.findData("error_rate"))
    share.metric_box.activated.emit(0)
    assert edited[-1] == ["ttft_ms.p95 < 40", "error_rate < 1%", "latency_ms.p95 < 50 | warn"]
    editor.show_slo(["latency_ms.p95 <= 50", *editor.texts()[1:]], DEFAULTS)
    latency = editor.lines[0]
    latency.limit_line.selectAll()
    qtbot.keyClick(latency.limit_line, Qt.Key.Key_Delete)
    qtbot.keyClicks(latency.limit_line, "60")
    latency.metric_box.setCurrentIndex(latency.metric_box.findData("ttft_ms.p95"))
    latency.metric_box.activated.emit(0)
    assert edited[-2:] == [
        ["latency_ms.p95 <= 60", *editor.texts()[1:]],
        ["ttft_ms.p95 <= 60", *editor.texts()[1:]],
    ], "the comparator stays, also without a limit and for a metric of the same kind"
    editor.show_slo(["ttft_ms.p95 < 40", *editor.texts()[1:]], DEFAULTS)
    editor.lines[2].remove_button.click()
    editor.add_button.click()
    assert editor.texts() == ["ttft_ms.p95 < 40", "error_rate < 1%", "goodput_share >= 90%"]
    for _ in range(3):
        editor.lines[0].remove_button.click()
    assert edited[-1] is None
    assert not editor.empty_label.isHidden()
