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
from tests.fakes.queues import START_NS, latency_s, request_rows, stage_facts

JUMP = ((0.0, 50.0), (10.0, 50.0), (10.0, 200.0), (15.0, 200.0), (15.0, 50.0), (40.0, 50.0))
ARRIVALS = np.concatenate([np.arange(500) / 50, 10 + np.arange(1_000) / 200, 15 + np.arange(1_250) / 50])


def facts(rates: tuple[tuple[float, float], ...] = JUMP) -> StageData:
    return replace(stage_facts(1.0, 40, kind="spike", arrivals="constant", drain_s=5), rate_per_s=None, rates=rates)


def spike(
    latency: npt.NDArray[np.float64],
    *slo: str,
    rates: tuple[tuple[float, float], ...] = JUMP,
    errors: list[str | None] | None = None,
) -> Spike:
    rows = request_rows(ARRIVALS, latency, errors=errors)
    stage = summarize_stage(rows, None, facts(rates), tuple(map(parse_objective, slo)))
    assert stage.spike is not None
    return stage.spike


def served_per_s(rate: float) -> npt.NDArray[np.float64]:
    return latency_s(ARRIVALS, np.full(ARRIVALS.size, 1 / rate))


def test_a_server_of_100_a_second_falls_behind_and_catches_up_as_a_fluid_does() -> None:
    """50/s, then 200/s for 5 s, then 50/s on 100/s: the backlog grows to 500 and drains in 10 s (a fluid queue).

    Answers take over 100 ms from 0.1 s after the jump to 9.8 s after its end.
    """
    found = spike(served_per_s(100), "latency_ms.p95 < 100")
    assert (found.baseline_per_s, found.peak_per_s, found.spike_s) == (50, 200, 5)
    assert found.backlog_peak.value == pytest.approx(500, abs=3)
    assert found.drained_s.value == pytest.approx(10, abs=0.1)
    assert found.slo_violated_s.value == 15


def test_an_slo_that_held_was_broken_for_0_s() -> None:
    found = spike(np.full(ARRIVALS.size, 0.01), "latency_ms.p95 < 100")
    assert found.slo_violated_s == Estimate(0.0, n=0)
    assert found.backlog_peak.value == 2
    assert found.drained_s.value == pytest.approx(0.0, abs=0.02)


def test_a_backlog_that_stays_is_not_drained() -> None:
    found = spike(served_per_s(60), "latency_ms.p95 < 100")
    assert found.drained_s.value is None
    assert found.drained_s.reason == "the backlog had not drained when the load ended"
    assert found.slo_violated_s.value == 30
    assert str(found.slo_violated_s.reason).startswith("lower bound: ")


def test_failures_break_the_slo_too() -> None:
    """Refused at once from second 12 to second 13: no latency is over its limit."""
    errors = ["http-5xx" if 12 <= at < 14 else None for at in ARRIVALS]
    quick = np.full(ARRIVALS.size, 0.01)
    assert spike(quick, "latency_ms.p95 < 100", errors=errors).slo_violated_s.value == 2
    assert spike(quick, "error_rate <= 1%", errors=errors).slo_violated_s.value == 2
    assert spike(quick, "error_rate <= 100%", errors=errors).slo_violated_s.value == 0


@pytest.mark.parametrize(
    ("aggregate", "broken_s"), [("p50", 0.0), ("p90", 0.0), ("p99", 1.0), ("max", 1.0), ("mean", 0.0)]
)
def test_each_second_is_held_against_the_aggregate_of_the_slo(aggregate: str, broken_s: float) -> None:
    """One slow answer among 50 in second 3."""
    latency = np.full(ARRIVALS.size, 0.01)
    latency[160] = 1.0
    assert spike(latency, f"latency_ms.{aggregate} < 100").slo_violated_s.value == broken_s


