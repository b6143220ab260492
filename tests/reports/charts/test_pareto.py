from __future__ import annotations

import msgspec

from reports.charts.pareto import cost_front
from reports.model import Report


def test_the_recommended_offer_is_marked_and_carried_over_ones_are_hollow(full_report: Report) -> None:
    drawing = cost_front(full_report)
    assert drawing is not None
    values = max(drawing.spec["datasets"].values(), key=len)
    roles = {value["offer"]: (value["role"], value["fill"]) for value in values}
    assert roles["aws/c7i.large@us-east-1"] == ("recommended", "var(--paper)")
    assert roles["aws/c7i.xlarge@us-east-1"][0] == "runner-up"
    assert len(roles) == len(drawing.rows) == 6


def test_without_a_recommendation_the_offers_are_still_drawn(full_report: Report) -> None:
    plan = msgspec.structs.replace(full_report.plan, recommendation=None, runner_up=None)
    drawing = cost_front(msgspec.structs.replace(full_report, plan=plan))
    assert drawing is not None
    assert all(drawing.spec["datasets"].values())


def test_no_plan_or_no_feasible_offer_is_no_chart(full_report: Report, empty_report: Report) -> None:
    plan = msgspec.structs.replace(full_report.plan, offers=())
    assert cost_front(msgspec.structs.replace(full_report, plan=plan)) is None
    assert cost_front(empty_report) is None
