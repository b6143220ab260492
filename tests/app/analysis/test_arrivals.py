from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.arrivals import build_rate_curve, format_arrivals
from app.records.stage import StageData
from tests.fakes.queues import build_stage_data


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Poisson at 200 req/s"),
        ({"arrival_kind": "constant"}, "constant at 200 req/s"),
        ({"arrival_kind": "gamma", "cv": 2.5}, "gamma (CV 2.5) at 200 req/s"),
        ({"sessions": True}, "Poisson at 200 sessions/s"),
        ({"rate_per_s": None, "rates": ((0, 10), (30, 200))}, "Poisson, ramp 10→200 req/s"),
        (
            {"rate_per_s": None, "rates": ((0, 10), (5, 10), (5, 20), (9, 20), (9, 40))},
            "Poisson, steps 10→20→40 req/s",
        ),
        (
            {"rate_per_s": None, "kind": "spike", "rates": ((0, 50), (5, 50), (5, 500), (9, 500), (9, 50))},
            "Poisson, spike 50→500→50 req/s",
        ),
        (
            {"rate_per_s": None, "rates": tuple((at, 50 + 10 * (at % 5)) for at in range(20))},
            "Poisson, varying from 50 to 90 req/s",
        ),
        ({"rate_per_s": None}, "Poisson, varying rate"),
        ({"arrival_kind": "trace", "rate_per_s": None}, "trace replay"),
        ({"arrival_kind": "closed", "concurrency": 64}, "closed loop, 64 clients"),
        (
            {"arrival_kind": "closed", "concurrency": 1_000, "think_s": 0.5},
            "closed loop, 1,000 clients, 0.5 s think time",
        ),
        ({"arrival_kind": "locust", "concurrency": 10}, "closed loop, 10 Locust users"),
    ],
)
def test_arrivals_are_formatted_as_text(changes: dict[str, Any], text: str) -> None:
    assert format_arrivals(replace(build_stage_data(200), **changes)) == text


RAMP = ((0.0, 10.0), (10.0, 110.0))
JUMP = ((0.0, 10.0), (5.0, 10.0), (5.0, 100.0), (6.0, 100.0), (6.0, 10.0))


def build_rates_stage(rates: tuple[tuple[float, float], ...]) -> StageData:
    return replace(build_stage_data(), rate_per_s=None, rates=rates)


@pytest.mark.parametrize(
    ("rates", "until_s", "area"),
    [
        (RAMP, 5, 10 * 5 + 10 * 25 / 2),
        (RAMP, 20, 600 + 1100),
        (JUMP, 5, 50),
        (JUMP, 5.5, 100),
        (JUMP, 7, 160),
        (((2.0, 10.0), (4.0, 20.0)), 4, 2 * 10 + 30),
        (((-3.0, 10.0), (3.0, 70.0)), 3, 40 * 3 + 10 * 9 / 2),
        (((5.0, 0.0), (10.0, 10.0)), 10, 25),
    ],
)
def test_expected_arrivals_are_area_under_rate_curve(
    rates: tuple[tuple[float, float], ...], until_s: float, area: float
) -> None:
    curve = build_rate_curve(build_rates_stage(rates))
    assert curve is not None
    assert curve.compute_expected_arrivals(np.array([0.0, until_s])) == pytest.approx([0.0, area])


def test_constant_rate_has_rate_curve() -> None:
    curve = build_rate_curve(build_stage_data(200))
    assert curve is not None
    assert curve.compute_expected_arrivals(np.array([3.0])) == pytest.approx([600])


@pytest.mark.parametrize("arrivals", ["trace", "closed", "locust"])
def test_closed_loop_and_trace_stages_have_no_rate_curve(arrivals: str) -> None:
    assert build_rate_curve(replace(build_stage_data(), arrival_kind=arrivals)) is None
    assert build_rate_curve(build_rates_stage(())) is None
