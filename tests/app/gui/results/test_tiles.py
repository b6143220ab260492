from __future__ import annotations

import msgspec
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.tiles import TileCard, Tiles
from app.gui.theme import ThemeChoice, ThemeController
from app.records.result import Result
from app.reporting.report import build_report
from reports import formatting
from reports.decision import display_tiles
from reports.model import HeadlineTile
from reports.quantity import Quantity
from reports.rendering import render
from reports.sections.stages import STAGES
from tests.fakes.random_results import results
from tests.fakes.results import COMMAND, SPEC

_NO_TELEMETRY = pd.DataFrame(columns=["at_ns", "source", "metric", "value"])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(results())
def test_tiles_and_stage_table_show_the_formatted_report_numbers(qapp: QApplication, result: Result) -> None:
    """tests/reports/test_rendering.py tests the same for the report formats."""
    report = build_report(result, pd.DataFrame(), _NO_TELEMETRY, SPEC, COMMAND, msgspec.json.encode(result).decode())
    report_text = render(report, "text")
    tiles, shown = Tiles(), display_tiles(report)
    tiles.show_tiles(shown)
    for tile, card in zip(shown, tiles.cards, strict=True):
        number = formatting.format_value_unit(tile.quantity)
        assert card.value.text() == number
        interval = formatting.format_interval(tile.quantity)
        assert interval is None or any(interval in text for text in card.texts())
        assert f"{tile.label} {formatting.format_quantity(tile.quantity)}".replace(
            formatting.THIN_SPACE, " "
        ) in " ".join(report_text.split())
    for stages in frames.build_section_frames(STAGES, report):
        model = QuantityModel(stages.headers, [*stages.quantities])
        model.set_rows(stages.frame, stages.invalid_rows)
        names = [str(name) for name in model.frame.columns]
        for row_index, row in enumerate(report.stages):
            for column in ("offered", "achieved", "good", "p50", "p95", "p99"):
                assert model.index(row_index, names.index(column)).data() == formatting.format_quantity(
                    getattr(row, column)
                )
    tiles.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.mark.parametrize(
    ("quantity", "is_struck", "lines"),
    [
        (Quantity(12.3, "ms", (11.0, 14.0), 378), False, ["95 % CI: 11.0–14.0\u202fms", "measured, n = 378", "in low"]),
        (Quantity(12.3, "ms", validity="INVALID"), True, ["INVALID", "measured", "in low"]),
        (
            Quantity(None, "ms", n=7, reason="7 of 368 required samples", validity="INVALID"),
            False,
            ["7 of 368 required samples"],
        ),
        (
            Quantity(None, "ms", n=7, reason="7 of 368 required samples", validity="INVALID", undersampled=12.3),
            True,
            ["INVALID", "7 of 368 required samples"],
        ),
    ],
)
def test_tile_of_an_invalid_or_undersampled_value_is_struck_through_with_the_reason(
    qtbot: QtBot, quantity: Quantity, is_struck: bool, lines: list[str]
) -> None:
    card = TileCard(HeadlineTile(label="Latency p99", quantity=quantity, note="in low"))
    qtbot.addWidget(card)
    assert card.value.font().strikeOut() is is_struck
    assert card.texts() == ["Latency p99", formatting.format_value_unit(quantity), *lines]


def test_invalid_stage_is_struck_through_and_sorted_by_its_value(qapp: QApplication) -> None:
    model = QuantityModel(None, ("p95",))
    frame = pd.DataFrame(
        {"stage": ["a", "b", "c"], "p95": [Quantity(9.0, "ms"), Quantity(80.0, "ms"), Quantity(None, "ms")]}
    )
    model.set_rows(frame, (1,), {1: "INVALID: late sends: 4 %"})
    struck = model.index(1, 1).data(Qt.ItemDataRole.FontRole)
    assert struck.strikeOut()
    assert model.index(0, 1).data(Qt.ItemDataRole.FontRole) is None
    assert "late sends: 4 %" in model.index(1, 1).data(Qt.ItemDataRole.ToolTipRole)
    model.sort(1, Qt.SortOrder.DescendingOrder)
    assert [model.index(row, 0).data() for row in range(3)] == ["b", "a", "c"]
    assert model.index(2, 1).data() == "n/a"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_undersampled_percentile_is_muted_with_its_sample_count(
    qtbot: QtBot, qapp: QApplication, theme: ThemeChoice
) -> None:
    controller = ThemeController(qapp, theme)
    undersampled = Quantity(None, "ms", n=57, reason="57 of 72 required samples", undersampled=54.43)
    enough, missing = Quantity(54.43, "ms"), Quantity(None, "ms", reason="not measured")
    model = QuantityModel(None, ("p95",))
    model.set_rows(pd.DataFrame({"stage": ["a", "b", "c"], "p95": [undersampled, enough, missing]}))
    indexes = [model.index(row, 1) for row in range(3)]
    assert [index.data() for index in indexes] == ["54.4\u202fms (n = 57)", "54.4\u202fms", "n/a"]
    colors = [index.data(Qt.ItemDataRole.ForegroundRole) for index in indexes]
    assert colors[0].color().name() == controller.theme.muted
    assert colors[1:] == [None, None]
    assert "too few samples" in indexes[0].data(Qt.ItemDataRole.ToolTipRole)
    card = TileCard(HeadlineTile(label="p95 latency", quantity=undersampled))
    qtbot.addWidget(card)
    card.ensurePolished()
    assert card.value.text() == "54.4\u202fms (n = 57)"
    assert card.value.palette().windowText().color().name() == controller.theme.muted
