from __future__ import annotations

from reports.charts.over_time import rates_over_time
from reports.model import Report


def test_in_a_closed_loop_nothing_is_offered(clients_report: Report, full_report: Report) -> None:
    closed, offered = rates_over_time(clients_report), rates_over_time(full_report)
    assert closed is not None
    assert offered is not None
    assert closed.title == "What was sent, completed and good"
    assert closed.columns == ("at, s", "sent/s", "completed/s", "good/s", "in flight")
    assert "requests were sent over" in closed.alternative
    assert offered.title == "What was offered, sent, completed and good"
    assert "requests were offered over" in offered.alternative
