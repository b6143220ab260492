"""Convert the stages and the sweep of a profile to stage specifications for the load workers.

A recorded trace is converted to arrivals, optionally at another speed or as several superposed
copies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from app.profiles.load import BatchLoadSettings, LoadSettings, StageSettings, SweepSettings
from app.profiles.rates import ShareOfStage
from app.profiles.traces import MAX_HASH_ID, Trace, read_trace
from app.records.result import StageKind
from app.session.spec import RateShare, StageSpec
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, StageLoad, TraceArrivals
from loadgen.workloads import TracePrompts

_REPLAY_MARGIN_S = 0.001
"""Time in s added to the duration of a full replay, so that the last arrival is included."""


class TraceReplay(msgspec.Struct, frozen=True):
    """Arrivals of a replayed trace.

    `offsets_ns` contains the sorted arrival times, relative to the end of the lead-in. Arrivals in
    the lead-in have negative offsets. `rows` contains the trace row of each arrival, and `copies`
    the number of its copy of the trace.
    """

    offsets_ns: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int64]
    duration_s: float


def replay_trace(stage: StageSettings, seed: int) -> TraceReplay:
    """Compute the arrivals of a replayed trace. The first copy of the trace is replayed as
    recorded. Each further copy starts at a random position of the trace and wraps around."""
    assert stage.trace is not None
    arrivals_s = read_trace(stage.trace).at_s / (stage.speed or 1.0)
    trace_duration_s = float(arrivals_s[-1]) + _REPLAY_MARGIN_S
    rng = np.random.default_rng(seed)
    copies = [
        arrivals_s,
        *(
            (arrivals_s + rng.uniform(0, trace_duration_s)) % trace_duration_s
            for _ in range((stage.superpose or 1) - 1)
        ),
    ]
    offsets_s = np.concatenate(copies)
    order = np.argsort(offsets_s, kind="stable")
    return TraceReplay(
        offsets_ns=np.rint((offsets_s[order] - stage.lead_in_s) * 1e9).astype(np.int64),
        rows=order % len(arrivals_s),
        copies=order // len(arrivals_s),
        duration_s=stage.duration_s if stage.duration_s is not None else trace_duration_s - stage.lead_in_s,
    )


def build_trace_prompts(
    trace_path: Path, stage: StageSettings | None, seed: int, block_tokens: int, max_duration_s: float | None = None
) -> TracePrompts:
    """Return the prompts of a trace. The order is that of the arrivals of `stage`, which replays the
    trace. If `stage` is `None`, the order is that of the trace.

    Prompts of different copies of the trace share no prefixes. With `max_duration_s`, only the
    prompts of arrivals before that time since the start of the replay are returned, but at least
    one."""
    trace: Trace = read_trace(trace_path)
    replay = None if stage is None else replay_trace(stage, seed)
    rows = np.arange(len(trace.at_s)) if replay is None else replay.rows
    if stage is not None and replay is not None and max_duration_s is not None:
        end_ns = round((max_duration_s - stage.lead_in_s) * 1e9)
        rows = rows[: max(1, int(np.searchsorted(replay.offsets_ns, end_ns)))]
    columns = (trace.input_tokens, trace.output_tokens)
    input_tokens, output_tokens = (
        (np.ones(len(trace.at_s), np.int32) if column is None else column)[rows].astype("<i4").tobytes()
        for column in columns
    )
    if trace.blocks is None:
        return TracePrompts(input_tokens, output_tokens)
    hash_ids = trace.blocks.select(rows)
    ids = (
        hash_ids.ids
        if replay is None
        else hash_ids.ids + np.repeat(replay.copies[: len(rows)] * (MAX_HASH_ID + 1), hash_ids.counts)
    )
    return TracePrompts(
        input_tokens, output_tokens, ids.astype("<i8").tobytes(), hash_ids.counts.astype("<i4").tobytes(), block_tokens
    )


def build_stages(load: LoadSettings) -> tuple[StageSpec, ...]:
    """Return the stages of a load, with one specification per repeat. The stages of the sweep are
    last."""
    if isinstance(load, BatchLoadSettings):
        return (
            StageSpec(
                "batch",
                "batch",
                StageLoad(ClosedArrivals(1, 0.0), load.batch.timeout_s, max_requests=load.batch.requests),
            ),
        )
    stages = [spec for stage in load.stages for spec in _build_repeats(stage, load.seed)]
    return (*stages, *(_build_sweep(load.sweep) if load.sweep is not None else ()))


def _build_sweep(sweep: SweepSettings) -> list[StageSpec]:
    loads: list[tuple[StageKind, Arrivals]] = [
        ("steady", _build_sweep_arrivals(sweep, rate)) for rate in sweep.swept_rates_per_s
    ]
    loads += [("closed", ClosedArrivals(clients, 0.0)) for clients in sweep.swept_concurrency]
    return [
        StageSpec(name, kind, StageLoad(arrivals, sweep.step_duration_s), repeat=repeat, is_in_sweep=True)
        for name, (kind, arrivals) in zip(sweep.stage_names, loads, strict=True)
        for repeat in range(1, sweep.repeats + 1)
    ]


def _build_sweep_arrivals(sweep: SweepSettings, rate_per_s: float) -> OpenArrivals:
    return OpenArrivals(sweep.arrivals or "poisson", ((0.0, rate_per_s),), sweep.cv or 1.0)


def _build_repeats(stage: StageSettings, seed: int) -> list[StageSpec]:
    arrivals, duration_s = _build_arrivals(stage, seed)
    rate = stage.rate_per_s
    rate_share = RateShare(rate.stage, rate.share) if isinstance(rate, ShareOfStage) else None
    return [
        StageSpec(
            stage.name,
            stage.kind,
            StageLoad(arrivals, duration_s, lead_in_s=stage.lead_in_s, max_requests=stage.requests),
            repeat=repeat,
            rate_share=rate_share,
        )
        for repeat in range(1, stage.repeats + 1)
    ]


def _build_arrivals(stage: StageSettings, seed: int) -> tuple[Arrivals, float]:
    if stage.trace is not None:
        replay = replay_trace(stage, seed)
        return TraceArrivals(replay.offsets_ns.astype("<i8").tobytes()), replay.duration_s
    if stage.concurrency is not None:
        return ClosedArrivals(stage.concurrency, stage.think_s or 0.0), stage.max_duration_s
    assert stage.arrivals is not None
    curve = stage.curve or ((0.0, 1.0),)  # With a relative rate, multiples of the rate derived from the earlier stage.
    return OpenArrivals(stage.arrivals, curve, stage.cv or 1.0), stage.max_duration_s
