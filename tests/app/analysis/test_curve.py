from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.curve import (
    SweepPoint,
    build_capacity_curve,
    build_client_load_points,
    build_load_points,
    compute_client_cores_used,
    find_knees,
    find_sweep_knees,
    has_disagreement,
)
from app.analysis.objectives import parse_objective
from app.analysis.token_samples import build_sample_from_pairs
from app.records.estimate import TokenSample
from app.records.offers import CurvePoint
from app.records.result import SWEEP_TAG, ArrivalKind, Estimate, Knee, MaxRate, Stage, StageKind, Verdict, Window

SLO = (parse_objective("error_rate < 1%"), parse_objective("service_ms.p99 < 50"))
MAX_RATE = MaxRate(Estimate(100.0, (90.0, 110.0), 900), ("service_ms.p99 < 50",), "…")


def stage(rate: float | None, kind: StageKind, *, meets_slo: bool | None, cores: float | None = None) -> Stage:
    missing = Estimate(None, reason="not measured")
    telemetry = {} if cores is None else {"endpoint_cpu_cores": {"mean": Estimate(cores)}}
    value = rate or 0.0
    return Stage(
        name=kind,
        kind=kind,
        repeat=1,
        tags={},
        variant=None,
        window=Window(0, 1),
        offered_per_s=missing,
        achieved_per_s=Estimate(value - 1),
        good_per_s=missing,
        completed=1,
        errors={},
        metrics={
            "latency_ms": {"p95": Estimate(value / 2)},
            "service_ms": {
                "p99": Estimate(value / 4) if value < 150 else Estimate(None, reason="9 of 368 required samples")
            },
            **telemetry,
        },
        verdict=Verdict("VALID"),
        meets_slo=meets_slo,
        scheduled_per_s=rate,
    )


STAGES = (
    stage(10, "warmup", meets_slo=None),
    stage(100, "probe", meets_slo=True, cores=9.0),
    stage(200, "probe", meets_slo=False),
    stage(50, "probe", meets_slo=True),
    stage(104, "step", meets_slo=False, cores=9.0),
    stage(100, "step", meets_slo=True, cores=1.0),
    stage(100, "step", meets_slo=True, cores=2.0),
    stage(None, "steady", meets_slo=None),
)


def test_capacity_curve_has_slo_latency_point_for_every_tested_rate() -> None:
    curve = build_capacity_curve(STAGES, SLO, MAX_RATE)
    assert curve.latency_metric == "service_ms.p99"
    assert [point.offered_per_s for point in curve.points] == [50, 100, 100, 100, 104, 200]
    assert curve.points[0] == CurvePoint(50, 12.5, 49, True)
    assert curve.points[-1] == CurvePoint(200, None, 199, False)
    assert (curve.max_rate_per_s, curve.max_rate_ci95) == (100.0, (90.0, 110.0))


def test_cores_used_are_mean_of_steps_at_max_rate() -> None:
    assert build_capacity_curve(STAGES, SLO, MAX_RATE).cores_used == 1.5
    assert build_capacity_curve([stage(100, "step", meets_slo=True)], SLO, MAX_RATE).cores_used is None


@pytest.mark.parametrize("slo", ["error_rate < 1%", "latency_ms.mean < 9", "service_ms.p99 < 9 | warn"])
def test_capacity_curve_uses_p95_latency_without_latency_percentile_objective(slo: str) -> None:
    curve = build_capacity_curve(STAGES, (parse_objective(slo),), MAX_RATE)
    assert curve.latency_metric == "latency_ms.p95"
    assert curve.points[0].latency_ms == 25.0


@pytest.mark.parametrize("kind", ["closed", "varying", "spike"])
def test_closed_varying_and_spike_stages_are_not_curve_points(kind: StageKind) -> None:
    stages = (*STAGES, stage(300, kind, meets_slo=True))
    assert build_capacity_curve(stages, SLO, MAX_RATE) == build_capacity_curve(STAGES, SLO, MAX_RATE)


def test_capacity_curve_uses_ttft_of_first_objective() -> None:
    curve = build_capacity_curve(STAGES, (parse_objective("ttft_ms.p99 < 500"), *SLO), MAX_RATE)
    assert curve.latency_metric == "ttft_ms.p99"


def test_capacity_curve_without_passing_rate_has_points_and_max_rate_0() -> None:
    curve = build_capacity_curve(STAGES, SLO, MaxRate(Estimate(None, reason="x"), (), "…"))
    assert (curve.max_rate_per_s, curve.max_rate_ci95) == (0.0, None)
    assert curve.points == build_capacity_curve(STAGES, SLO, MAX_RATE).points


def long_stage(rate: float, **changes: Any) -> Stage:
    """Stage of 10 s whose requests all succeed."""
    step = stage(rate, "step", meets_slo=True)
    defaults = {"window": Window(0, 10 * 10**9), "completed": int(10 * rate), "arrival_kind": "poisson"}
    return replace(step, **(defaults | changes))


