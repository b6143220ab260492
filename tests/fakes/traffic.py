"""Runs of every kind of traffic, built by hand and evaluated by the real analysis: streams, a spike, clients,
Locust."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.headline import mark_headline
from app.analysis.objectives import evaluate_objective, find_estimate, parse_objective
from app.analysis.stages import summarize_stage
from app.analysis.validity import combine_stage_checks, compute_verdict
from app.records.result import ColdStart, ErrorSample, Estimate, Exit, Objective, Result, Stage
from app.records.server_counters import LatencyHistogram, ServerCounters
from app.records.stage import StageData
from tests.fakes.queues import START_NS, build_stage_data, latency_s, poisson_s, request_rows
from tests.fakes.results import Run, full_run
from tests.fakes.streams import StreamedResponse, stream_rows

Floats = npt.NDArray[np.float64]
NO_TELEMETRY = pd.DataFrame(columns=["at_ns", "source", "metric", "value"])
JUMP = ((0.0, 40.0), (8.0, 40.0), (8.0, 200.0), (12.0, 200.0), (12.0, 40.0))


def _simulated_once(simulate: Callable[[], Run]) -> Callable[[], Run]:
    """Simulate the run for its first caller only. Each caller gets its own copy of the rows."""
    run_once = functools.cache(simulate)

    @functools.wraps(simulate)
    def copy_run() -> Run:
        run = run_once()
        return Run(run.result, run.rows.copy(), run.telemetry.copy())

    return copy_run


@_simulated_once
def streaming_run() -> Run:
    """Chat responses of some 30 tokens at 8 req/s for 60 s, over two targets, from an endpoint that started cold."""
    rng = np.random.default_rng(3)
    answers = [_chat(at_s * 1e3, rng) for at_s in poisson_s(8, 60, rng)]
    stage_data = msgspec.structs.replace(
        _named(build_stage_data(8, 60), "chat"),
        generator_chunk_capacity_per_s=100_000.0,
        server=ServerCounters(
            requests=len(answers),
            input_tokens=9_000,
            cached_input_tokens=1_200,
            looked_up_input_tokens=9_000,
            preemptions=3,
            latencies={
                "ttft": LatencyHistogram(len(answers), 118.0),
                "queue": LatencyHistogram(len(answers), 7.5),
                "itl": LatencyHistogram(29 * len(answers), 19.5),
            },
        ),
    )
    slo = tuple(map(parse_objective, ("ttft_ms.p95 < 250", "tpot_ms.p95 < 30", "error_rate < 1%")))
    run = _run("chat", [(stage_data, stream_rows(answers))], slo)
    result = msgspec.structs.replace(
        run.result,
        notes=("Prompt lengths are approximate: the profile names no tokenizer.",),
        cold_start=ColdStart(Estimate(8_200.0), Estimate(9_050.0), Estimate(None, reason="the medians never agreed")),
    )
    return msgspec.structs.replace(run, result=result)


@_simulated_once
def spike_run() -> Run:
    """One server of 100 req/s under 40 req/s that jump to 200 req/s for 4 s; then a ramp that it sustains."""
    rng = np.random.default_rng(5)
    before, during, after = (poisson_s(rate, length, rng) for rate, length in ((40, 8), (200, 4), (40, 18)))
    arrivals = np.concatenate([before, 8 + during, 12 + after])
    spike = msgspec.structs.replace(
        _named(build_stage_data(1, 30, kind="spike", drain_s=5), "burst"), rate_per_s=None, rates=JUMP
    )
    ramp_s = np.sqrt(poisson_s(75, 20, rng) / 20) * 20
    ramp = msgspec.structs.replace(
        _named(build_stage_data(1, 20, kind="varying"), "morning"), rate_per_s=None, rates=((0.0, 0.0), (20.0, 150.0))
    )
    stages = [(spike, _served(arrivals, 0.01)), (ramp, _served(ramp_s[ramp_s < 20], 0.004))]
    return _run("burst", stages, (parse_objective("latency_ms.p95 < 100"),))


@_simulated_once
def clients_run() -> Run:
    """1 to 32 clients of a closed loop on four servers of 20 ms of work, in ascending order."""
    stages = []
    for clients in (1, 2, 4, 8, 16, 32):
        answer_s = 0.02 * max(1.0, clients / 4)
        firsts = np.arange(clients) * answer_s / clients
        starts = np.sort(np.concatenate([np.arange(first, 10, answer_s) for first in firsts]))
        rng = np.random.default_rng(clients)
        rows = request_rows(starts, answer_s * rng.uniform(0.97, 1.0, starts.size))
        stage_data = _named(build_stage_data(1, 10, kind="closed", arrivals="closed"), f"{clients} clients")
        stages.append((msgspec.structs.replace(stage_data, rate_per_s=None, concurrency=clients), rows))
    return _run("clients", stages, ())


@_simulated_once
def locust_run() -> Run:
    """A user's own test with two kinds of requests; Locust does not report scheduled starts."""
    rng = np.random.default_rng(9)
    answers = []
    for at in np.arange(0, 20_000, 12.5):
        name, mean_ms = (("/search", 60.0), ("/item/[id]", 15.0))[int(rng.random() < 0.8)]
        sent_ms, end_ms = float(at), float(at) + mean_ms * float(rng.gamma(9, 1 / 9))
        error = "http-5xx" if rng.random() < 0.004 else None
        answers.append(StreamedResponse(scheduled_ms=None, sent_ms=sent_ms, end_ms=end_ms, name=name, error=error))
    stage_data = _named(build_stage_data(1, 20, kind="closed", arrivals="locust", ceiling_per_s=None), "locust")
    stage_data = msgspec.structs.replace(stage_data, rate_per_s=None, concurrency=4)
    sample = ErrorSample("http-5xx", START_NS, "status 503 (Service Unavailable), HTTPError")
    stage_data = msgspec.structs.replace(stage_data, error_samples=(sample,))
    return _run("shop", [(stage_data, stream_rows(answers))], (parse_objective("service_ms.p95 < 150"),))


