from __future__ import annotations

import pytest

from app.errors import ProfileError
from app.profiles.scaling import load_day, operations_of
from app.records.scaling import ColdStartModel, FailureModel, Operations, RollingUpdate


def operations(*overrides: str, per_instance: int = 1) -> Operations:
    return operations_of(load_day("none", overrides), per_instance)


def test_a_cold_start_is_assumed_phase_by_phase() -> None:
    start = operations().cold_start
    assert (start.node_s, start.engine_s, start.warm_up_s, start.cv, start.warm_nodes) == (90, 15, 5, 0.3, 0)
    assert (start.image.median_s, start.weights.median_s) == (10, 4)
    assert operations().failures is None
    assert operations().updates == ()


def test_sizes_go_over_the_narrowest_way_and_times_are_times() -> None:
    start = operations(
        "cold_start.image=30s", "cold_start.weights=16GB", "cold_start.network=10Gbit/s", "cold_start.disk=2GB/s",
        "cold_start.pcie=1GiB/s", "cold_start.build=2m",
    ).cold_start  # fmt: skip
    assert start.image.median_s == 30
    assert start.weights.median_s == pytest.approx(16e9 / 2**30)
    assert start.median_s == pytest.approx(90 + 30 + 16e9 / 2**30 + 120 + 5)


def test_every_phase_of_a_cold_start_can_be_given() -> None:
    keys = ("node", "image", "weights", "build", "warm_up")
    start = operations(*(f"cold_start.{key}={place}s" for place, key in enumerate(keys, 1))).cold_start
    assert start.median_s == pytest.approx(1 + 2 + 3 + 4 + 5)
    assert (start.node_s, start.engine_s, start.warm_up_s) == (1, 4, 5)


def test_failures_updates_and_the_pool_are_those_said() -> None:
    said = operations(
        "failures.mtbf=30d", "failures.detect=1m", "failures.new_node=true", "update.at=10:30", "update.surge=10%",
        "warm_pool=2", "drain=1m", "cold_start.refused=20%", "cold_start.retry=5m", per_instance=4,
    )  # fmt: skip
    assert said.failures == FailureModel(720, 60, True)
    assert said.updates == (RollingUpdate(37_800, 0.1, 0.25),)
    assert said.drain_s == 60
    start: ColdStartModel = said.cold_start
    assert (start.warm_nodes, start.refusal_probability, start.retry_s) == (8, 0.2, 300)


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("cold_start.image=8", "8 is neither a size nor a duration", "Write it like 8GB or 40s."),
        ("cold_start.network=5Gbit", "unknown unit 'Gbit'", "Did you mean 'Gbit/s'?"),
        ("cold_start.network=0MB/s", "'0MB/s' is not above zero", None),
        ("cold_start.refused=100%", "cold_start.refused must be less than 1", None),
        ("cold_start.wieghts=8GB", "unknown key 'wieghts' in cold_start", "Did you mean 'weights'?"),
        ("failures.mtbf=0s", "failures.mtbf must be greater than 0", None),
        ("failures.detect=5s", "failures lacks mtbf", None),
        ("update.surge=10%", "update lacks at", None),
        ("update.at=25:00", "'25:00' is not a time of day", 'Write it like "12:00".'),
    ],
)
def test_what_is_wrong_is_named(override: str, message: str, hint: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        operations(override)
    assert message in str(caught.value)
    assert caught.value.hint == hint
