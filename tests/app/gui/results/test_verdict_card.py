from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.gui.results.verdict_card import list_caveats
from app.reporting.report import build_report
from reports.model import CheckRow, Report
from tests.fakes.results import COMMAND, SPEC, full_run


@pytest.fixture(scope="module")
def report() -> Report:
    run = full_run()
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, "{}")


def test_caveats_are_failed_checks_by_severity_followed_by_notes(report: Report) -> None:
    late = CheckRow(id="late_sends", name="late sends", value=0.04, limit=0.01, unit="share", verdict="INVALID")
    caveats = list_caveats(replace(report, checks=(*report.checks, late), notes=("A note.",)))
    assert [(caveat.name, caveat.verdict) for caveat in caveats] == [
        ("late sends", "INVALID"),
        ("step duration", "WARN"),
        ("note", ""),
    ]
    assert ", limit 1" in caveats[0].text
