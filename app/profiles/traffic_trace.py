"""The facts of a trace file, for planning."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from app.analysis.trace_facts import trace_facts
from app.profiles.problems import BadValueError
from app.profiles.traces import Lengths, read_trace
from app.records.traffic import TraceFacts

_FEWEST = 2


def facts_of_trace(path: Path) -> TraceFacts:
    """Raises BadValueError, also for a trace that has no rate. Read again only when the file changed."""
    try:
        state = path.stat()
    except OSError as error:
        raise BadValueError(f"no such file: {path}", hint="The plan needs the trace: name it again.") from error
    return _facts(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _facts(path: Path, _changed_ns: int, _size: int) -> TraceFacts:
    trace = read_trace(path)
    if len(trace.at_s) < _FEWEST or trace.at_s[-1] == 0:
        raise BadValueError(f"{path}: has no rate: it takes two requests at different times")
    return trace_facts(trace.at_s, trace.starts_at, (_mean(trace.input_tokens), _mean(trace.output_tokens)))


def _mean(lengths: Lengths | None) -> float | None:
    return None if lengths is None else float(np.mean(lengths, dtype=np.float64))
