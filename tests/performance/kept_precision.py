"""The cost of a cached int8 model: a part of `python -m tests.performance.local_harness`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from app.inference.precision.conversion import convert_precision
from app.inference.probe import DIGITS_MODEL

CALIBRATION_ROWS = 128


def show_cache(cache: Path) -> None:
    """A second run uses the quantized model: no process is started and nothing is written."""
    with np.load(DIGITS_MODEL.with_suffix(".npz"), allow_pickle=False) as rows:
        calibration = {"image": rows["image"][:CALIBRATION_ROWS]}
    started = StartedProcesses()
    results: list[tuple[float, int, list[tuple[str, int]]]] = []
    for _ in range(2):
        before, start_s = started.count, time.perf_counter()
        converted = convert_precision(DIGITS_MODEL, "int8-static", calibration, cache=cache, timeout_s=300)
        files = sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir())
        results.append((time.perf_counter() - start_s, started.count - before, files))
    first, second = results
    assert converted.duration_s is None
    assert second[2] == first[2]
    assert second[1] == 0 < first[1]
    print(f"-- digits int8-static from {CALIBRATION_ROWS} rows: made in {first[0]:.2f} s by {first[1]} processes")
    print(f"   again: {1e3 * second[0]:.1f} ms, {second[1]} processes, the cache's files as they were")


class StartedProcesses:
    """Counts the processes that this process starts, by an audit hook."""

    def __init__(self) -> None:
        self.count = 0
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: object) -> None:
        self.count += event == "subprocess.Popen"