def test_an_slo_without_limits_on_requests_breaks_in_no_second() -> None:
    found = spike(np.full(ARRIVALS.size, 0.01), "achieved_per_s > 10 | warn")
    assert found.slo_violated_s.value is None
    assert found.slo_violated_s.reason == "the SLO has no limit that can be evaluated per second"


def test_a_spike_from_the_start_has_nothing_to_come_back_to() -> None:
    rates = ((0.0, 50.0), (0.0, 200.0), (15.0, 200.0), (15.0, 50.0))
    found = spike(served_per_s(100), "latency_ms.p95 < 100", rates=rates)
    assert found.drained_s == Estimate(None, reason="no requests arrived before the spike")


def test_requests_never_answered_stay_in_the_backlog() -> None:
    frame = request_rows(ARRIVALS, np.full(ARRIVALS.size, 0.01)).astype({"sent_ns": float, "end_ns": float})
    frame.loc[frame["scheduled_ns"] >= START_NS + 39 * 10**9, ["sent_ns", "end_ns"]] = np.nan
    stage = summarize_stage(frame, None, facts(), (parse_objective("latency_ms.p95 < 100"),))
    assert stage.spike is not None
    assert stage.spike.backlog_peak.value == pytest.approx(50, abs=1)


def test_a_lead_in_deepens_the_backlog_and_is_no_second_of_the_stage() -> None:
    """The first 10 s as a lead-in: the spike begins with the stage."""
    rows = read_rows(request_rows(ARRIVALS - 10, served_per_s(100)))
    moved = tuple((at - 10, rate) for at, rate in JUMP)
    its = replace(facts(moved), duration_s=30, lead_in_s=10)
    found = analyze_spike(
        rows,
        its,
        Window(START_NS, START_NS + 30 * 10**9),
        select_binding_objectives((parse_objective("latency_ms.p95 < 100"),)),
    )
    assert found is not None
    assert found.slo_violated_s.value == 15
    assert found.drained_s.reason == "no requests arrived before the spike"


@pytest.mark.parametrize("rates", [((0.0, 50.0),), ((0.0, 50.0), (10.0, 10.0)), ()])
def test_a_rate_that_never_rises_has_no_spike(rates: tuple[tuple[float, float], ...]) -> None:
    rows = request_rows(ARRIVALS, np.full(ARRIVALS.size, 0.01))
    assert summarize_stage(rows, None, facts(rates), ()).spike is None


def test_only_spike_stages_have_one() -> None:
    rows = request_rows(ARRIVALS, np.full(ARRIVALS.size, 0.01))
    assert summarize_stage(rows, None, replace(facts(), kind="varying"), ()).spike is None


def test_a_ramp_up_and_down_is_a_spike_of_its_whole_length() -> None:
    rates = ((0.0, 50.0), (10.0, 50.0), (12.0, 200.0), (16.0, 50.0), (40.0, 50.0))
    found = spike(np.full(ARRIVALS.size, 0.01), rates=rates)
    assert (found.spike_s, found.peak_per_s) == (6, 200)


def test_what_the_backlog_was_before_counts_by_time_and_not_by_arrivals() -> None:
    """10/s answered within 50 ms, but for one burst of 300 that is gone after 30 ms, which is 0.3 % of the time."""
    calm, burst = np.arange(100) / 10, np.full(300, 5.05)
    spike_s, after = 10 + np.arange(200) / 100, 12 + np.arange(280) / 10
    arrivals = np.concatenate([calm, burst, spike_s, after])
    # the spike's answers all come at 15 s
    latency = np.concatenate([np.full(100, 0.05), np.full(300, 0.03), 15 - spike_s, np.full(280, 0.05)])
    order = np.argsort(arrivals, kind="stable")
    rates = ((0.0, 10.0), (10.0, 10.0), (10.0, 100.0), (12.0, 100.0), (12.0, 10.0))
    stage = summarize_stage(request_rows(arrivals[order], latency[order]), None, facts(rates), ())
    assert stage.spike is not None
    assert stage.spike.drained_s.value == pytest.approx(3.0, abs=0.1)
