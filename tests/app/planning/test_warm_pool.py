from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.planning.candidates import Candidate, consider
from app.planning.capacity import Capacity
from app.planning.sizing import demand_of
from app.planning.warm_pool import COLD_MINUTES, _ahead, warm_pool_saving
from app.records.plan import Saving
from app.records.plan_question import PlanQuestion
from tests.fakes.offers import offer, question

HOURS = (0.1,) * 12 + (1.0,) * 12


def saving(asked: PlanQuestion, per_s: float = 100.0) -> Saving:
    demand = demand_of(asked.traffic, asked.limits, asked.today)
    found = consider(offer(), Capacity(per_s, 0.0, 1, "measured"), demand, asked.limits, asked.today)
    assert isinstance(found, Candidate)
    (one,) = warm_pool_saving(found, demand, asked)
    return one


def test_a_fleet_looks_ahead_as_far_as_a_start_takes() -> None:
    needed = np.array([1.0, 1, 1, 1, 3, 1, 1])
    assert _ahead(needed, 1).tolist() == [1, 1, 1, 3, 3, 1, 1]
    assert _ahead(needed, 3).tolist() == [1, 3, 3, 3, 3, 1, 1]


def test_of_flat_traffic_a_pool_is_one_instance_for_nothing() -> None:
    one = saving(question(peak_per_s=950.0))
    assert one.saved_usd_per_month == pytest.approx(-730.0), "an instance of 1 USD an hour"
    assert one.usd_per_month == pytest.approx(730.0 * 11)
    assert one.basis == "assumed"


def test_the_pool_is_as_large_as_the_steepest_rise_during_a_cold_start() -> None:
    one = saving(question(peak_per_s=100_000.0, hourly_share=HOURS))
    rise = 0.9 * 1000 / 60 * COLD_MINUTES  # the profile rises by 900 instances within an hour
    size = int(one.change.split(" of ")[1].split()[0])
    assert rise - 2 <= size <= rise + 2
    assert (one.saved_usd_per_month or 0.0) < 0


def test_owned_hardware_is_there_all_the_time() -> None:
    asked = question()
    demand = demand_of(asked.traffic, asked.limits, asked.today)
    found = consider(offer(), Capacity(100.0, 0.0, 1, "measured"), demand, asked.limits, asked.today)
    assert isinstance(found, Candidate)
    assert len(list(warm_pool_saving(found, demand, asked))) == 1
    assert list(warm_pool_saving(msgspec.structs.replace(found, price_kind="owned"), demand, asked)) == []
