from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.knee import LoadPoint, are_apart, find_knees, knees_of
from app.records.result import IN_SWEEP, Estimate, Knee, Stage, Verdict, Window


def by_method(knees: tuple[Knee, ...]) -> dict[str, Knee]:
    return {knee.method: knee for knee in knees}


def mm1(*loads: float, service_per_s: float = 100.0) -> list[LoadPoint]:
    return [LoadPoint(load * 100, load * 100, 1e3 / (service_per_s - load * 100)) for load in loads]


def test_the_power_of_mm1_is_highest_at_half_of_capacity() -> None:
    """λ (μ − λ) is largest at μ/2 (Kleinrock 1979), where latency is twice what it is without load."""
    knee = by_method(find_knees(mm1(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "rate"))["power"]
    assert knee.at == 50.0
    assert knee.latency_ms == pytest.approx(20.0)


def test_the_chord_of_mm1_is_farthest_where_its_slope_is_that_of_the_curve() -> None:
    """1/(1 − ρ)² = (10 − 10/9)/0.8 between ρ = 0.1 and 0.9, so ρ = 0.7."""
    knee = by_method(find_knees(mm1(*np.linspace(0.1, 0.9, 81)), "rate"))["chord"]
    assert knee.at == pytest.approx(70, abs=0.5)


def test_two_straight_lines_are_found_where_they_meet() -> None:
    loads = np.linspace(10, 100, 10)
    points = [LoadPoint(load, load, 10 * math.exp(0.002 * load + 0.08 * max(0.0, load - 63))) for load in loads]
    knee = by_method(find_knees(points, "rate"))["two lines"]
    assert knee.at == pytest.approx(63, abs=1.0)
    assert knee.latency_ms == pytest.approx(10 * math.exp(0.126), rel=0.05)


def test_clients_saturate_a_server_of_eight_at_eight() -> None:
    """Eight servers of 20 ms: more clients than eight only wait (the asymptotes of a closed loop cross there)."""
    clients = (1, 2, 4, 8, 16, 32, 64)
    points = [LoadPoint(n, min(n, 8) / 0.02, 20 * max(1.0, n / 8)) for n in clients]
    knees = by_method(find_knees(points, "clients"))
    assert {method: knee.at for method, knee in knees.items()} == {
        "power": 8,
        "chord": 8,
        "two lines": pytest.approx(8, rel=0.03),
    }
    assert not are_apart(tuple(knees.values()))


def test_methods_that_disagree_are_told_apart() -> None:
    knees = find_knees(mm1(0.1, 0.3, 0.5, 0.7, 0.9, 0.98), "rate")
    assert are_apart(knees)
    assert not are_apart(knees[:1])


def test_few_points_and_a_flat_curve_have_no_knee_and_say_why() -> None:
    for knee in find_knees(mm1(0.1, 0.5, 0.9), "rate"):
        assert (knee.at, knee.latency_ms, knee.reason) == (None, None, "needs 4 loads, has 3")
    for knee in find_knees(mm1(0.05, 0.1, 0.15, 0.2), "rate"):
        assert knee.at is None
        assert "no knee within what was tried" in str(knee.reason)


def test_each_method_has_a_reason_of_its_own() -> None:
    straight = [LoadPoint(load, load, float(load)) for load in (1, 2, 3, 4, 5)]
    assert "no bend" in str(by_method(find_knees(straight, "rate"))["chord"].reason)
    rising = by_method(find_knees(mm1(0.1, 0.2, 0.3, 0.4, 0.45), "rate"))["power"]
    assert "grew faster than latency at the highest" in str(rising.reason)
    steady = [LoadPoint(load, load, math.exp(0.05 * load)) for load in (10, 20, 30, 40, 50)]
    assert "better than one" in str(by_method(find_knees(steady, "rate"))["two lines"].reason)


def swept(point: LoadPoint, *, clients: bool = False) -> Stage:
    nothing = Estimate(None, reason="not asked")
    return Stage(
        name="sweep",
        kind="closed" if clients else "steady",
        repeat=1,
        tags={IN_SWEEP: "yes"},
        variant=None,
        window=Window(0, 1),
        offered_per_s=nothing,
        achieved_per_s=nothing,
        good_per_s=nothing,
        completed=100,
        errors={},
        metrics={
            "completed_per_s": {"value": Estimate(point.throughput_per_s)},
            "latency_ms": {"mean": Estimate(point.latency_ms)},
        },
        verdict=Verdict("VALID"),
        scheduled_per_s=None if clients else point.load,
        concurrency=int(point.load) if clients else None,
    )


def test_the_knees_are_of_the_sweep_alone_and_of_what_the_generator_could_send() -> None:
    stages = [swept(point) for point in mm1(0.1, 0.3, 0.5, 0.7, 0.9)]
    disturbed = replace(swept(LoadPoint(95, 95, 0.001)), verdict=Verdict("INVALID"))
    other = replace(swept(LoadPoint(20, 20, 0.001)), tags={})
    knees = knees_of([*stages, disturbed, other])
    assert by_method(knees)["power"].at == 50
    assert {knee.load for knee in knees} == {"rate"}
    assert knees_of([other]) == ()


def test_repeats_of_a_load_are_one_point() -> None:
    stages = [swept(point, clients=True) for point in (LoadPoint(n, n, n / 8 + 1) for n in (1, 2, 4, 8, 16))]
    twice = [replace(one, metrics={**one.metrics, "latency_ms": {"mean": Estimate(1e6)}}) for one in stages[-1:]]
    knees = knees_of([*stages, *twice])
    assert {knee.load for knee in knees} == {"clients"}
    assert len({knee.reason for knee in knees if knee.reason == "needs 4 loads, has 5"}) == 0
