"""The facts of a trace file, for planning."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from app.analysis.trace_facts import trace_facts
from app.analysis.trace_rows import busiest_rows
from app.profiles.problems import BadValueError
from app.profiles.traces import Lengths, read_trace
from app.records.traffic import TraceFacts, TraceRows

_FEWEST = 2


def facts_of_trace(path: Path) -> TraceFacts:
    """Raises BadValueError, also for a trace that has no rate. Read again only when the file changed."""
    return _of_file(path)[0]


def rows_of_trace(path: Path) -> TraceRows:
    """What a plan replays of the trace; raises as `facts_of_trace` does."""
    return _of_file(path)[1]


def _of_file(path: Path) -> tuple[TraceFacts, TraceRows]:
    try:
        state = path.stat()
    except OSError as error:
        raise BadValueError(f"no such file: {path}", hint="The plan needs the trace: name it again.") from error
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int, _size: int) -> tuple[TraceFacts, TraceRows]:
    trace = read_trace(path)
    if len(trace.at_s) < _FEWEST or trace.at_s[-1] == 0:
        raise BadValueError(f"{path}: has no rate: it takes two requests at different times")
    facts = trace_facts(trace.at_s, trace.starts_at, (_mean(trace.input_tokens), _mean(trace.output_tokens)))
    inputs, outputs = trace.input_tokens, trace.output_tokens
    return facts, busiest_rows(trace.at_s, None if inputs is None or outputs is None else (inputs, outputs))


def _mean(lengths: Lengths | None) -> float | None:
    return None if lengths is None else float(np.mean(lengths, dtype=np.float64))
