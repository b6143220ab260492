"""A run that was cut short at any byte is read back to its last whole piece."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.errors import SizewiseError
from app.records.selftest import Finding, finding
from app.storage.run_directory import EVENTS, REQUESTS, StoredRun

_CUTS = 60


def check_store(directory: Path, sent: int, open_run: Callable[[Path], StoredRun]) -> Iterator[Finding]:
    """`directory` holds a run's rows and events, `sent` of them; copies of it are made inside, and cut."""
    rows = open_run(directory).requests()
    yield finding("store", "rows read back of those sent", float(rows.num_rows), low=sent, high=sent, unit=None)
    rng, wrong = np.random.default_rng(1), 0
    requests, events = (directory / REQUESTS).read_bytes(), (directory / EVENTS).read_bytes()
    ends, counts = _batches(directory / REQUESTS)
    for number in range(_CUTS):
        copy = directory / f"cut-{number}"
        copy.mkdir()
        place, line = int(rng.integers(0, len(requests))), int(rng.integers(0, len(events)))
        (copy / REQUESTS).write_bytes(requests[:place])
        (copy / EVENTS).write_bytes(events[:line])
        whole = counts[bisect.bisect_right(ends, place)]
        wrong += not _is_read(open_run, copy, rows.slice(0, whole), events[:line].count(b"\n"))
    yield finding("store", f"wrongly read back, of {_CUTS} runs cut at any byte", float(wrong), high=0, unit=None)


def _is_read(open_run: Callable[[Path], StoredRun], copy: Path, rows: pa.Table, events: int) -> bool:
    try:
        run = open_run(copy)
        return bool(run.requests().equals(rows)) and len(run.events()) == events
    except (SizewiseError, pa.ArrowInvalid, OSError):
        return False


def _batches(path: Path) -> tuple[list[int], list[int]]:
    """Where each batch ends in the file, and how many rows are there before the first end, the second and so on."""
    ends, rows = [], []
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            ends.append(source.tell())
            rows.append(batch.num_rows)
    return ends, [0, *accumulate(rows)]
