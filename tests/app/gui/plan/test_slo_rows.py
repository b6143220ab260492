from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from app.analysis.objectives import parse_objective
from app.gui.plan.slo_rows import SloRow


@pytest.mark.parametrize(
    ("text", "written", "has_fields"),
    [
        ("latency_ms.p99.9  <  50", "latency_ms.p99_9 < 50", True),
        ("error_rate < 0.25%", "error_rate < 0.25%", True),
        ("goodput_share > 99%", "goodput_share > 99%", True),
        ("latency_ms.p95 <= 50", "latency_ms.p95 <= 50", False),
        ("latency_ms.p95 < 50 | warn", "latency_ms.p95 < 50 | warn", False),
    ],
)
def test_a_row_writes_the_objective_that_it_shows(qtbot: QtBot, text: str, written: str, has_fields: bool) -> None:
    row = SloRow(parse_objective(text))
    qtbot.addWidget(row)
    assert (row.text(), not row.limit.isHidden()) == (written, has_fields)