def _chat(scheduled_ms: float, rng: np.random.Generator) -> StreamedResponse:
    """A reasoning delta first; sometimes two chunks are read together."""
    count = int(rng.integers(2, 60))
    gaps = rng.gamma(25, 20 / 25, count - 1) * (rng.random(count - 1) > 0.03)
    first = scheduled_ms + 90 + float(rng.gamma(4, 20))
    chunks = (first, *(first + float(gap) for gap in np.cumsum(gaps)))
    return StreamedResponse(
        scheduled_ms=scheduled_ms,
        sent_ms=scheduled_ms + 0.03,
        chunks_ms=chunks,
        output_ms=chunks[1],
        tokens_in=int(rng.integers(100, 900)),
        tokens_out=count,
        target=int(rng.random() < 0.5),
    )


def _served(arrivals: Floats, work_s: float) -> pd.DataFrame:
    return request_rows(arrivals, latency_s(arrivals, np.full(arrivals.size, work_s)))


def _named(stage_data: StageData, name: str) -> StageData:
    return msgspec.structs.replace(stage_data, name=name)


def _run(name: str, measured: Sequence[tuple[StageData, pd.DataFrame]], slo: tuple[Objective, ...]) -> Run:
    """The stages in sequence, with pauses of 2 s."""
    stages, frames = [], []
    start_ns = START_NS + 2 * 10**9
    for index, (stage_data, rows) in enumerate(measured):
        by_ns = start_ns - stage_data.start_ns
        frame = _later(rows, by_ns).assign(stage=index)
        its = msgspec.structs.replace(stage_data, index=index, start_ns=start_ns, end_ns=stage_data.end_ns + by_ns)
        stages.append(summarize_stage(frame, None, its, slo))
        frames.append(frame)
        start_ns = its.end_ns + 2 * 10**9
    return Run(_result(name, tuple(stages), slo), pd.concat(frames, ignore_index=True), NO_TELEMETRY)


def _later(rows: pd.DataFrame, by_ns: int) -> pd.DataFrame:
    times = [name for name in map(str, rows) if name.endswith("_ns") and name != "chunk_ns"]
    moved = rows.assign(**{name: rows[name] + by_ns for name in times if rows[name].notna().any()})
    if "chunk_ns" not in rows:
        return moved
    return moved.assign(chunk_ns=rows["chunk_ns"].map(lambda chunks: None if chunks is None else chunks + by_ns))


def _result(name: str, stages: tuple[Stage, ...], slo: tuple[Objective, ...]) -> Result:
    full = full_run().result
    checks = combine_stage_checks(stages)
    evaluated = tuple(
        msgspec.structs.replace(
            evaluate_objective(objective, find_estimate(stages[0], objective)), stage=stages[0].name
        )
        for objective in slo
    )
    return msgspec.structs.replace(
        full,
        run_id=f"20260801T091500-{name}-4f2a",
        name=name,
        clock=msgspec.structs.replace(full.clock, monotonic_start_ns=START_NS),
        verdict=compute_verdict(checks),
        validity=checks,
        stages=mark_headline(stages),
        max_rate=None,
        slo=evaluated,
        gates=(),
        plan=None,
        exit=Exit(0, ()),
    )
