from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.options import candidate_of
from app.planning.outlook import outlook_of
from app.records.offers import PlanLimits
from app.records.plan import Outlook
from tests.fakes.offers import curve, question, target
from tests.fakes.planned import sized

SURE = PlanLimits(assurance=0.5, redundancy=0)


def outlook(peak_per_s: float, instances: int = 2, limits: PlanLimits = SURE, **traffic: Any) -> Outlook:
    """Of instances that carry 100/s each."""
    asked = question(target(curve(100.0)), peak_per_s=peak_per_s, limits=limits, **traffic)
    (best,), demand = sized(asked)
    return outlook_of(replace(candidate_of(best), needed=instances), demand, asked)


def test_a_steady_load_inside_fills_as_much_all_year() -> None:
    found = outlook(150.0)
    assert (found.hours_over, found.delayed_share, found.worst_wait_s) == (0.0, 0.0, 0.0)
    assert found.mean_utilisation == pytest.approx(0.75)


def test_a_load_beyond_is_over_all_year() -> None:
    found = outlook(400.0)
    assert found.hours_over == pytest.approx(8760)
    assert found.delayed_share == pytest.approx(1.0)
    assert found.worst_wait_s == pytest.approx(8760 * 3600, rel=0.01)  # what came last waits for half of all that came


def test_growth_reaches_what_is_carried_part_way_through_the_year() -> None:
    # 150/s × 2^t = 200/s after 0.415 years
    found = outlook(150.0, growth_per_year=1.0)
    assert found.hours_over == pytest.approx((1 - 0.41504) * 8760, rel=1e-3)


def test_spares_serve_too_and_surer_is_less() -> None:
    spare = outlook(250.0, limits=PlanLimits(assurance=0.5, redundancy=1))
    assert spare.hours_over == 0
    assert spare.mean_utilisation == pytest.approx(250 / 300)
    surer = outlook(199.0, limits=PlanLimits(assurance=0.99, redundancy=0))
    assert surer.hours_over == pytest.approx(8760)
