from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from app.errors import ProfileError
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.load import SweepSettings
from app.profiles.loading import load_profile
from app.profiles.resolved import compute_profile_hash, format_spec
from app.records.search import RateShare
from app.wiring.stages import build_stages
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import ClosedArrivals, OpenArrivals
from tests.app.profiles.conftest import LOAD, Load
from tests.fakes.profiles import load_endpoint_profile

TARGET = {"protocol": "http", "url": "http://127.0.0.1:1/"}
FORMS: dict[str, dict[str, Any]] = {
    "gamma": {"arrivals": "gamma", "cv": 2.5, "rate": "10/s", "duration": "1s", "lead_in": "2s"},
    "ramp": {"ramp": {"from": "0/s", "to": "20/s"}, "duration": "1s"},
    "steps": {"steps": ["5/s", "0/s", "7.5/s"], "arrivals": "constant", "duration": "3s"},
    "spike": {"spike": {"base": "5/s", "peak": "9/s", "at": "1s", "for": "500ms"}, "duration": "3s"},
    "sine": {"sine": {"mean": "5/s", "amplitude": "4/s", "period": "2s"}, "duration": "3s"},
    "diurnal": {"diurnal": {"peak": "5/s"}, "duration": "24s"},
    "trace": {"trace": "trace.csv", "speed": "2x", "superpose": 3},
    "cut": {"trace": "trace.csv", "duration": "2s", "lead_in": "1s"},
    "closed": {"concurrency": 32, "think_time": "1s", "duration": "1s"},
    "then-open": {"rate": "80% of closed", "duration": "1s"},
    "counted": {"rate": "50/s", "arrivals": "poisson", "requests": 400},
    "counted-clients": {"concurrency": 4, "requests": 50, "duration": "3s"},
}
KINDS = {
    "gamma": "steady",
    "then-open": "steady",
    "spike": "spike",
    "closed": "closed",
    "counted": "steady",
    "counted-clients": "closed",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trace.csv").write_text("timestamp\n0\n1\n4\n")
    return tmp_path


def load_stages(folder: Path, *stages: dict[str, Any]) -> EndpointProfile:
    values = {"sizewise": 1, "name": "test", "target": TARGET, "workload": {}, "load": {"stages": list(stages)}}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_endpoint_profile(path)


def test_every_stage_form_survives_a_round_trip_with_its_units(folder: Path) -> None:
    profile = load_stages(folder, *({"name": name, **form} for name, form in FORMS.items()))
    assert {stage.name: stage.kind for stage in profile.load.stages} == {
        name: KINDS.get(name, "varying") for name in FORMS
    }
    text = format_spec(profile)
    spec = folder / "spec.yaml"
    spec.write_text(text)
    reloaded = load_profile(spec)
    assert format_spec(reloaded) == text
    assert compute_profile_hash(reloaded) == compute_profile_hash(profile)
    assert reloaded.load == profile.load
    stages_by_name = {stage["name"]: stage for stage in yaml.safe_load(text)["load"]["stages"]}
    assert stages_by_name["spike"]["spike"] == {"base": "5/s", "peak": "9/s", "at": "1s", "for": "500ms"}
    assert stages_by_name["trace"]["speed"] == "2x"
    assert stages_by_name["then-open"]["rate"] == "80% of closed"
    assert stages_by_name["closed"] == {
        "name": "closed", "concurrency": 32, "think_time": "1s", "duration": "1s", "lead_in": "0s", "repeats": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "max_duration_s"),
    [
        ({"rate": "100/s", "arrivals": "constant", "requests": 400}, 4.0),
        ({"rate": "100/s", "requests": 400}, 5.35),
        ({"rate": "100/s", "arrivals": "gamma", "cv": 2.0, "requests": 400}, 7.0),
        ({"rate": "100/s", "requests": 400, "duration": "2s"}, 2.0),
        ({"concurrency": 4, "requests": 400}, 600.0),
    ],
)
def test_requests_of_a_stage_determine_its_maximum_duration(
    folder: Path, stage: dict[str, Any], max_duration_s: float
) -> None:
    (built,) = build_stages(load_stages(folder, stage).load)
    assert built.load.duration_s == pytest.approx(max_duration_s)
    assert built.load.max_requests == 400
    if not isinstance(built.load.arrivals, ClosedArrivals) and "duration" not in stage:
        assert isinstance(built.load.arrivals, OpenArrivals)
        for seed in range(20):
            assert len(compute_offsets_ns(built.load.arrivals, built.load.duration_s, 0.0, seed)) >= 400


