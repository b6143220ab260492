from __future__ import annotations

import msgspec

from reports.charts.concurrency import concurrency_charts
from reports.charts.curve import rate_curve
from reports.charts.picture import static_svg
from reports.model import KneeRow, KneeSection, Quantity, Report
from reports.text import render_text


def with_knees(report: Report, unit: str, *at: float | None) -> Report:
    rows = tuple(
        KneeRow(
            name=f"method {place}",
            method=f"the method {place}",
            at=Quantity(value=one, unit=unit, reason=None if one else "still flat"),
            latency=Quantity(value=one, unit="ms"),
        )
        for place, one in enumerate(at)
    )
    return msgspec.structs.replace(report, knees=KneeSection(rows=rows, note="They disagree."))


def test_a_knee_among_rates_is_marked_on_the_rate_curve(full_report: Report) -> None:
    marked = rate_curve(with_knees(full_report, "1/s", 100.0, None, 150.0))
    assert marked is not None
    svg = static_svg(marked)
    assert "knee: method 0" in svg
    assert "knee: method 2" in svg
    assert "knee: method 1" not in svg, "it found none"
    elsewhere = rate_curve(with_knees(full_report, "clients", 4.0))
    assert elsewhere is not None
    assert "knee" not in static_svg(elsewhere)


def test_a_knee_among_clients_is_marked_on_both_charts(clients_report: Report) -> None:
    for drawing in concurrency_charts(with_knees(clients_report, "clients", 4.0)):
        assert "knee: method 0" in static_svg(drawing)


def test_the_text_tells_each_method_and_whether_they_agree(full_report: Report) -> None:
    text = render_text(with_knees(full_report, "1/s", 100.0, None))
    assert "Knee" in text
    assert "the method 0: 100/s, mean 100 ms" in text
    assert "the method 1: n/a (still flat)" in text
    assert "They disagree." in text
