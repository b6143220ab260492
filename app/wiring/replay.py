"""A recorded trace as arrivals: at another speed, as several copies at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from app.profiles.stages import StageSettings
from app.profiles.traces import Trace, read_trace

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