@pytest.mark.parametrize("count", [1, 2, 20, 500])
@pytest.mark.parametrize("cv", [1.0, 2.0, 100.0])
def test_stage_is_long_enough_for_its_requests_except_once_in_a_billion(folder: Path, count: int, cv: float) -> None:
    load = {"rate": "100/s", "arrivals": "gamma", "cv": cv, "requests": count}
    (stage,) = load_stages(folder, load).load.stages
    shape = cv**-2  # of gamma interarrival times with a mean of 10 ms
    assert stats.gamma.sf(stage.max_duration_s, count * shape, scale=0.01 / shape) < 1e-9


def test_relative_rate_names_its_reference_stage(folder: Path) -> None:
    profile = load_stages(folder, {"name": "closed", **FORMS["closed"]}, FORMS["then-open"])
    assert profile.load.stages[1].rate_per_s == RateShare("closed", 0.8)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"duration": "1s"}, "stage steady has no rate"),
        ({"rate": "1/s", "concurrency": 2, "duration": "1s"}, "has rate and concurrency"),
        ({"rate": "1/s"}, "has no duration"),
        ({"rate": "0/s", "duration": "1s"}, "must be above zero"),
        ({"rate": "1/s", "requests": 0}, "at least 1"),
        ({"ramp": {"from": "0/s", "to": "9/s"}, "requests": 5}, "requests cannot be used with ramp"),
        ({"rate": "1/s", "requests": 5, "lead_in": "1s"}, "requests cannot be used with lead_in"),
        ({"rate": "80% of nothing", "requests": 5}, "needs a duration"),
        ({"rate": "1e6/s", "requests": 50_000_000}, "would send 5e\\+07 requests"),
        ({"rate": "2e6/s", "duration": "1s"}, "exceeds the maximum of 1000000/s"),
        ({"rate": "80% of nothing", "duration": "1s"}, "'nothing', which is not an earlier stage"),
        ({"rate": "0% of steady", "duration": "1s"}, "above 0%"),
        ({"rate": "1/s", "think_time": "1s", "duration": "1s"}, "think_time requires concurrency"),
        ({"rate": "1/s", "speed": "2x", "duration": "1s"}, "speed requires trace"),
        ({"rate": "1/s", "arrivals": "gamma", "duration": "1s"}, "gamma and cv must be used together"),
        ({"rate": "1/s", "cv": 2.0, "duration": "1s"}, "gamma and cv must be used together"),
        ({"concurrency": 2, "arrivals": "poisson", "duration": "1s"}, "arrivals cannot be used with"),
        ({"concurrency": 0, "duration": "1s"}, "at least 1"),
        ({"steps": ["0/s", "0/s"], "duration": "1s"}, "every rate is 0 req/s"),
        ({"steps": ["-1/s"], "duration": "1s"}, "below zero"),
        ({"spike": {"base": "5/s", "peak": "9/s", "at": "1s", "for": "5s"}, "duration": "3s"}, "the spike ends at 6s"),
        ({"spike": {"base": "5/s", "pek": "9/s"}, "duration": "3s"}, "the key 'pek' is unknown"),
        ({"rate": "1e6/s", "duration": "1m"}, "would send 6e\\+07 requests"),
        ({"ramp": {"from": "0/s", "to": "1e6/s"}, "duration": "2m"}, "would send 6e\\+07 requests"),
        ({"trace": "trace.csv", "speed": "2"}, "not a replay speed"),
        ({"trace": "trace.csv", "speed": "0x"}, "between 0.001x"),
        ({"trace": "trace.csv", "duration": "5s"}, "is 4 s long at that speed"),
        ({"trace": "trace.csv", "lead_in": "4s"}, "no time remains after lead_in"),
        ({"trace": "none.csv"}, "none.csv does not exist"),
        ({"trace": "a" * 3000}, r"… \(3,000 characters\)' is not a usable path: File name too long"),
        ({"trace": "a\0b"}, "is not a usable path"),
        ({"trace": "single.csv"}, "duration of the trace is 0"),
        ({"trace": "unsorted.csv"}, "unsorted.csv:3: the request is earlier"),
    ],
)
def test_invalid_stages_are_rejected_with_their_line(folder: Path, stage: dict[str, Any], message: str) -> None:
    (folder / "unsorted.csv").write_text("timestamp\n2\n1\n")
    (folder / "single.csv").write_text("timestamp\n2\n")
    with pytest.raises(ProfileError, match=message) as caught:
        load_stages(folder, stage)
    assert "\n" not in str(caught.value)
    assert caught.value.line is not None


