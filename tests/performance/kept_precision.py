"""What a model made in int8 costs when it is there already: a part of `python -m tests.performance.local_harness`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from app.inference.precision.conversion import convert_precision
from app.inference.probe import DIGITS_MODEL

CALIBRATION_ROWS = 128


def show_cache(cache: Path) -> None:
    """A second run finds the quantised model: nothing is started and nothing written."""
    with np.load(DIGITS_MODEL.with_suffix(".npz"), allow_pickle=False) as rows:
        calibration = {"image": rows["image"][:CALIBRATION_ROWS]}
    started = Started()
    found: list[tuple[float, int, list[tuple[str, int]]]] = []
    for _ in range(2):
        before, began_s = started.count, time.perf_counter()
        made = convert_precision(DIGITS_MODEL, "int8-static", calibration, cache=cache, timeout_s=300)
        files = sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir())
        found.append((time.perf_counter() - began_s, started.count - before, files))
    first, second = found
    assert made.was_cached
    assert second[2] == first[2]
    assert second[1] == 0 < first[1]
    print(f"-- digits int8-static from {CALIBRATION_ROWS} rows: made in {first[0]:.2f} s by {first[1]} processes")
    print(f"   again: {1e3 * second[0]:.1f} ms, {second[1]} processes, the cache's files as they were")


class Started:
    """Processes that this one starts from now on, as Python's own audit tells."""

    def __init__(self) -> None:
        self.count = 0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: object) -> None:
        self.count += event == "subprocess.Popen"
