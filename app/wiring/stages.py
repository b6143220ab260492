"""Stages, sweep and search of a profile as what the load worker plays.

A recorded trace as arrivals: at another speed, as several copies at once.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from app.profiles.load import LoadSettings, SearchSettings, StageSettings, SweepSettings
from app.profiles.rates import ShareOfStage
from app.profiles.traces import Trace, read_trace
from app.records.result import StageKind
from app.session.spec import SearchSpec, ShareOf, StageSpec
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, TraceArrivals

_TAIL_S = 0.001
"""A replay to the end lasts so much longer than its last arrival, which is in it then."""


class TraceReplay(msgspec.Struct, frozen=True):
    """`offsets_ns` ascend from minus the lead-in; `rows` tell which row of the trace each arrival is."""

    offsets_ns: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    duration_s: float


def replay(stage: StageSettings, seed: int) -> TraceReplay:
    """The first copy comes as recorded, each other one begins somewhere else in the trace and goes round."""
    assert stage.trace is not None
    at_s = read_trace(stage.trace).at_s / (stage.speed or 1.0)
    span_s = float(at_s[-1]) + _TAIL_S
    rng = np.random.default_rng(seed)
    copies = [at_s, *((at_s + rng.uniform(0, span_s)) % span_s for _ in range((stage.superpose or 1) - 1))]
    laid = np.concatenate(copies)
    order = np.argsort(laid, kind="stable")
    return TraceReplay(
        offsets_ns=np.rint((laid[order] - stage.lead_in_s) * 1e9).astype(np.int64),
        rows=order % len(at_s),
        duration_s=stage.duration_s if stage.duration_s is not None else span_s - stage.lead_in_s,
    )


def lengths_of(trace: Path, stage: StageSettings | None, seed: int) -> tuple[bytes, bytes]:
    """Input and output tokens in the order of the arrivals that replay the trace, else in the trace's own."""
    recorded: Trace = read_trace(trace)
    rows = np.arange(len(recorded.at_s)) if stage is None else replay(stage, seed).rows
    columns = (recorded.input_tokens, recorded.output_tokens)
    first, second = (np.ones(len(recorded.at_s), np.int32) if column is None else column for column in columns)
    return first[rows].astype("<i4").tobytes(), second[rows].astype("<i4").tobytes()


def stages_of(load: LoadSettings) -> tuple[StageSpec, ...]:
    """One for each repeat; those of the sweep come last."""
    stages = [spec for stage in load.stages for spec in _repeats(stage, load.seed)]
    return (*stages, *(_sweep(load.sweep) if load.sweep is not None else ()))


def search_of(search: SearchSettings | None) -> SearchSpec | None:
    if search is None:
        return None
    return SearchSpec(
        OpenArrivals(search.arrivals, ((0.0, 1.0),), search.burstiness or 1.0),
        search.start_per_s,
        search.hold_s,
        search.repeats,
        search.within_s,
    )


def _sweep(sweep: SweepSettings) -> list[StageSpec]:
    loads: list[tuple[StageKind, Arrivals]] = [("steady", _at(sweep, rate)) for rate in sweep.loads_per_s]
    loads += [("closed", ClosedArrivals(clients, 0.0)) for clients in sweep.clients]
    return [
        StageSpec(name, kind, arrivals, sweep.hold_s, repeat=repeat, in_sweep=True)
        for name, (kind, arrivals) in zip(sweep.stage_names, loads, strict=True)
        for repeat in range(1, sweep.repeats + 1)
    ]


def _at(sweep: SweepSettings, rate_per_s: float) -> OpenArrivals:
    return OpenArrivals(sweep.arrivals or "poisson", ((0.0, rate_per_s),), sweep.burstiness or 1.0)


def _repeats(stage: StageSettings, seed: int) -> list[StageSpec]:
    arrivals, duration_s = _arrivals(stage, seed)
    rate = stage.rate_per_s
    share = ShareOf(rate.stage, rate.share) if isinstance(rate, ShareOfStage) else None
    return [
        StageSpec(
            stage.name, stage.kind, arrivals, duration_s, lead_in_s=stage.lead_in_s, repeat=repeat, share_of=share
        )
        for repeat in range(1, stage.repeats + 1)
    ]


def _arrivals(stage: StageSettings, seed: int) -> tuple[Arrivals, float]:
    if stage.trace is not None:
        replayed = replay(stage, seed)
        return TraceArrivals(replayed.offsets_ns.astype("<i8").tobytes()), replayed.duration_s
    assert stage.duration_s is not None
    if stage.concurrency is not None:
        return ClosedArrivals(stage.concurrency, stage.think_s or 0.0), stage.duration_s
    assert stage.arrivals is not None
    curve = stage.curve or ((0.0, 1.0),)  # in units of what the earlier stage gives
    return OpenArrivals(stage.arrivals, curve, stage.burstiness or 1.0), stage.duration_s
