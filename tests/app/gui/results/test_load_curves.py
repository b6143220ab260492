from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from app.gui.results.load_curves import LoadPoint, build_load_curves, compute_interval, is_client_sweep
from app.reporting.report import build_report
from reports.model import Report
from reports.quantity import Limit
from tests.fakes.results import COMMAND, SPEC, Run, full_run
from tests.fakes.traffic import clients_run, streaming_run


def _report(run: Run) -> Report:
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, msgspec.json.encode(run.result).decode())


@pytest.fixture(scope="module")
def streams() -> Report:
    """One stage of token streams."""
    return _report(streaming_run())


def test_client_sweep_has_latency_by_clients() -> None:
    report = _report(clients_run())
    assert is_client_sweep(report)
    (curve,) = build_load_curves(report, {}, has_clients=True)
    assert [point.load for point in curve.points] == [1, 2, 4, 8, 16, 32]
    assert [point.latency for point in curve.points] == [row.evaluated for row in report.stages]


def test_search_curve_has_each_rate_with_its_slo_result_and_no_pooled_stage() -> None:
    report = _report(full_run())
    assert not is_client_sweep(report)
    (curve,) = build_load_curves(report, {}, has_clients=False)
    expected_stages = [row for row in report.stages if row.kind in ("probe", "step", "steady") and not row.pooled]
    assert [point.stage for point in curve.points] == expected_stages
    assert {point.stage.meets_slo for point in curve.points} == {True, False}
    assert curve.limit == report.curve.limit


def test_token_streams_have_ttft_and_tpot_curves_with_their_limits(streams: Report) -> None:
    (stage,), (tokens,) = streams.stages, streams.tokens
    two_loads = replace(
        streams,
        stages=(stage, replace(stage, name="more", scheduled_per_s=16.0)),
        tokens=(tokens, replace(tokens, stage="more")),
    )
    limit = Limit(comparator="<", value=30.0, unit="ms")
    ttft, tpot = build_load_curves(two_loads, {"tpot_ms": limit}, has_clients=False)
    assert (ttft.name, tpot.name) == ("p95 TTFT", "p95 TPOT")
    assert (ttft.limit, tpot.limit) == (streams.curve.limit, limit)
    assert [(point.load, point.latency) for point in tpot.points] == [(8.0, tokens.tpot_p95), (16.0, tokens.tpot_p95)]


def test_single_load_has_no_curve(streams: Report) -> None:
    assert build_load_curves(streams, {}, has_clients=False) == []


def test_interval_of_a_load_covers_all_repeats() -> None:
    (curve,) = build_load_curves(_report(clients_run()), {}, has_clients=True)

    def repeat(load: float, interval: tuple[float, float] | None) -> LoadPoint:
        point = curve.points[0]
        return LoadPoint(load, point.stage, replace(point.latency, ci95=interval))

    repeats = [repeat(8, (10, 14)), repeat(8, (9, 12)), repeat(16, (20, 30)), repeat(16, None)]
    low, high = compute_interval(repeats, np.array([8.0, 16.0]))
    assert (low.tolist(), high.tolist()) == (
        pytest.approx([9, np.nan], nan_ok=True),
        pytest.approx([14, np.nan], nan_ok=True),
    )