def test_load_points_are_per_replica_sorted_by_rate_without_invalid_stages() -> None:
    invalid = long_stage(50, verdict=Verdict("INVALID", ("late",)))
    first, second = build_load_points([long_stage(200), invalid, long_stage(100, errors={"timeout": 8})], replicas=4)
    assert (first.offered_per_s, second.offered_per_s) == (25, 50)
    assert (first.achieved_per_s, first.duration_s) == (25, 10)
    assert (first.completed, first.failed, second.failed) == (250, 2, 0)
    assert first.clients is None


def test_load_point_latencies_are_in_seconds_without_withheld_values() -> None:
    metrics = {
        "latency_ms": {"p50": Estimate(20.0), "p99": Estimate(None, reason="9 of 368 required samples")},
        "ttft_ms": {"mean": Estimate(5.0)},
        "output_tokens": {"mean": Estimate(120.0)},
        "send_lag_ms": {"p50": Estimate(1.0)},
    }
    (point,) = build_load_points([long_stage(100, metrics=metrics)])
    assert point.latencies_s == {"latency": {"p50": 0.020}, "ttft": {"mean": 0.005}}
    assert (point.input_tokens_mean, point.output_tokens_mean) == (None, 120.0)


@pytest.mark.parametrize(
    ("arrivals", "gaps"),
    [("poisson", "random"), ("constant", "even"), ("gamma", "other"), ("locust", "other"), (None, "other")],
)
def test_only_poisson_arrivals_have_random_gaps(arrivals: ArrivalKind | None, gaps: str) -> None:
    assert build_load_points([replace(long_stage(100), arrival_kind=arrivals)])[0].gaps == gaps


def test_load_points_include_only_complete_token_length_samples() -> None:
    lengths = build_sample_from_pairs(np.array([[100, 20], [3000, 5]]))
    damaged = TokenSample(lengths.input_tokens, lengths.output_tokens[:-1])
    assert [point.lengths for point in build_load_points([long_stage(100, lengths=lengths)])] == [lengths]
    assert [point.lengths for point in build_load_points([long_stage(100, lengths=damaged)])] == [None]


def test_session_load_does_not_have_random_gaps() -> None:
    assert [point.gaps for point in build_load_points([long_stage(100, sessions=True)])] == ["other"]


def test_pooled_stage_of_stored_run_adds_no_load_point() -> None:
    steps = [stage(100.0, "step", meets_slo=True), stage(50.0, "probe", meets_slo=True)]
    stored = [*steps, replace(steps[0], name="3 steps at 100 req/s", tags={"pooled": "3"})]
    assert build_capacity_curve(stored, SLO, MAX_RATE) == build_capacity_curve(steps, SLO, MAX_RATE)
    assert build_load_points(stored) == build_load_points(steps)


def by_method(knees: tuple[Knee, ...]) -> dict[str, Knee]:
    return {knee.method: knee for knee in knees}


def mm1(*loads: float, service_per_s: float = 100.0) -> list[SweepPoint]:
    return [SweepPoint(load * 100, load * 100, 1e3 / (service_per_s - load * 100)) for load in loads]


