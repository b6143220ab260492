from __future__ import annotations

from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.resolved import spec_yaml
from app.profiles.sweep import SweepSettings
from tests.app.profiles.conftest import Load

HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}


def sweep(load: Load, **keys: Any) -> SweepSettings:
    found: SweepSettings | None = load(HTTP, {}, {"sweep": keys}).load.sweep
    assert found is not None
    return found


def test_rates_as_listed_and_along_a_range(load: Load) -> None:
    listed = sweep(load, rates=["50/s", "100/s"], hold="5s", repeats=2)
    assert (listed.loads_per_s, listed.clients, listed.hold_s, listed.arrivals) == ((50.0, 100.0), (), 5.0, "poisson")
    assert sweep(load, **{"from": "10/s", "to": "160/s", "points": 5}).loads_per_s == (10, 20, 40, 80, 160)
    assert len(sweep(load, **{"from": "10/s", "to": "160/s"}).loads_per_s) == 8


def test_clients_as_listed_and_doubling(load: Load) -> None:
    assert sweep(load, concurrency=[1, 3, 9]).clients == (1, 3, 9)
    assert sweep(load, up_to=64).clients == (1, 2, 4, 8, 16, 32, 64)
    assert sweep(load, up_to=20).clients == (1, 2, 4, 8, 16, 20)
    assert sweep(load, up_to=1).clients == (1,)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "says no load"),
        ({"rates": ["1/s"], "up_to": 4}, "rates and up_to"),
        ({"from": "10/s"}, "from and to"),
        ({"from": "10/s", "to": "5/s"}, "lower rate first"),
        ({"rates": ["10/s", "5/s"]}, "must rise"),
        ({"concurrency": [4, 4]}, "must rise"),
        ({"concurrency": [0]}, "concurrency"),
        ({"up_to": 4, "arrivals": "poisson"}, "clients decide"),
        ({"up_to": 4, "points": 4}, "points goes with"),
        ({"rates": ["1/s"], "arrivals": "gamma"}, "gamma and burstiness"),
        ({"rates": ["900000/s"], "hold": "10m"}, "too many requests"),
        ({"rates": ["1/s"], "step": 4}, "unknown key"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(load: Load, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        load(HTTP, {}, {"sweep": keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"rates": ["50/s", "100/s"], "arrivals": "constant"},
        {"from": "10/s", "to": "100/s", "points": 4},
        {"up_to": 8, "hold": "2s"},
        {"concurrency": [1, 2]},
    ],
)
def test_what_is_written_back_is_the_same_sweep(load: Load, keys: dict[str, Any]) -> None:
    profile = load(HTTP, {}, {"sweep": keys})
    written = yaml.safe_load(spec_yaml(profile))["load"]["sweep"]
    assert {key: written[key] for key in keys} == keys
    assert sweep(load, **written) == profile.load.sweep


def test_a_locust_test_is_swept_by_clients_alone(load: Load, tmp_path: Any) -> None:
    (tmp_path / "locustfile.py").write_text("")
    locust = {"protocol": "locust", "file": "locustfile.py"}
    assert load(locust, load={"sweep": {"up_to": 4}}).load.sweep
    with pytest.raises(ProfileError, match="goes by rates"):
        load(locust, load={"sweep": {"rates": ["1/s"]}})
