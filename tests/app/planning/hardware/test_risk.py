from __future__ import annotations

import datetime

import pytest

from app.planning.hardware.risk import (
    PRICE_DRIFT_PER_YEAR,
    compute_price_age_days,
    compute_price_sigma,
    list_price_risks,
)
from tests.fakes.offers import TODAY, offer


@pytest.mark.parametrize(
    ("age_days", "level"), [(0, 0), (30, 0), (31, 1), (90, 1), (91, 2), (365, 2), (366, 3), (730, 3), (731, 4)]
)
def test_price_risk_grows_with_price_age(age_days: int, level: int) -> None:
    old = offer(as_of=TODAY - datetime.timedelta(days=age_days))
    assert compute_price_age_days(old, TODAY) == age_days
    assert max((risk.level for risk in list_price_risks(old, TODAY)), default=0) == level


def test_price_risk_over_90_days_has_the_date() -> None:
    old = offer(as_of=TODAY - datetime.timedelta(days=100))
    assert str(old.as_of) in list_price_risks(old, TODAY)[0].reason


@pytest.mark.parametrize(("age_days", "sigma"), [(0, 0.0), (30, 0.0), (395, PRICE_DRIFT_PER_YEAR)])
def test_price_sigma_grows_after_30_days(age_days: int, sigma: float) -> None:
    old = offer(as_of=TODAY - datetime.timedelta(days=age_days))
    assert compute_price_sigma(old, TODAY) == pytest.approx(sigma)


def test_price_from_the_future_has_age_0() -> None:
    assert compute_price_age_days(offer(as_of=TODAY + datetime.timedelta(days=1)), TODAY) == 0


@pytest.mark.parametrize(
    ("source", "level"),
    [
        ("karp-aws+sky-v9-copy", 0),
        ("sky-v9-copy", 3),
        ("cloud-gpus", 3),
        ("sky-v8-pergpu", 1),
        ("skypilot:https://host/vms.csv+sky-v9", 1),
        ("aws:https://host/index.csv", 0),
    ],
)
def test_price_risk_depends_on_the_price_source(source: str, level: int) -> None:
    assert max((risk.level for risk in list_price_risks(offer(source=source), TODAY)), default=0) == level
