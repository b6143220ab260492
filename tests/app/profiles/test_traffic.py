from __future__ import annotations

import pytest

from app.profiles.traffic import SHAPES, PlanSettings, Shape, TrafficSettings, plan_limits_of, traffic_of


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_a_day_of_shares_that_reaches_the_peak(shape: Shape) -> None:
    assert len(SHAPES[shape]) == 24
    assert max(SHAPES[shape]) == 1.0
    assert min(SHAPES[shape]) > 0


def test_traffic_and_limits_take_over_what_the_profile_says() -> None:
    traffic = traffic_of(TrafficSettings.model_validate({"peak": "600/min", "shape": "evening", "growth": "20%/year"}))
    assert (traffic.peak_per_s, traffic.shape, traffic.growth_per_year) == (10.0, "evening", 0.2)
    assert traffic.hourly_share == SHAPES["evening"]
    limits = plan_limits_of(
        PlanSettings.model_validate(
            {"assurance": "95%", "redundancy": "n+2", "regions": ["r"], "providers": ["p"], "budget": "5 USD/month",
             "max_price_age": "90d"}
        )
    )  # fmt: skip
    assert (limits.assurance, limits.redundancy, limits.regions, limits.providers) == (0.95, 2, ("r",), ("p",))
    assert (limits.budget_usd_per_month, limits.max_price_age_days) == (5.0, 90)
