from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective, select_binding_objectives
from app.analysis.rows import read_rows
from app.analysis.spikes import analyze_spike
from app.analysis.stages import summarize_stage
from app.records.result import Estimate, Spike, Window
from app.records.stage import StageData
from tests.fakes.queues import START_NS, build_stage_data, latency_s, request_rows

JUMP = ((0.0, 50.0), (10.0, 50.0), (10.0, 200.0), (15.0, 200.0), (15.0, 50.0), (40.0, 50.0))
ARRIVALS = np.concatenate([np.arange(500) / 50, 10 + np.arange(1_000) / 200, 15 + np.arange(1_250) / 50])


def build_spike_data(rates: tuple[tuple[float, float], ...] = JUMP) -> StageData:
    return replace(
        build_stage_data(1.0, 40, kind="spike", arrivals="constant", drain_s=5), rate_per_s=None, rates=rates
    )


def measure_spike(
    latency: npt.NDArray[np.float64],
    *slo: str,
    rates: tuple[tuple[float, float], ...] = JUMP,
    errors: list[str | None] | None = None,
) -> Spike:
    rows = request_rows(ARRIVALS, latency, errors=errors)
    stage = summarize_stage(rows, None, build_spike_data(rates), tuple(map(parse_objective, slo)))
    assert stage.spike is not None
    return stage.spike


def served_per_s(rate: float) -> npt.NDArray[np.float64]:
    return latency_s(ARRIVALS, np.full(ARRIVALS.size, 1 / rate))


def test_spike_backlog_grows_and_drains_as_fluid_queue() -> None:
    """50 req/s, 200 req/s for 5 s, and 50 req/s on a server of 100 req/s: the backlog of a fluid queue grows to 500 and
    drains in 10 s.

    Latency exceeds 100 ms from 0.1 s after the spike's start to 9.8 s after its end.
    """
    measured = measure_spike(served_per_s(100), "latency_ms.p95 < 100")
    assert (measured.baseline_per_s, measured.peak_per_s, measured.spike_s) == (50, 200, 5)
    assert measured.backlog_peak.value == pytest.approx(500, abs=3)
    assert measured.drained_s.value == pytest.approx(10, abs=0.1)
    assert measured.slo_violated_s.value == 15


def test_spike_within_slo_has_0_s_violated() -> None:
    measured = measure_spike(np.full(ARRIVALS.size, 0.01), "latency_ms.p95 < 100")
    assert measured.slo_violated_s == Estimate(0.0, n=0)
    assert measured.backlog_peak.value == 2
    assert measured.drained_s.value == pytest.approx(0.0, abs=0.02)


def test_spike_backlog_left_at_end_is_not_drained() -> None:
    measured = measure_spike(served_per_s(60), "latency_ms.p95 < 100")
    assert measured.drained_s.value is None
    assert measured.drained_s.reason == "the backlog had not drained when the load ended"
    assert measured.slo_violated_s.value == 30
    assert str(measured.slo_violated_s.reason).startswith("lower bound: ")


def test_failures_count_as_slo_violation_in_spike() -> None:
    """Requests are refused at once in seconds 12 and 13: no latency exceeds its limit."""
    errors = ["http-5xx" if 12 <= at < 14 else None for at in ARRIVALS]
    quick = np.full(ARRIVALS.size, 0.01)
    assert measure_spike(quick, "latency_ms.p95 < 100", errors=errors).slo_violated_s.value == 2
    assert measure_spike(quick, "error_rate <= 1%", errors=errors).slo_violated_s.value == 2
    assert measure_spike(quick, "error_rate <= 100%", errors=errors).slo_violated_s.value == 0


@pytest.mark.parametrize(
    ("aggregate", "violated_s"), [("p50", 0.0), ("p90", 0.0), ("p99", 1.0), ("max", 1.0), ("mean", 0.0)]
)
def test_each_second_of_spike_is_evaluated_by_aggregate_of_slo(aggregate: str, violated_s: float) -> None:
    """One of 50 responses is slow in second 3."""
    latency = np.full(ARRIVALS.size, 0.01)
    latency[160] = 1.0
    assert measure_spike(latency, f"latency_ms.{aggregate} < 100").slo_violated_s.value == violated_s