WORKERS_TARGET = {"protocol": "http", "url": "http://127.0.0.1:8000/"}


@pytest.mark.parametrize("workers", ["auto", 1, 16])
def test_number_of_workers_is_stored_and_does_not_change_the_profile_hash(load: Load, workers: Any) -> None:
    profile = load(WORKERS_TARGET, {}, load={**LOAD, "workers": workers})
    assert yaml.safe_load(format_spec(profile))["load"]["workers"] == workers
    assert compute_profile_hash(profile) == compute_profile_hash(load(WORKERS_TARGET, {}))


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "many", 1_001, None])
def test_invalid_numbers_of_workers_are_rejected(load: Load, workers: Any) -> None:
    with pytest.raises(ProfileError, match=r"load\.workers"):
        load(WORKERS_TARGET, {}, load={**LOAD, "workers": workers})


HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}


def load_sweep(load: Load, **keys: Any) -> SweepSettings:
    settings: SweepSettings | None = load(HTTP, {}, {"sweep": keys}).load.sweep
    assert settings is not None
    return settings


def test_swept_rates_are_a_list_or_a_geometric_range(load: Load) -> None:
    listed = load_sweep(load, rates=["50/s", "100/s"], step_duration="5s", repeats=2)
    assert (listed.swept_rates_per_s, listed.swept_concurrency, listed.step_duration_s, listed.arrivals) == (
        (50.0, 100.0),
        (),
        5.0,
        "poisson",
    )
    assert load_sweep(load, **{"from": "10/s", "to": "160/s", "points": 5}).swept_rates_per_s == (10, 20, 40, 80, 160)
    assert len(load_sweep(load, **{"from": "10/s", "to": "160/s"}).swept_rates_per_s) == 8


def test_swept_concurrency_is_a_list_or_powers_of_two(load: Load) -> None:
    assert load_sweep(load, concurrency=[1, 3, 9]).swept_concurrency == (1, 3, 9)
    assert load_sweep(load, max_concurrency=64).swept_concurrency == (1, 2, 4, 8, 16, 32, 64)
    assert load_sweep(load, max_concurrency=20).swept_concurrency == (1, 2, 4, 8, 16, 20)
    assert load_sweep(load, max_concurrency=1).swept_concurrency == (1,)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "has no loads"),
        ({"rates": ["1/s"], "max_concurrency": 4}, "rates and max_concurrency"),
        ({"from": "10/s"}, "from and to must be used together"),
        ({"from": "10/s", "to": "5/s"}, "from must be lower than to"),
        ({"rates": ["10/s", "5/s"]}, "must increase"),
        ({"concurrency": [4, 4]}, "must increase"),
        ({"concurrency": [0]}, "concurrency"),
        ({"max_concurrency": 4, "arrivals": "poisson"}, "cannot be used with concurrency"),
        ({"max_concurrency": 4, "points": 4}, "points requires"),
        ({"rates": ["1/s"], "arrivals": "gamma"}, "gamma and cv"),
        ({"rates": ["900000/s"], "step_duration": "10m"}, "too many requests"),
        ({"rates": ["1/s"], "step": 4}, "the key 'step' is unknown"),
    ],
)
def test_invalid_sweeps_are_rejected(load: Load, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load(HTTP, {}, {"sweep": keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"rates": ["50/s", "100/s"], "arrivals": "constant"},
        {"from": "10/s", "to": "100/s", "points": 4},
        {"max_concurrency": 8, "step_duration": "2s"},
        {"concurrency": [1, 2]},
    ],
)
def test_sweep_survives_a_round_trip(load: Load, keys: dict[str, Any]) -> None:
    profile = load(HTTP, {}, {"sweep": keys})
    sweep_keys = yaml.safe_load(format_spec(profile))["load"]["sweep"]
    assert {key: sweep_keys[key] for key in keys} == keys
    assert load_sweep(load, **sweep_keys) == profile.load.sweep


def test_locust_test_is_swept_only_by_concurrency(load: Load, tmp_path: Any) -> None:
    (tmp_path / "locustfile.py").write_text("")
    locust = {"protocol": "locust", "file": "locustfile.py"}
    assert load(locust, load={"sweep": {"max_concurrency": 4}}).load.sweep
    with pytest.raises(ProfileError, match=r"load\.sweep has rates"):
        load(locust, load={"sweep": {"rates": ["1/s"]}})