def test_power_knee_of_mm1_is_at_half_of_capacity() -> None:
    """λ (μ − λ) is largest at μ/2 (Kleinrock 1979), where latency is twice the latency without load."""
    knee = by_method(find_knees(mm1(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "rate"))["power"]
    assert knee.at == 50.0
    assert knee.latency_ms == pytest.approx(20.0)


def test_chord_knee_of_mm1_is_where_curve_slope_equals_chord_slope() -> None:
    """1/(1 − ρ)² = (10 − 10/9)/0.8 between ρ = 0.1 and 0.9, so ρ = 0.7."""
    knee = by_method(find_knees(mm1(*np.linspace(0.1, 0.9, 81)), "rate"))["chord"]
    assert knee.at == pytest.approx(70, abs=0.5)


def test_two_lines_knee_is_at_intersection_of_lines() -> None:
    loads = np.linspace(10, 100, 10)
    points = [SweepPoint(load, load, 10 * math.exp(0.002 * load + 0.08 * max(0.0, load - 63))) for load in loads]
    knee = by_method(find_knees(points, "rate"))["two lines"]
    assert knee.at == pytest.approx(63, abs=1.0)
    assert knee.latency_ms == pytest.approx(10 * math.exp(0.126), rel=0.05)


def test_knee_of_eight_servers_is_at_eight_clients() -> None:
    """With eight servers of 20 ms, further clients only queue: the asymptotes of the closed loop cross at 8 clients."""
    clients = (1, 2, 4, 8, 16, 32, 64)
    points = [SweepPoint(n, min(n, 8) / 0.02, 20 * max(1.0, n / 8)) for n in clients]
    knees = by_method(find_knees(points, "clients"))
    assert {method: knee.at for method, knee in knees.items()} == {
        "power": 8,
        "chord": 8,
        "two lines": pytest.approx(8, rel=0.03),
    }
    assert not has_disagreement(tuple(knees.values()))


def test_disagreement_of_knee_methods_is_detected() -> None:
    knees = find_knees(mm1(0.1, 0.3, 0.5, 0.7, 0.9, 0.98), "rate")
    assert has_disagreement(knees)
    assert not has_disagreement(knees[:1])


def test_few_points_and_flat_curve_have_no_knee_with_reason() -> None:
    for knee in find_knees(mm1(0.1, 0.5, 0.9), "rate"):
        assert (knee.at, knee.latency_ms, knee.reason) == (None, None, "fewer than 4 load points (3)")
    for knee in find_knees(mm1(0.05, 0.1, 0.15, 0.2), "rate"):
        assert knee.at is None
        assert "no knee within the tested loads" in str(knee.reason)


def test_each_knee_method_reports_its_own_reason() -> None:
    straight = [SweepPoint(load, load, float(load)) for load in (1, 2, 3, 4, 5)]
    assert "the curve has no knee" in str(by_method(find_knees(straight, "rate"))["chord"].reason)
    rising = by_method(find_knees(mm1(0.1, 0.2, 0.3, 0.4, 0.45), "rate"))["power"]
    assert "growing faster than latency at the highest" in str(rising.reason)
    steady = [SweepPoint(load, load, math.exp(0.05 * load)) for load in (10, 20, 30, 40, 50)]
    assert "better than one" in str(by_method(find_knees(steady, "rate"))["two lines"].reason)


def swept(point: SweepPoint, *, clients: bool = False) -> Stage:
    missing = Estimate(None, reason="not measured")
    return Stage(
        name="sweep",
        kind="closed" if clients else "steady",
        repeat=1,
        tags={SWEEP_TAG: "yes"},
        variant=None,
        window=Window(0, 1),
        offered_per_s=missing,
        achieved_per_s=missing,
        good_per_s=missing,
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


def test_knees_use_only_valid_stages_of_sweep() -> None:
    stages = [swept(point) for point in mm1(0.1, 0.3, 0.5, 0.7, 0.9)]
    disturbed = replace(swept(SweepPoint(95, 95, 0.001)), verdict=Verdict("INVALID"))
    other = replace(swept(SweepPoint(20, 20, 0.001)), tags={})
    knees = find_sweep_knees([*stages, disturbed, other])
    assert by_method(knees)["power"].at == 50
    assert {knee.load for knee in knees} == {"rate"}
    assert find_sweep_knees([other]) == ()


def test_repeats_of_client_count_are_one_sweep_point() -> None:
    stages = [swept(point, clients=True) for point in (SweepPoint(n, n, n / 8 + 1) for n in (1, 2, 4, 8, 16))]
    repeats = [
        replace(stage, metrics={**stage.metrics, "latency_ms": {"mean": Estimate(1e6)}}) for stage in stages[-1:]
    ]
    knees = find_sweep_knees([*stages, *repeats])
    assert {knee.load for knee in knees} == {"clients"}
    assert len({knee.reason for knee in knees if knee.reason == "fewer than 4 load points (5)"}) == 0


def clients_stage(clients: int, *, meets_slo: bool | None, cores: float) -> Stage:
    base = stage(None, "closed", meets_slo=meets_slo, cores=cores)
    metrics = base.metrics | {"completed_per_s": {"value": Estimate(10.0 * clients)}}
    return replace(base, concurrency=clients, tags={SWEEP_TAG: "yes"}, arrival_kind="closed", metrics=metrics)


def test_sweep_over_clients_has_load_point_per_valid_stage() -> None:
    stages = [
        clients_stage(4, meets_slo=True, cores=0.9),
        clients_stage(1, meets_slo=True, cores=0.4),
        clients_stage(8, meets_slo=False, cores=1.0),
    ]
    invalid = replace(clients_stage(16, meets_slo=True, cores=3.0), verdict=Verdict("INVALID"))
    untagged = replace(clients_stage(32, meets_slo=True, cores=3.0), tags={})
    points = build_client_load_points([*stages, invalid, untagged, *STAGES])
    assert [(point.clients, point.offered_per_s, point.achieved_per_s) for point in points] == [
        (1, None, 10.0),
        (4, None, 40.0),
        (8, None, 80.0),
    ]
    assert {point.gaps for point in points} == {"random"}
    all_points = build_client_load_points([*stages, invalid, untagged, *STAGES], sweeps_only=False)
    assert [point.clients for point in all_points] == [1, 4, 8, 32]
    assert compute_client_cores_used([*stages, invalid]) == 0.9
    assert compute_client_cores_used(stages[2:]) is None