def test_slo_without_request_limit_has_no_violated_seconds() -> None:
    measured = measure_spike(np.full(ARRIVALS.size, 0.01), "achieved_per_s > 10 | warn")
    assert measured.slo_violated_s.value is None
    assert measured.slo_violated_s.reason == "the SLO has no limit that can be evaluated per second"


def test_spike_at_stage_start_has_no_drain_time() -> None:
    rates = ((0.0, 50.0), (0.0, 200.0), (15.0, 200.0), (15.0, 50.0))
    measured = measure_spike(served_per_s(100), "latency_ms.p95 < 100", rates=rates)
    assert measured.drained_s == Estimate(None, reason="no requests arrived before the spike")


def test_requests_without_response_count_in_backlog_peak() -> None:
    frame = request_rows(ARRIVALS, np.full(ARRIVALS.size, 0.01)).astype({"sent_ns": float, "end_ns": float})
    frame.loc[frame["scheduled_ns"] >= START_NS + 39 * 10**9, ["sent_ns", "end_ns"]] = np.nan
    stage = summarize_stage(frame, None, build_spike_data(), (parse_objective("latency_ms.p95 < 100"),))
    assert stage.spike is not None
    assert stage.spike.backlog_peak.value == pytest.approx(50, abs=1)


def test_lead_in_of_spike_counts_in_backlog_and_not_in_violated_seconds() -> None:
    """The first 10 s are the lead-in: the spike starts with the stage."""
    rows = read_rows(request_rows(ARRIVALS - 10, served_per_s(100)))
    moved = tuple((at - 10, rate) for at, rate in JUMP)
    stage_data = replace(build_spike_data(moved), duration_s=30, lead_in_s=10)
    measured = analyze_spike(
        rows,
        stage_data,
        Window(START_NS, START_NS + 30 * 10**9),
        select_binding_objectives((parse_objective("latency_ms.p95 < 100"),)),
    )
    assert measured is not None
    assert measured.slo_violated_s.value == 15
    assert measured.drained_s.reason == "no requests arrived before the spike"


@pytest.mark.parametrize("rates", [((0.0, 50.0),), ((0.0, 50.0), (10.0, 10.0)), ()])
def test_stage_without_rising_rate_has_no_spike(rates: tuple[tuple[float, float], ...]) -> None:
    rows = request_rows(ARRIVALS, np.full(ARRIVALS.size, 0.01))
    assert summarize_stage(rows, None, build_spike_data(rates), ()).spike is None


def test_varying_stage_has_no_spike() -> None:
    rows = request_rows(ARRIVALS, np.full(ARRIVALS.size, 0.01))
    assert summarize_stage(rows, None, replace(build_spike_data(), kind="varying"), ()).spike is None


def test_spike_duration_includes_ramps() -> None:
    rates = ((0.0, 50.0), (10.0, 50.0), (12.0, 200.0), (16.0, 50.0), (40.0, 50.0))
    measured = measure_spike(np.full(ARRIVALS.size, 0.01), rates=rates)
    assert (measured.spike_s, measured.peak_per_s) == (6, 200)


def test_baseline_backlog_of_spike_is_weighted_by_time() -> None:
    """10 req/s with a latency of 50 ms, and one burst of 300 requests that lasts 30 ms, which is 0.3 % of the time."""
    calm, burst = np.arange(100) / 10, np.full(300, 5.05)
    spike_s, after = 10 + np.arange(200) / 100, 12 + np.arange(280) / 10
    arrivals = np.concatenate([calm, burst, spike_s, after])
    # all responses of the spike arrive at 15 s
    latency = np.concatenate([np.full(100, 0.05), np.full(300, 0.03), 15 - spike_s, np.full(280, 0.05)])
    order = np.argsort(arrivals, kind="stable")
    rates = ((0.0, 10.0), (10.0, 10.0), (10.0, 100.0), (12.0, 100.0), (12.0, 10.0))
    stage = summarize_stage(request_rows(arrivals[order], latency[order]), None, build_spike_data(rates), ())
    assert stage.spike is not None
    assert stage.spike.drained_s.value == pytest.approx(3.0, abs=0.1)
