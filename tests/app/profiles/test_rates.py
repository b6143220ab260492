from __future__ import annotations

from typing import Any

import pytest

from app.profiles.problems import BadValueError
from app.profiles.rates import (
    DiurnalSettings,
    RampSettings,
    RateSpikeSettings,
    SineSettings,
    build_steps_curve,
    compute_expected_arrivals,
)
from app.profiles.settings import Settings

CONTEXT: dict[str, Any] = {}


def parse_settings(kind: type[Settings], **keys: Any) -> Any:
    return kind.model_validate(keys, context=CONTEXT)


def test_ramp_is_a_linear_rate_curve() -> None:
    ramp = parse_settings(RampSettings, **{"from": "0/s", "to": "200/s"})
    assert ramp.build_curve(10.0) == ((0.0, 0.0), (10.0, 200.0))
    assert compute_expected_arrivals(ramp.build_curve(10.0), 10.0, 0.0) == 1000.0


def test_spike_curve_returns_to_the_base_rate() -> None:
    spike = parse_settings(RateSpikeSettings, **{"base": "50/s", "peak": "300/s", "at": "20s", "for": "10s"})
    curve = spike.build_curve(60.0)
    assert curve == ((0.0, 50.0), (20.0, 50.0), (20.0, 300.0), (30.0, 300.0), (30.0, 50.0))
    assert compute_expected_arrivals(curve, 60.0, 2.0) == 50 * 62 + 250 * 10


def test_sine_curve_has_enough_points() -> None:
    sine = parse_settings(SineSettings, mean="100/s", amplitude="100/s", period="10s")
    curve = sine.build_curve(25.0)
    assert len(curve) == 161
    assert curve[16] == (2.5, pytest.approx(200.0))
    assert min(rate for _, rate in curve) >= 0
    assert compute_expected_arrivals(curve, 20.0, 0.0) == pytest.approx(2000 + 100 * 5 + 100 * 10 / 3.14159, rel=0.01)


def test_diurnal_curve_is_scaled_to_the_stage_duration() -> None:
    day = parse_settings(DiurnalSettings, peak="1000/s", shape="workday")
    curve = day.build_curve(24.0)
    assert curve[11] == (10.5, 1000.0)
    assert curve[0][1] == curve[-1][1] == pytest.approx(165.0)


def test_steps_of_a_rate_curve_have_equal_durations() -> None:
    assert build_steps_curve((50.0, 100.0), 30.0) == ((0.0, 50.0), (15.0, 50.0), (15.0, 100.0), (30.0, 100.0))


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (RampSettings, {"from": "0/s", "to": "0/s"}, "is always 0 req/s"),
        (RampSettings, {"from": "-1/s", "to": "5/s"}, "below zero"),
        (RateSpikeSettings, {"base": "50/s", "peak": "50/s", "at": "1s", "for": "1s"}, "must be above spike.base"),
        (SineSettings, {"mean": "50/s", "amplitude": "60/s", "period": "1s"}, "so the rate would be negative"),
    ],
)
def test_invalid_rate_curves_are_rejected(kind: type[Settings], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(kind, **keys)


def test_spike_must_end_before_its_stage_and_sine_periods_are_limited() -> None:
    spike = parse_settings(RateSpikeSettings, **{"base": "1/s", "peak": "2/s", "at": "20s", "for": "10s"})
    with pytest.raises(BadValueError, match="the spike ends at 30s, but the stage is 30s long"):
        spike.build_curve(30.0)
    sine = parse_settings(SineSettings, mean="2/s", amplitude="1/s", period="1ms")
    with pytest.raises(BadValueError, match="600000 periods"):
        sine.build_curve(600.0)
